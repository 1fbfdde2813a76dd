//! Recipes that do harm: each is told its own error, and nobody else notices.
//!
//! The attacks are those of `quorate-hostile-recipes`, through the command line and against running
//! servers; what a Rust compiler makes of `examples/hostile` is among them.

use anyhow::{Context, Result, ensure};
use quorate_client::{Client, ClientError, ServerId};
use quorate_conformance::{
    Cluster, PATIENCE, Recipes, Refused, Tool, example, on_cluster, poll, word,
};
use quorate_hostile_recipes::{Attack, Step, all, handlers};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The fewest attacks that the servers must have seen.
const ATTACKS_MIN: usize = 25;

/// A feature of `examples/hostile`, the error that its command `harm` must end with, words of it.
const FEATURES: [(&str, &str, &str); 5] = [
    ("loops", "recipe-out-of-fuel", "units of fuel are used"),
    ("allocates", "recipe-out-of-memory", "asks for more than"),
    ("recurses", "recipe-trapped", "recursion too deep"),
    ("traps", "recipe-trapped", "trapped on purpose"),
    ("floods", "recipe-over-limit", "changes"),
];

/// Faults in a row after which a mount is suspended, as `mount_faults_max` is by default.
const FAULTS_MAX: usize = 100;

#[test]
fn what_cannot_be_a_recipe_is_refused_by_the_tool_and_by_every_server_and_listed_nowhere() {
    on_cluster(Recipes::Lock, async |cluster| {
        let arena = Arena::new(cluster).await?;
        let before = arena.tool.done(&["recipe", "list"])?;
        let mut attacks = 0;
        let mut compiled = 0;
        for attack in all().filter(|attack| attack.stopped_at == Step::Install) {
            let reached = arena.refuse_install(attack).await;
            compiled += usize::from(reached.with_context(|| attack.name)?);
            attacks += 1;
        }
        for server in cluster.servers() {
            // All of them compile, though one answers.
            poll(&format!("server {server} refuses all"), async || {
                let log = server_log(cluster, server)?;
                let refused = log.matches("the component is no recipe").count();
                Ok((refused >= compiled).then_some(()))
            })
            .await?;
        }
        let after = arena.tool.done(&["recipe", "list"])?;
        ensure!(after == before, "something was installed: {after}");
        println!("{attacks} components refused, {compiled} of them by the servers' compilers");
        arena.serves_on(cluster).await
    });
}

#[test]
fn a_recipe_that_does_harm_is_told_its_own_error_and_the_cluster_serves_on() {
    on_cluster(Recipes::Lock, async |cluster| {
        let arena = Arena::new(cluster).await?;
        let keeper = arena.install("keeper", &handlers::keeper())?;
        let (mut mounts, mut attacks) = (Vec::from([String::from("/locks")]), 0);
        for attack in all().filter(|attack| attack.stopped_at != Step::Install) {
            let mount = format!("/attack-{attacks}");
            let done = match attack.stopped_at {
                Step::Install | Step::Mount => arena.refuse_mount(attack, &mount),
                Step::Call => arena.refuse_call(attack, &mount),
                Step::Upgrade => arena.refuse_upgrade(attack, &mount, &keeper),
                Step::SessionEnd => arena.end_session(attack, &mount).await,
            };
            done.with_context(|| attack.name)?;
            if attack.stopped_at != Step::Mount {
                mounts.push(mount);
            }
            attacks += 1;
        }
        ensure!(attacks >= ATTACKS_MIN, "only {attacks} attacks");
        println!("{attacks} attacks of mounted recipes ended with errors of their own");
        mounts.sort();
        let listed = arena.mounts()?;
        ensure!(listed.keys().eq(&mounts), "{mounts:?} should be mounted: {listed:?}");
        let suspended = listed.values().find(|mount| !mount["suspended"].is_null());
        ensure!(suspended.is_none(), "{suspended:?}");
        arena.serves_on(cluster).await
    });
}

