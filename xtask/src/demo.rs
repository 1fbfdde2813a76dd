//! `cargo xtask demo`: what a cluster does, shown on a real one.
//!
//! Comes in: nothing. Goes out: an account of each step on the standard output; exit code 0 only if
//! every step showed what it says. Invariant: every process started here ends with it; everything
//! written lies below `target/demo`.

use crate::{checks, recipes, say, target_folder, workspace_folder};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long any one thing may take before the demo gives up; far above what it does take.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const LOCK: &str = "/locks/orders";

pub(crate) fn run() -> Result<()> {
    recipes::run(&[])?;
    checks::cargo(&["build", "--package", "quorate"], &[])?;
    let folder = workspace_folder().join("target/demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut tour = Tour { folder, step: 0, children: Vec::new() };
    tour.go()
}

/// One of the servers.
#[derive(Clone, Debug)]
struct Server {
    id: u64,
    pid: u64,
}

struct Tour {
    folder: PathBuf,
    step: u32,
    /// Ended when the tour ends, however it ends.
    children: Vec<Child>,
}

impl Drop for Tour {
    fn drop(&mut self) {
        for child in &mut self.children {
            // A cluster ends its servers when its input ends.
            drop(child.stdin.take());
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

impl Tour {
    fn go(&mut self) -> Result<()> {
        self.title("Start three servers with their own certificates, on free ports");
        let servers = self.start_cluster()?;
        let status = self.quorate(&["status"])?;
        let first_leader = number(&status, "leader")?;
        self.show(&format!(
            "server {first_leader} leads in term {}; nothing is mounted yet",
            number(&status, "term")?
        ));

        self.title("Load the lock recipe into the running cluster");
        self.load_recipe()?;

        self.title("Two clients compete for one lock");
        let mut holder = self.spawn_lock(&["cat"])?;
        let first = self.wait_for_holder()?;
        self.show(&format!("the first client holds {LOCK} under fencing token {first}"));
        let waiter = self.spawn_lock(&["true"])?;
        self.wait_until("the second client waits", |status| {
            number(status, "tickets").ok() == Some(1)
        })?;
        self.show("the second client waits in line: its call is parked in the replicated state");

        self.title("Kill the leader with SIGKILL");
        let killed = Instant::now();
        kill(&servers, first_leader)?;
        let status = self.wait_until("another leader", |status| {
            number(status, "leader").is_ok_and(|leader| leader != first_leader)
        })?;
        self.quorate(&["tree", "create", "/after-the-kill"])?;
        self.show(&format!(
            "server {} leads; the first write went through {} ms after the kill",
            number(&status, "leader")?,
            killed.elapsed().as_millis()
        ));
        let still = self.wait_for_holder()?;
        ensure!(still == first, "the lock changed hands by the kill: {first} became {still}");
        self.show(&format!("the first client still holds the lock under {still}"));

        self.title("The first client releases");
        drop(holder.stdin.take());
        ensure!(holder.wait()?.success(), "the first client failed");
        let second = self.finish_lock(waiter)?;
        ensure!(second > first, "the second token {second} is not above the first, {first}");
        self.show(&format!(
            "the second client got the lock under fencing token {second} > {first}"
        ));

        self.title("Every server that is left holds the same state");
        self.compare_digests()?;
        println!("\nDone: {} steps shown. Logs are in {}", self.step, self.folder.display());
        Ok(())
    }

    fn title(&mut self, text: &str) {
        self.step += 1;
        println!("\n{}. {text}", self.step);
    }

    fn show(&self, text: &str) {
        println!("   {text}");
    }

    fn start_cluster(&mut self) -> Result<Vec<Server>> {
        let cluster = self.folder.join("cluster");
        let mut child = self
            .command(&["dev", "--servers", "3", "--port", "0", "--bare", "--dir"])
            .arg(&cluster)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run quorate")?;
        let output = child.stdout.take().context("the output is piped")?;
        self.children.push(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line)
            .with_context(|| format!("the cluster did not start; see {}", cluster.display()))?;
        let mut servers = Vec::new();
        for server in ready["servers"].as_array().context("servers")? {
            let (id, pid) = (number(server, "server")?, number(server, "pid")?);
            self.show(&format!("server {id}: process {pid}, {}", server["native_address"]));
            servers.push(Server { id, pid });
        }
        Ok(servers)
    }

    fn load_recipe(&self) -> Result<()> {
        let component = workspace_folder().join("target/recipes/lock.wasm");
        let component = component.to_str().context("a UTF-8 path")?;
        let installed = self.quorate(&["recipe", "install", component])?;
        self.show(&format!(
            "installed {} {}: {} bytes, sha-256 {}",
            text(&installed, "name")?,
            text(&installed, "version")?,
            number(&installed, "bytes")?,
            text(&installed, "digest")?
        ));
        self.quorate(&["recipe", "mount", "/locks", "lock"])?;
        self.show("mounted at /locks: every name below it is a lock now");
        Ok(())
    }

    /// A client that runs `words` while it holds the lock.
    fn spawn_lock(&self, words: &[&str]) -> Result<Child> {
        let mut command = self.command(&["lock", LOCK, "--"]);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().context("cannot run quorate lock")
    }

    fn finish_lock(&self, client: Child) -> Result<u64> {
        let output = client.wait_with_output()?;
        ensure!(output.status.success(), "the second client failed");
        number(&serde_json::from_slice(&output.stdout)?, "fencing_token")
    }

    /// The fencing token of whoever holds the lock, once somebody does.
    fn wait_for_holder(&self) -> Result<u64> {
        let limit = Instant::now() + STEP_LIMIT;
        while Instant::now() < limit {
            let reply = self.quorate(&["call", LOCK, "holder"])?;
            if let Some(fence) = reply["reply"]["fence"].as_u64() {
                return Ok(fence);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        bail!("nobody got the lock in {} s", STEP_LIMIT.as_secs())
    }

    /// The first status for which `holds`.
    fn wait_until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let limit = Instant::now() + STEP_LIMIT;
        while Instant::now() < limit {
            match self.quorate(&["status"]) {
                Ok(status) if holds(&status) => return Ok(status),
                _ => std::thread::sleep(LOOK_INTERVAL),
            }
        }
        bail!("waited {} s for: {what}", STEP_LIMIT.as_secs())
    }

    fn compare_digests(&self) -> Result<()> {
        let limit = Instant::now() + STEP_LIMIT;
        while Instant::now() < limit {
            let all = self.quorate(&["status", "--all"])?;
            let servers = all["servers"].as_array().context("servers")?;
            let seen: Vec<&Value> =
                servers.iter().filter(|one| one["digest"].is_string()).collect();
            let equal = seen.windows(2).all(|pair| {
                pair[0]["digest"] == pair[1]["digest"] || pair[0]["applied"] != pair[1]["applied"]
            });
            let level = seen.windows(2).all(|pair| pair[0]["applied"] == pair[1]["applied"]);
            ensure!(equal, "digests differ at one and the same transaction: {all}");
            if level && seen.len() == 2 {
                for one in seen {
                    self.show(&format!(
                        "server {}: {}, applied {}, digest {}",
                        one["server"],
                        text(one, "role")?,
                        one["applied"],
                        text(one, "digest")?
                    ));
                }
                return Ok(());
            }
        }
        bail!("the servers did not come level")
    }

    /// Runs one command of the client and gives its JSON.
    fn quorate(&self, words: &[&str]) -> Result<Value> {
        let output = self.command(words).output().context("cannot run quorate")?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("`quorate {}` failed: {}", words.join(" "), error.trim());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn command(&self, words: &[&str]) -> Command {
        let binary = target_folder().join("debug/quorate");
        let profile = self.folder.join("cluster/profile.toml");
        let mut command = Command::new(binary);
        command
            // The tour leaves the user's own profile alone.
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env_remove("QUORATE_PROFILE")
            .arg("--json")
            .stderr(Stdio::piped());
        if words.first() != Some(&"dev") {
            command.arg("--profile").arg(profile);
        } else {
            command.stderr(Stdio::inherit());
        }
        command.args(words);
        command
    }
}

fn kill(servers: &[Server], id: u64) -> Result<()> {
    let server =
        servers.iter().find(|server| server.id == id).context("the leader is one of them")?;
    say(&format!("kill -9 {}", server.pid));
    let status = Command::new("kill").args(["-9", &server.pid.to_string()]).status()?;
    ensure!(status.success(), "cannot kill process {}", server.pid);
    Ok(())
}

fn number(value: &Value, field: &str) -> Result<u64> {
    value[field].as_u64().with_context(|| format!("no number `{field}` in {value}"))
}

fn text<'v>(value: &'v Value, field: &str) -> Result<&'v str> {
    value[field].as_str().with_context(|| format!("no text `{field}` in {value}"))
}
