//! What figures must be read against: the machine, its load, the commit.
//!
//! Comes in: what the operating system and git tell. Goes out: lines of text. Must never fail: what
//! cannot be learned is left out.

use std::process::Command;

/// Processors, memory, load, kernel, commit and date, a line each.
pub(crate) fn facts() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = field("/proc/cpuinfo", "model name").unwrap_or_default();
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    [
        format!("date    {}", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        format!("commit  {}", said("git", &["describe", "--always", "--dirty"])),
        format!("machine {cores} cores, {model}, {memory}, {}", said("uname", &["-sr"])),
        format!("load    {load} before this began"),
    ]
    .join("\n")
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