#[test]
fn harm_written_in_rust_is_told_its_own_error_and_the_cluster_serves_on() {
    let features = FEATURES.map(|(feature, ..)| feature);
    let built = Built::new(&[&features[..], &["leaves", "wanders"]].concat()).expect("builds");
    on_cluster(Recipes::Lock, async |cluster| {
        let arena = Arena::new(cluster).await?;
        for (feature, code, words) in FEATURES {
            refuse_harm(&arena, &built.mount(&arena, feature)?, (code, words)).context(feature)?;
        }
        leave_with_a_bang(&arena, &built.mount(&arena, "leaves")?, cluster).await?;
        let mount = built.mount(&arena, "wanders")?;
        for object in 0..20 {
            arena.tool.done(&["call", &format!("{mount}/{object}"), "harm"])?;
        }
        arena.serves_on(cluster).await
    });
}

#[test]
fn a_mount_that_keeps_trapping_is_listed_as_suspended_with_why_and_can_be_resumed() {
    on_cluster(Recipes::Lock, async |cluster| {
        let arena = Arena::new(cluster).await?;
        let forging = "a panic that clears the screen and forges a line";
        let attack = all().find(|attack| attack.name == forging).context(forging)?;
        let digest = arena.install("forging", &attack.component())?;
        arena.tool.done(&["recipe", "mount", "/forging", &digest])?;
        for fault in 1..FAULTS_MAX {
            let called = arena.client.call_raw("/forging/a", "run", Vec::new()).await;
            let refusal = refusal_of(called).with_context(|| format!("fault {fault}"))?;
            ensure!(refusal.0 == "recipe-trapped", "fault {fault}: {refusal:?}");
        }
        ensure!(arena.mounts()?["/forging"]["suspended"].is_null(), "it is suspended early");
        arena.refuse(attack, &["call", "/forging/a", "run"])?;
        let behaving = ["call", "/forging/b", "behave"];
        let refused = arena.tool.refused(&behaving)?;
        ensure!(refused.code == "mount-suspended" && refused.exit_code == 8, "{refused:?}");
        ensure!(refused.next.contains("recipe resume"), "{refused:?}");
        let why = arena.mounts()?["/forging"]["suspended"].as_str().context("a reason")?.to_owned();
        ensure!(why.contains("100 faults in a row, the last: "), "{why}");
        ensure!(why.contains("gone") && why.contains("unreachable"), "{why}");
        let shown = arena.tool.shown(&["recipe", "list"])?;
        let locks = shown.lines().filter(|line| line.starts_with("/locks")).count();
        ensure!(locks == 1, "a line was forged: {shown}");
        for server in cluster.servers() {
            let alarms = cluster.status(server).await?.alarms;
            ensure!(alarms.iter().any(|alarm| alarm.contains("/forging")), "{server}: {alarms:?}");
        }
        let resumed = arena.tool.done(&["recipe", "resume", "/forging"])?;
        ensure!(resumed["was"] == why, "{resumed}");
        arena.tool.done(&behaving)?;
        arena.refuse(attack, &["call", "/forging/a", "run"])?;
        ensure!(arena.mounts()?["/forging"]["suspended"].is_null(), "one fault suspends it again");
        arena.serves_on(cluster).await
    });
}

/// A cluster under attack.
struct Arena {
    tool: Tool,
    client: Client,
    folder: TempDir,
    processes: BTreeMap<ServerId, u32>,
}

impl Arena {
    async fn new(cluster: &Cluster) -> Result<Arena> {
        Ok(Arena {
            tool: Tool::of(cluster)?,
            client: cluster.connect().await?.within(PATIENCE),
            folder: tempfile::tempdir()?,
            processes: cluster.process_ids(),
        })
    }

    fn save(&self, name: &str, component: &[u8]) -> Result<PathBuf> {
        let path = self.folder.path().join(name).with_extension("wasm");
        std::fs::write(&path, component)?;
        Ok(path)
    }

    /// Installs a component; gives its digest, since all of them have one name.
    fn install(&self, name: &str, component: &[u8]) -> Result<String> {
        let path = self.save(name, component)?;
        let installed = self.tool.done(&["recipe", "install", word(&path)?])?;
        Ok(installed["digest"].as_str().context("a digest")?.to_owned())
    }

