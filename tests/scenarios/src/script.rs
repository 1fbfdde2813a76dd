//! Text scripts: commands, a line `----`, and the trace they are expected to leave.
//! In: a folder of `*.txt` files and an interpreter for one command line. Out: a report of every
//! block whose trace differs, or the files rewritten when `UPDATE=1` is set. A file is a list of
//! blocks; a block may hold several command lines and its trace ends at the first empty line.
//! Keeps comments and blank lines as they are. Knows nothing about what the commands do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// One line of a script, split at spaces: a name, words, and `key=value` options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The first word.
    pub name: String,
    /// The words that are not options, in order. Text in double quotes is one word.
    pub words: Vec<String>,
    /// The options.
    pub options: BTreeMap<String, String>,
}

impl Command {
    /// Splits a command line.
    ///
    /// # Errors
    /// When a quote is not closed or an option is given twice.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut command = Self::default();
        for (position, word) in split_words(line)?.into_iter().enumerate() {
            if position == 0 {
                command.name = word;
                continue;
            }
            match word.split_once('=') {
                Some((key, value)) => {
                    if command.options.insert(key.to_string(), value.to_string()).is_some() {
                        return Err(format!("option {key} is given twice"));
                    }
                }
                None => command.words.push(word),
            }
        }
        Ok(command)
    }

    /// The word at `position`, or an error that names what was expected there.
    ///
    /// # Errors
    /// When the line has fewer words.
    pub fn word(&self, position: usize, expected: &str) -> Result<&str, String> {
        match self.words.get(position) {
            Some(word) => Ok(word),
            None => Err(format!("`{}` needs {expected}", self.name)),
        }
    }

    /// A number given as an option, or `default`.
    ///
    /// # Errors
    /// When the option is not a number.
    pub fn number(&self, key: &str, default: u64) -> Result<u64, String> {
        match self.options.get(key) {
            Some(text) => text.parse().map_err(|_| format!("{key}={text} is not a number")),
            None => Ok(default),
        }
    }

    /// A comma-separated list of numbers given as an option; empty when absent.
    ///
    /// # Errors
    /// When an element is not a number.
    pub fn numbers(&self, key: &str) -> Result<Vec<u64>, String> {
        self.options.get(key).map_or(Ok(Vec::new()), |text| parse_numbers(text))
    }
}

/// Reads `1,2,3`.
///
/// # Errors
/// When an element is not a number.
pub fn parse_numbers(text: &str) -> Result<Vec<u64>, String> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_err(|_| format!("{part} is not a number")))
        .collect()
}

fn split_words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut started = false;
    for character in line.chars() {
        match character {
            '"' => {
                quoted = !quoted;
                started = true;
            }
            ' ' if !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            other => {
                word.push(other);
                started = true;
            }
        }
    }
    if quoted {
        return Err(format!("a quote is not closed in `{line}`"));
    }
    if started {
        words.push(word);
    }
    Ok(words)
}

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
/// of every block whose trace differs. `interpret` takes one command and returns its trace.
pub fn run_script(
    text: &str,
    interpret: &mut dyn FnMut(&Command) -> Result<String, String>,
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
    interpret: &mut dyn FnMut(&Command) -> Result<String, String>,
) -> Vec<String> {
    let mut actual = Vec::new();
    for line in commands.iter().filter(|line| !line.starts_with('#')) {
        let outcome = Command::parse(line).and_then(|command| interpret(&command));
        let trace = outcome.unwrap_or_else(|message| format!("error: {message}"));
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

/// The scripts of a folder, by name. `SCENARIO=part` in the environment keeps the names that
/// contain that part.
///
/// # Panics
/// When the folder cannot be read: there is nothing to test then.
pub fn scripts_in(folder: &Path) -> Vec<PathBuf> {
    let wanted = env::var("SCENARIO").unwrap_or_default();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    paths.sort();
    paths
}

/// Runs one script file against its expected traces, or rewrites them when `UPDATE=1` is set.
/// Returns what differs, empty when nothing does. Commit rewritten traces only when every changed
/// line is understood and wanted.
///
/// # Panics
/// When the file cannot be read or written.
pub fn run_file(
    path: &Path,
    interpret: &mut dyn FnMut(&Command) -> Result<String, String>,
) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let (seen, differences) = run_script(&text, interpret);
    if env::var("UPDATE").is_ok_and(|value| value == "1") {
        if seen != text {
            fs::write(path, seen).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        }
        return Vec::new();
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(command: &Command) -> Result<String, String> {
        match command.name.as_str() {
            "say" => Ok(command.words.join("\n")),
            other => Err(format!("unknown command {other}")),
        }
    }

    #[test]
    fn a_script_whose_traces_hold_is_returned_unchanged() {
        let text = "# Why.\n\nsay a \"b c\"\nsay d\n----\na\nb c\nd\n\nsay\n----\nok\n";
        let (seen, differences) = run_script(text, &mut echo);
        assert_eq!(seen, text);
        assert_eq!(differences, Vec::<String>::new());
    }

    #[test]
    fn a_changed_trace_is_reported_with_its_line_and_corrected_in_the_rewritten_text() {
        let (seen, differences) = run_script("\nsay a\n----\nb\n", &mut echo);
        assert_eq!(seen, "\nsay a\n----\na\n");
        assert_eq!(differences, ["line 2: say a\n  - b\n  + a\n"]);
    }

    #[test]
    fn an_unknown_command_is_an_error_in_the_trace() {
        let (seen, _) = run_script("shout a\n----\n", &mut echo);
        assert_eq!(seen, "shout a\n----\nerror: unknown command shout\n");
    }

    #[test]
    fn options_and_quoted_words_are_told_apart() {
        let command = Command::parse("propose 1 \"x y\" term=3").expect("a command");
        assert_eq!(command.words, ["1", "x y"]);
        assert_eq!(command.number("term", 0), Ok(3));
        assert_eq!(parse_numbers("1,2"), Ok(vec![1, 2]));
    }
}
