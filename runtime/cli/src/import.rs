//! `quorate import`: the data of another store becomes that of a new cluster.
//!
//! Comes in: folders and configurations. Goes out: data directories, and a report with figures that can
//! be compared. Must never write anything on `--check`, or anywhere but where it was told.

use crate::arguments::{ImportCommand, ImportZooKeeperArguments};
use crate::exit::Mistake;
use crate::output::Output;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use quorate_import::{Configurations, DigestCheck, Import, Progress, Report};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

pub(crate) fn run(command: &ImportCommand, output: Output) -> Result<()> {
    match command {
        ImportCommand::Zookeeper(arguments) => zookeeper(arguments, output),
    }
}

fn zookeeper(arguments: &ImportZooKeeperArguments, output: Output) -> Result<()> {
    let configurations = configurations(arguments);
    if configurations.is_none() && !arguments.check {
        let text = "name the new servers by --cluster, --config or --zoo-cfg; --check only reads";
        bail!(Mistake::bad_arguments(text));
    }
    let import = Import {
        data_dir: arguments.data_dir.clone(),
        data_log_dir: arguments.data_log_dir.clone(),
        configurations,
        out: arguments.out.clone(),
        check: arguments.check,
        snapshot: arguments.snapshot.clone(),
        ignore_digest: arguments.ignore_digest,
    };
    let bar = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let counted = ProgressStyle::with_template("{msg:9} {bar:30} {percent:>3} %")
        .context("the bar's template")?;
    bar.set_style(counted);
    let report = import.run(&mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let report = report?;
    if let Some(path) = &arguments.list_ephemerals {
        write_list(path, &report)?;
    }
    output.print(&text_of(arguments, &report), &json_of(&report));
    Ok(())
}

fn configurations(arguments: &ImportZooKeeperArguments) -> Option<Configurations> {
    let ImportZooKeeperArguments { config, zoo_cfg, cluster, .. } = arguments;
    if let Some(folder) = cluster {
        return Some(Configurations::Cluster(folder.clone()));
    }
    match (config.as_slice(), zoo_cfg.as_slice()) {
        ([], []) => None,
        ([], files) => Some(Configurations::ZooCfgs(files.to_vec())),
        (files, _) => Some(Configurations::Files(files.to_vec())),
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    let (word, done, total) = match progress {
        Progress::Reading { done, total } => ("reading", done, total),
        Progress::Building => ("building", 0, 1),
        Progress::Writing { done, total } => ("writing", done, total),
        Progress::Verifying { done, total } => ("verifying", done, total),
    };
    bar.set_length(total);
    bar.set_message(word);
    bar.set_position(done);
}

fn write_list(path: &Path, report: &Report) -> Result<()> {
    let mut text = String::new();
    for dropped in &report.transfer.ephemerals {
        let _ = writeln!(text, "{:#x} {}", dropped.session, dropped.path);
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn digest_word(check: DigestCheck) -> &'static str {
    match check {
        DigestCheck::Equal => "equal",
        DigestCheck::Ignored => "differs, ignored",
        DigestCheck::NotKept => "not kept",
    }
}

fn text_of(arguments: &ImportZooKeeperArguments, report: &Report) -> String {
    let (origin, figures, transfer) = (&report.origin, &report.figures, &report.transfer);
    let mut text = String::new();
    let snapshot = origin
        .snapshot
        .as_ref()
        .map_or_else(|| String::from("no snapshot"), |path| path.display().to_string());
    let logs = origin.logs.len();
    let _ = writeln!(
        text,
        "read {snapshot} and {logs} logs: {} transactions, the last is {:#x}",
        origin.transactions, origin.last_zxid
    );
    let _ = writeln!(text, "ZooKeeper's own digest of the tree: {}", digest_word(origin.digest));
    let _ = writeln!(
        text,
        "{} znodes with {} bytes of data; {} containers, {} with a time to live, {} with an ACL",
        figures.znodes, figures.data_bytes, transfer.containers, transfer.ttls, transfer.acls
    );
    let _ = writeln!(
        text,
        "dropped: {} ephemerals of {} sessions{}",
        transfer.ephemerals.len(),
        transfer.sessions,
        if arguments.list_ephemerals.is_some() {
            ""
        } else {
            "; --list-ephemerals FILE names them"
        }
    );
    for warning in warnings(report) {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = writeln!(text, "sha-256 of paths, data, ACLs and stats: {}", figures.sha256);
    if report.servers.is_empty() {
        let _ = write!(
            text,
            "nothing was written; the first transaction would be {:#x}",
            report.first_zxid.0
        );
        return text;
    }
    for server in &report.servers {
        let _ = writeln!(
            text,
            "server {}: written and read back equal, {}",
            server.server,
            server.folder.display()
        );
    }
    let next = match &arguments.out {
        Some(_) => {
            "copy the folder `state` of each into that server's data_dir (with a zoo.cfg: dataDir), then \
             start all servers"
        }
        None => "start all servers",
    };
    let _ = write!(text, "the first transaction is {:#x}; next: {next}", report.first_zxid.0);
    text
}

fn warnings(report: &Report) -> Vec<String> {
    let mut warnings: Vec<String> = report.running.iter().cloned().collect();
    for (scheme, count) in &report.transfer.unknown_schemes {
        warnings.push(format!(
            "{count} znodes have an ACL of the scheme `{scheme}`, which nobody can prove to these servers"
        ));
    }
    for (path, count) in &report.transfer.crowded {
        warnings.push(format!(
            "{path} has {count} children, more than limits.children_reply_max: clients cannot list them \
             until it is raised or they are fewer"
        ));
    }
    warnings
}

fn json_of(report: &Report) -> Value {
    let (origin, figures, transfer) = (&report.origin, &report.figures, &report.transfer);
    let name = |path: &Path| path.display().to_string();
    let ephemerals: Vec<Value> = transfer
        .ephemerals
        .iter()
        .map(
            |dropped| json!({ "path": dropped.path, "session": format!("{:#x}", dropped.session) }),
        )
        .collect();
    let servers: Vec<Value> = report
        .servers
        .iter()
        .map(|server| json!({ "server": server.server.0, "folder": name(&server.folder) }))
        .collect();
    json!({
        "snapshot": origin.snapshot.as_deref().map(name),
        "logs": origin.logs.iter().map(|path| name(path)).collect::<Vec<_>>(),
        "transactions": origin.transactions,
        "last_zxid": origin.last_zxid,
        "zookeeper_digest": digest_word(origin.digest),
        "znodes": figures.znodes,
        "data_bytes": figures.data_bytes,
        "path_bytes": figures.path_bytes,
        "sha256": figures.sha256,
        "containers": transfer.containers,
        "ttl_znodes": transfer.ttls,
        "acl_znodes": transfer.acls,
        "dropped_sessions": transfer.sessions,
        "dropped_ephemerals": ephemerals,
        "unknown_schemes": transfer.unknown_schemes,
        "crowded": transfer.crowded,
        "first_zxid": report.first_zxid.0,
        "state_digest": format!("{:016x}", report.state_digest),
        "servers": servers,
        "warnings": warnings(report),
    })
}