    /// Runs a command that must end with the attack's error.
    fn refuse(&self, attack: &Attack, words: &[&str]) -> Result<()> {
        let refused = self.tool.refused(words)?;
        let Refused { code, error, .. } = &refused;
        ensure!(code == attack.code.name(), "{refused:?}");
        ensure!(error.contains(attack.words), "{:?} is not in {refused:?}", attack.words);
        let is_own = code == "recipe-refused";
        ensure!(refused.exit_code == if is_own { 4 } else { 8 }, "{refused:?}");
        Ok(())
    }

    fn mounts(&self) -> Result<BTreeMap<String, Value>> {
        let listed = self.tool.done(&["recipe", "list"])?;
        let mounts = listed["mounts"].as_array().context("mounts")?.iter();
        mounts
            .map(|mount| Ok((mount["path"].as_str().context("a path")?.to_owned(), mount.clone())))
            .collect()
    }

    fn children(&self, of: &str) -> Result<Value> {
        Ok(self.tool.done(&["tree", "ls", of])?["children"].clone())
    }

    /// Refused by the command line, which looks before it uploads, and by servers, who look for
    /// themselves. Gives whether the component came as far as their compilers.
    async fn refuse_install(&self, attack: &Attack) -> Result<bool> {
        let component = attack.component();
        let bytes = component.len();
        let path = self.save("refused", &component)?;
        self.refuse(attack, &["recipe", "install", word(&path)?])?;
        let uploaded = self.client.upload_and_install(component, None, |_, _| {}).await;
        let (code, message) = refusal_of(uploaded)?;
        if code == "quota-exceeded" {
            // What is too long goes no further than the first server's door.
            ensure!(message.contains("4194304") && bytes > 4 << 20, "{bytes}: {message}");
            return Ok(false);
        }
        ensure!(code == attack.code.name(), "{code}: {message}");
        ensure!(message.contains(attack.words), "{:?} is not in {message:?}", attack.words);
        Ok(true)
    }

    fn refuse_mount(&self, attack: &Attack, mount: &str) -> Result<()> {
        let digest = self.install("refused", &attack.component())?;
        self.refuse(attack, &["recipe", "mount", mount, &digest])?;
        let left = self.tool.refused(&["tree", "ls", mount])?;
        ensure!(left.code == "no-node", "{left:?}");
        Ok(())
    }

    fn refuse_call(&self, attack: &Attack, mount: &str) -> Result<()> {
        let digest = self.install("harmful", &attack.component())?;
        self.tool.done(&["recipe", "mount", mount, &digest])?;
        self.refuse(attack, &["call", &format!("{mount}/a"), "run"])?;
        // The same recipe still serves calls that do no harm, and the harm has left no trace.
        self.tool.done(&["call", &format!("{mount}/b"), "behave"])?;
        let left = self.children(mount)?;
        ensure!(left == json!([]), "it left {left}");
        Ok(())
    }

    fn refuse_upgrade(&self, attack: &Attack, mount: &str, keeper: &str) -> Result<()> {
        let object = format!("{mount}/a");
        self.tool.done(&["recipe", "mount", mount, keeper])?;
        self.tool.done(&["call", &object, "run"])?;
        let digest = self.install("newer", &attack.component())?;
        self.refuse(attack, &["recipe", "upgrade", mount, &digest])?;
        self.tool.done(&["call", &object, "run"])?;
        let kept = self.children(mount)?;
        ensure!(kept == json!(["q"]), "of what was kept there is {kept}");
        let governing = &self.mounts()?[mount]["digest"];
        ensure!(governing == keeper, "{mount} is governed by {governing}");
        Ok(())
    }

    async fn end_session(&self, attack: &Attack, mount: &str) -> Result<()> {
        let digest = self.install("staying", &attack.component())?;
        self.tool.done(&["recipe", "mount", mount, &digest])?;
        // The command's session ends with the command, and its ephemeral znode with the session.
        self.tool.done(&["call", &format!("{mount}/a"), "run"])?;
        poll("the ephemeral znode goes", async || {
            Ok((self.children(mount)? == json!([])).then_some(()))
        })
        .await?;
        let metrics = self.tool.done(&["recipe", "metrics", mount])?;
        let operations = metrics["mounts"][0]["operations"].as_array().context("operations")?;
        let faulted = operations.iter().filter(|one| one["faults"].as_u64() > Some(0));
        let names: Vec<&Value> = faulted.map(|one| &one["operation"]).collect();
        ensure!(names == ["(session-closed)"], "faults of {names:?}: {metrics}");
        Ok(())
    }

