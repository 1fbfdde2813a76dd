//! Text scripts: commands, a line `----`, and the trace they are expected to leave.
//!
//! Comes in: the text, and an interpreter of one command line. Goes out: the text with the traces that
//! were seen, and every block whose trace differs. A script is a list of blocks; a block may hold
//! several command lines, and its trace ends at the first empty line. Keeps comments (`#`) and empty
//! lines as they are. Must never: know what the commands do.

use std::fmt::Write as _;

enum Part {
    /// Comments and empty lines, kept as they are.
    Prose(Vec<String>),
    Block {
        commands: Vec<String>,
        expected: Vec<String>,
        line: usize,
    },
}

fn parse_script(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut prose = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            prose.push(line.to_string());
            continue;
        }
        if !prose.is_empty() {
            parts.push(Part::Prose(std::mem::take(&mut prose)));
        }
        let mut commands = vec![line.to_string()];
        for (_, next) in lines.by_ref() {
            if next == "----" {
                break;
            }
            commands.push(next.to_string());
        }
        let mut expected = Vec::new();
        while let Some((_, next)) = lines.next_if(|(_, next)| !next.trim().is_empty()) {
            expected.push(next.to_string());
        }
        parts.push(Part::Block { commands, expected, line: number + 1 });
    }
    if !prose.is_empty() {
        parts.push(Part::Prose(prose));
    }
    parts
}

/// Runs the script in `text`. Returns the script with the traces that were seen, and a description
/// of every block whose trace differs. `interpret` takes one command line and returns its trace.
pub fn run_script(
    text: &str,
    interpret: &mut dyn FnMut(&str) -> Result<String, String>,
) -> (String, Vec<String>) {
    let mut seen = String::new();
    let mut differences = Vec::new();
    for part in parse_script(text) {
        match part {
            Part::Prose(lines) => push_lines(&mut seen, &lines),
            Part::Block { commands, expected, line } => {
                let actual = run_block(&commands, interpret);
                push_lines(&mut seen, &commands);
                seen.push_str("----\n");
                push_lines(&mut seen, &actual);
                if actual != expected {
                    differences.push(describe_difference(line, &commands, &expected, &actual));
                }
            }
        }
    }
    (seen, differences)
}

fn run_block(
    commands: &[String],
    interpret: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Vec<String> {
    let mut actual = Vec::new();
    for line in commands.iter().filter(|line| !line.starts_with('#')) {
        let trace = interpret(line).unwrap_or_else(|message| format!("error: {message}"));
        actual.extend(trace.lines().filter(|line| !line.is_empty()).map(str::to_string));
    }
    if actual.is_empty() {
        actual.push("ok".to_string());
    }
    actual
}

fn push_lines(text: &mut String, lines: &[String]) {
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
}

fn describe_difference(
    line: usize,
    commands: &[String],
    expected: &[String],
    actual: &[String],
) -> String {
    let mut text = format!("line {line}: {}\n", commands.join("; "));
    for expected_line in expected.iter().filter(|wanted| !actual.contains(wanted)) {
        let _ = writeln!(text, "  - {expected_line}");
    }
    for actual_line in actual.iter().filter(|found| !expected.contains(found)) {
        let _ = writeln!(text, "  + {actual_line}");
    }
    if expected.iter().all(|wanted| actual.contains(wanted)) && expected.len() == actual.len() {
        text.push_str("  the same lines in another order:\n");
        for actual_line in actual {
            let _ = writeln!(text, "    {actual_line}");
        }
    }
    text
}
