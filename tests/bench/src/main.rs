//! `cargo run -p quorate-bench`: load on a cluster of real processes, one table of figures.
//!
//! Comes in: how long each load lasts. Goes out: the table, with the machine and the commit it was
//! measured on. Invariant: it reports; nothing here asserts on time. The pure rooms are measured by
//! `cargo bench -p quorate-bench`. `README.md` beside this folder holds what was found, and where.

mod cluster;
mod machine;
mod zookeeper;

use anyhow::{Context, Result, bail};
use cluster::Cluster;
use std::process::Command;

/// A row of the table: what it says it is, and the words for `quorate bench`.
const LOADS: [(&str, &[&str]); 7] = [
    ("set of 256 bytes", &["writes", "--outstanding", "1"]),
    ("", &["writes", "--outstanding", "64"]),
    ("", &["writes", "--outstanding", "512"]),
    ("lock acquire + release", &["lock", "--outstanding", "1"]),
    ("", &["lock", "--outstanding", "64"]),
    ("", &["lock", "--outstanding", "512"]),
    ("one lock, contended (time: the wait for it)", &["lock", "--clients", "64", "--objects", "1"]),
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    match words.as_slice() {
        ["cluster"] => loads(profile, 5),
        ["cluster", "--seconds", seconds] => {
            let number = seconds.parse();
            loads(profile, number.with_context(|| format!("`{seconds}` is no number of seconds"))?)
        }
        ["zookeeper", words @ ..] => {
            let cluster = begin(profile)?;
            zookeeper::compare(&cluster, words)
        }
        _ => bail!(
            "usage: cargo run -p quorate-bench -- cluster [--seconds 5]\n       \
             cargo run -p quorate-bench -- zookeeper [words of quorate bench zk]"
        ),
    }
}

fn begin(profile: &str) -> Result<Cluster> {
    let cluster = Cluster::start(&build(profile)?)?;
    println!("{}\n{profile} profile, 3 servers, fsync on\n", machine::facts());
    Ok(cluster)
}

fn loads(profile: &str, seconds: u64) -> Result<()> {
    let cluster = begin(profile)?;
    println!("| load | at a time | per second | p50 | p99 | servers' CPU per operation |");
    println!("|---|---|---|---|---|---|");
    for (name, load) in LOADS {
        let figures = cluster.bench(load, seconds)?;
        println!("| {name} {figures}");
    }
    drop(cluster);
    println!("\none recipe call, without a server around it:\n");
    for line in call_cost(profile)?.lines() {
        println!("    {line}");
    }
    Ok(())
}

/// Builds the binary in the profile that this program was built in; gives its path.
fn build(profile: &str) -> Result<std::path::PathBuf> {
    cargo(profile, &["build", "--quiet", "--workspace", "--bin", "quorate"])?;
    let own = std::env::current_exe().context("where am I?")?;
    Ok(own.with_file_name("quorate"))
}

/// Microseconds of one recipe call.
fn call_cost(profile: &str) -> Result<String> {
    cargo(profile, &["run", "--quiet", "-p", "quorate-recipe-host", "--example", "call_cost"])
}

fn cargo(profile: &str, words: &[&str]) -> Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile == "release" {
        command.arg("--release");
    }
    let output = command.stderr(std::process::Stdio::inherit()).output().context("no cargo")?;
    if !output.status.success() {
        bail!("cargo {} failed: see the messages above", words.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