    /// All servers are up, as the processes they were, with the same state; a lock works; nothing
    /// worries them; their logs hold nothing that a terminal obeys.
    async fn serves_on(&self, cluster: &mut Cluster) -> Result<()> {
        self.tool.ran(&["lock", "/locks/after", "--wait-ms", "10000", "--", "true"])?;
        let statuses = cluster.assert_equal().await?;
        ensure!(statuses.len() == 3, "only {} servers are up", statuses.len());
        ensure!(cluster.process_ids() == self.processes, "a server was restarted");
        for status in statuses {
            let server = status.server;
            ensure!(status.alarms.is_empty(), "server {server}: {:?}", status.alarms);
            let log = server_log(cluster, server)?;
            let panic = log.lines().find(|line| line.starts_with("thread '"));
            ensure!(panic.is_none(), "server {server}: {panic:?}");
            let obeyed = log.lines().find(|line| line.contains(char::is_control));
            ensure!(obeyed.is_none(), "the log of server {server} has {obeyed:?}");
        }
        Ok(())
    }
}

/// The name of a refusal, and its words.
fn refusal_of<T>(outcome: Result<T, ClientError>) -> Result<(&'static str, String)> {
    match outcome {
        Ok(_) => anyhow::bail!("it was not refused"),
        Err(ClientError::Refused(refusal)) => Ok((refusal.code.name(), refusal.message)),
        Err(error) => Err(error.into()),
    }
}

fn server_log(cluster: &Cluster, server: ServerId) -> Result<String> {
    Ok(std::fs::read_to_string(cluster.server_folder(server).join("server.log"))?)
}

/// The command `harm` of a feature of `examples/hostile`.
fn refuse_harm(arena: &Arena, mount: &str, (code, words): (&str, &str)) -> Result<()> {
    let object = format!("{mount}/a");
    let refused = arena.tool.refused(&["call", &object, "harm"])?;
    ensure!(refused.code == code && refused.exit_code == 8, "{refused:?}");
    ensure!(refused.error.contains(words), "{refused:?}");
    ensure!(refused.next.contains("nothing was changed"), "{refused:?}");
    arena.tool.done(&["call", &object, "behave"])?;
    let left = arena.children(&object)?;
    ensure!(left == json!(["behaved"]), "it left {left}");
    Ok(())
}

/// A recipe that panics when a session ends can keep neither the session nor its ephemerals.
async fn leave_with_a_bang(arena: &Arena, mount: &str, cluster: &mut Cluster) -> Result<()> {
    let object = format!("{mount}/a");
    arena.tool.done(&["call", &object, "behave"])?;
    let before = arena.children(&object)?;
    arena.tool.done(&["call", &object, "stay"])?;
    poll("the ephemeral znode goes", async || {
        Ok((arena.children(&object)? == before).then_some(()))
    })
    .await?;
    let leader = cluster.leader().await?;
    let is_told = server_log(cluster, leader)?.contains("leaves with a bang");
    ensure!(is_told, "the panic is not in the leader's log");
    Ok(())
}

/// Components of `examples/hostile`, one for each feature.
struct Built {
    folder: TempDir,
}

impl Built {
    /// Builds them. Before any cluster runs: compiling takes the whole machine.
    fn new(features: &[&str]) -> Result<Built> {
        let built = Built { folder: tempfile::tempdir()? };
        let (tool, source) = (Tool::bare()?, example("hostile"));
        for feature in features {
            let out = built.file(feature);
            let words = ["recipe", "build", word(&source)?, "--features", feature, "--out"];
            tool.done(&[&words[..], &[word(&out)?]].concat())?;
        }
        Ok(built)
    }

    fn file(&self, feature: &str) -> PathBuf {
        self.folder.path().join(Path::new(feature).with_extension("wasm"))
    }

    /// Installs and mounts one; gives where.
    fn mount(&self, arena: &Arena, feature: &str) -> Result<String> {
        let digest = arena.install(feature, &std::fs::read(self.file(feature))?)?;
        let mount = format!("/{feature}");
        arena.tool.done(&["recipe", "mount", &mount, &digest])?;
        Ok(mount)
    }
}
