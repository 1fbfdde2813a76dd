//! ZooKeeper's own Java client, with all that it can ask for, and its command line.

use crate::conversation::Conversation;
use crate::source;
use anyhow::{Result, ensure};
use quorate_conformance::{
    Cluster, JavaLibrary, JavaProgram, PATIENCE, Program, Recipes, install_packages, on_cluster,
};
use std::path::Path;
use std::process::Command;

/// Promises that the program puts to the test.
const PROMISES: usize = 15;
const USERS: &str = "\n[[zookeeper.users]]\nname = \"alice\"\npassword = \"secret\"\n";
/// What a client of ours proves, and what it cannot.
const LOGINS: [(&str, &str); 2] = [("Known", "secret"), ("Unknown", "wrong")];
const COMMAND_LINE: &str = "/usr/share/zookeeper/bin/zkCli.sh";
const COMMANDS: &str = "\
create /top data
create -s -e /top/member- one
create -c /top/container
create -t 60000 /top/timed
set -s /top more
get /top
stat /top/timed
ls -R /top
getAcl /top
setAcl /top world:anyone:cdrwa
addauth digest user:password
whoami
getEphemerals
getAllChildrenNumber /top
sync /top
addWatch -m PERSISTENT /top
set /top last
removewatches /top
delete /top/timed
deleteall /top
ls /
";
/// In the order in which they are printed.
const PRINTED: [&str; 18] = [
    "Created /top",
    "Created /top/member-0000000000",
    "Created /top/container",
    "Created /top/timed",
    "dataVersion = 1",
    "more",
    "numChildren = 0",
    "/top",
    "/top/container",
    "/top/member-0000000000",
    "/top/timed",
    "'world,'anyone",
    ": cdrwa",
    "digest: user",
    "[/top/member-0000000000]",
    "3",
    "Sync is OK",
    "[zookeeper]",
];
/// Printed by a thread of its own.
const EVENT: &str = "WatchedEvent state:SyncConnected type:NodeDataChanged path:/top";

#[test]
fn zookeepers_java_client_is_served_in_all_that_it_asks() {
    let folders = [source("java"), source("promises")];
    let folders = [&*folders[0], &*folders[1]];
    let program = match JavaProgram::compile(JavaLibrary::ZooKeeper, &folders, "JavaClient") {
        Ok(program) => program,
        Err(reason) => return println!("skipped: the Java client cannot be had here: {reason}"),
    };
    on_cluster(Recipes::None, async |cluster| {
        cluster.reconfigure(|text| format!("{text}{USERS}")).await?;
        let folder = tempfile::tempdir()?;
        let logins = folder.path().join("logins.conf");
        std::fs::write(&logins, LOGINS.map(login).concat())?;
        let property = format!("-Djava.security.auth.login.config={}", logins.display());
        let mut command = program.command(&[&property]);
        command.arg(cluster.zookeeper_addresses()?);
        let kept = Conversation::start(&mut command)?.run(cluster).await?;
        ensure!(kept == PROMISES, "{kept} of {PROMISES} promises were put to the test");
        cluster.assert_equal().await.map(drop)
    });
}

/// A section of what Java calls a login configuration.
fn login((section, password): (&str, &str)) -> String {
    let module = "org.apache.zookeeper.server.auth.DigestLoginModule";
    format!("{section} {{ {module} required username=\"alice\" password=\"{password}\"; }};\n")
}

#[test]
fn zookeepers_command_line_works() {
    if !Path::new(COMMAND_LINE).exists()
        && let Err(reason) = install_packages(&["zookeeper"])
    {
        return println!("skipped: the package zookeeper cannot be had here: {reason}");
    }
    on_cluster(Recipes::None, async |cluster| {
        let printed = command_line(cluster).await?;
        let mut lines = printed.iter();
        for wanted in PRINTED {
            let found = lines.any(|line| line.trim_start() == wanted.trim_start());
            ensure!(
                found,
                "{wanted:?} is not printed, or not in its place:\n{}",
                printed.join("\n")
            );
        }
        let is_told = printed.iter().any(|line| line == EVENT);
        ensure!(is_told, "the change is not told:\n{}", printed.join("\n"));
        Ok(())
    });
}

/// Gives it the commands; what it printed.
async fn command_line(cluster: &Cluster) -> Result<Vec<String>> {
    let mut command = Command::new("sh");
    // Some of what it prints is on its error output.
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1", COMMAND_LINE]);
    command.env("CLIENT_JVMFLAGS", "-Xmx128m -XX:TieredStopAtLevel=1");
    command.args(["-server", &cluster.zookeeper_addresses()?]);
    let mut program = Program::start(&mut command)?;
    program.tell(COMMANDS)?;
    program.tell("quit")?;
    let mut printed = Vec::new();
    while let Some(line) = program.line(PATIENCE).await? {
        printed.push(line);
    }
    Ok(printed)
}
