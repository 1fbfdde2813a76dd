//! The recipes that every installation has, and other versions of one in its place.

use anyhow::{Context, Result, ensure};
use quorate_client::{Client, MountRequest};
use quorate_conformance::{Cluster, Recipes, Tool, on_cluster, poll, word};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A recipe's object, and words that it must understand.
const CALLS: &[&[&str]] = &[
    &["/assignments/a", "define", "--partitions", r#"{"count": 4}"#],
    &["/barriers/a", "close", "--ttl-ms", "60000"],
    &["/configurations/a", "set", "--document", "{}"],
    &["/counters/a", "add", "--by", "5"],
    &["/double-barriers/a", "state"],
    &["/elections/a", "leader"],
    &["/groups/a", "members"],
    &["/latches/a", "start", "--count", "2"],
    &["/locks/a", "acquire", "--wait-ms", "0"],
    &["/queues/a", "put", "--items", r#"[{"payload": {"bytes": "6869"}}]"#],
    &["/rate-limiters/a", "configure", "--rate", r#"{"tokens": 9, "burst": 20}"#],
    &["/read-write-locks/a", "acquire", "--mode", "read"],
    &["/registries/a", "instances"],
    &["/semaphores/a", "acquire", "--capacity", "3"],
    &["/values/a", "set", "--value", "text"],
];

fn plugins() -> Result<BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[test]
fn every_standard_recipe_is_listed_tells_its_operations_and_answers() {
    on_cluster(Recipes::All, async |cluster| {
        let tool = Tool::of(cluster)?;
        let listed = tool.done(&["recipe", "list"])?;
        let recipes = listed["recipes"].as_array().context("a list")?;
        let name = |recipe: &Value| recipe["name"].as_str().map(String::from);
        let names: BTreeSet<String> = recipes.iter().filter_map(name).collect();
        ensure!(names == plugins()?, "{names:?}");
        ensure!(CALLS.len() == names.len(), "a recipe is not called here");
        for words in CALLS {
            let told = tool.done(&["call", words[0], words[1], "--help"])?;
            ensure!(told["operation"]["name"] == words[1], "{told}");
            let schema = told["operation"]["arguments_schema"].as_str().context("a schema")?;
            serde_json::from_str::<Value>(schema).with_context(|| schema.to_owned())?;
            tool.done(&[&["call"], *words].concat()).with_context(|| format!("{words:?}"))?;
        }
        let refused = tool.refused(&["call", "/counters/a", "add", "--by", "much"])?;
        ensure!(refused.error.contains("--by cannot be `much`"), "{refused:?}");
        cluster.assert_equal().await.map(drop)
    });
}

/// The lock as another component: the same code, another digest.
fn other_edition(folder: &Path) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/recipes/lock.wasm");
    let mut component = std::fs::read(&path).with_context(|| path.display().to_string())?;
    // A custom section of seven bytes: its name and nothing else.
    component.extend(b"\x00\x07\x06remark");
    let path = folder.join("lock.wasm");
    std::fs::write(&path, component)?;
    Ok(path)
}

async fn holder(cluster: &mut Cluster) -> Result<Value> {
    Ok(Tool::of(cluster)?.done(&["call", "/locks/a", "holder"])?["reply"].clone())
}

#[test]
fn a_mount_is_upgraded_and_rolled_back_while_a_lock_is_held() {
    on_cluster(Recipes::Lock, async |cluster| {
        let folder = tempfile::tempdir()?;
        let tool = Tool::of(cluster)?;
        let client = cluster.connect().await?;
        let held = client.lock("/locks/a").acquire(None).await?;
        let before = holder(cluster).await?;
        ensure!(before["fence"] == json!(held.fencing_token()), "{before}");
        let refused = tool.refused(&["recipe", "rollback", "/locks"])?;
        ensure!(refused.error.contains("no version of lock"), "{refused:?}");
        let edition = other_edition(folder.path())?;
        let installed = tool.done(&["recipe", "install", word(&edition)?])?;
        let digest = installed["digest"].as_str().context("a digest")?;
        let first = tool.done(&["recipe", "list"])?["mounts"][0]["digest"].clone();
        for _ in 0..3 {
            let upgraded = tool.done(&["recipe", "upgrade", "/locks", digest])?;
            ensure!(upgraded["digest"] == digest, "{upgraded}");
            ensure!(holder(cluster).await? == before, "the upgrade lost the holder");
            let back = tool.done(&["recipe", "rollback", "/locks"])?;
            ensure!(back["digest"] == first, "{back}");
            ensure!(holder(cluster).await? == before, "the rollback lost the holder");
        }
        let resumed = tool.done(&["recipe", "resume", "/locks"])?;
        ensure!(resumed["was"].is_null(), "{resumed}");
        let refused = tool.refused(&["recipe", "upgrade", "/nowhere", "lock"])?;
        ensure!(refused.error.contains("mounts: /locks"), "{refused:?}");
        held.release().await?;
        cluster.assert_equal().await.map(drop)
    });
}

#[test]
fn a_shadow_run_compares_calls_under_load_and_changes_nothing() {
    on_cluster(Recipes::Lock, async |cluster| {
        let folder = tempfile::tempdir()?;
        let tool = Tool::of(cluster)?;
        let edition = other_edition(folder.path())?;
        let installed = tool.done(&["recipe", "install", word(&edition)?])?;
        let digest = installed["digest"].as_str().context("a digest")?.to_owned();
        let before = tool.done(&["recipe", "list"])?["mounts"].clone();
        let load = Arc::new(Load::default());
        let mut callers = JoinSet::new();
        for number in 0..4 {
            let (caller, lock) = (cluster.connect().await?, format!("/locks/{}", number % 2));
            callers.spawn(keep_locking(caller, lock, Arc::clone(&load)));
        }
        let words = ["recipe", "upgrade", "/locks", &digest, "--shadow", "300"];
        let report = tool.done(&words)?;
        load.stops.store(true, Ordering::Relaxed);
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        ensure!(report["compared"] == 300 && report["equal"] == 300, "{report}");
        ensure!(report["fuel_before"] == report["fuel_after"], "{report}");
        ensure!(tool.done(&["recipe", "list"])?["mounts"] == before, "the mount was changed");
        let metrics = tool.done(&["recipe", "metrics", "/locks"])?;
        let operations = metrics["mounts"][0]["operations"].as_array().context("operations")?;
        let acquire = operations.iter().find(|one| one["operation"] == "acquire");
        let acquire = acquire.with_context(|| format!("no acquire in {metrics}"))?;
        let runs = acquire["runs"].as_u64().context("runs")?;
        // Each turn acquires once; what was run beside it to compare does not count.
        let turns = load.turns.load(Ordering::Relaxed);
        ensure!((turns..turns * 3 / 2 + 8).contains(&runs), "{turns} turns, {metrics}");
        ensure!(acquire["faults"] == 0 && acquire["fuel_max"].as_u64() > Some(0), "{metrics}");
        let unknown = tool.refused(&["recipe", "upgrade", "/locks", "lok", "--shadow", "9"])?;
        ensure!(unknown.error.contains("no recipe `lok` is installed"), "{unknown:?}");
        cluster.assert_equal().await.map(drop)
    });
}

/// Clients, and callers on each of them.
const CLIENTS: usize = 8;
const CALLERS: usize = 8;
const UPGRADES: usize = 10;
/// Turns between two changes of the version.
const TURNS_BY_EACH: u64 = 200;

/// What callers and their observer share.
#[derive(Default)]
struct Load {
    turns: AtomicU64,
    stops: AtomicBool,
}

/// Takes a lock and gives it back, again and again; gives the longest turn.
async fn keep_locking(client: Client, lock: String, load: Arc<Load>) -> Result<Duration> {
    let mut longest = Duration::ZERO;
    while !load.stops.load(Ordering::Relaxed) {
        let begin = Instant::now();
        client.lock(&lock).acquire(None).await?.release().await?;
        longest = longest.max(begin.elapsed());
        load.turns.fetch_add(1, Ordering::Relaxed);
    }
    Ok(longest)
}

#[test]
fn ten_upgrades_and_rollbacks_under_load_fail_no_call_and_lose_no_waiting_one() {
    on_cluster(Recipes::Lock, async |cluster| {
        let client = cluster.connect().await?;
        let path = other_edition(cluster.server_folder(cluster.servers()[0]).as_path())?;
        let other = client.upload_and_install(std::fs::read(path)?, None, |_, _| {}).await?.digest;
        let first = client.list_mounts().await?.remove(0);
        let load = Arc::new(Load::default());
        let mut callers = JoinSet::new();
        for number in 0..CLIENTS {
            let caller = cluster.connect().await?;
            for _ in 0..CALLERS {
                let lock = format!("/locks/{}", number % 4);
                callers.spawn(keep_locking(caller.clone(), lock, Arc::clone(&load)));
            }
        }
        let mut slowest = Duration::ZERO;
        for _ in 0..UPGRADES {
            for digest in [other, first.digest] {
                let begin = Instant::now();
                client
                    .mount(MountRequest {
                        path: first.path.to_string(),
                        digest,
                        config: first.config.clone(),
                        open: first.open,
                        fuel: first.fuel,
                    })
                    .await?;
                slowest = slowest.max(begin.elapsed());
                let goal = load.turns.load(Ordering::Relaxed) + TURNS_BY_EACH;
                poll("calls go on", async || {
                    Ok((load.turns.load(Ordering::Relaxed) >= goal).then_some(()))
                })
                .await?;
            }
        }
        load.stops.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        while let Some(ended) = callers.join_next().await {
            longest = longest.max(ended??);
        }
        let turns = load.turns.load(Ordering::Relaxed);
        println!("{turns} turns; the longest took {longest:?}, the slowest change {slowest:?}");
        cluster.assert_equal().await.map(drop)
    });
}
