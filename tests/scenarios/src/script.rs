//! Text scripts: commands, a line `----`, and the trace they are expected to leave.
//! In: a folder of `*.txt` files and an interpreter for one command line. Out: a report of every
//! block whose trace differs, or the files rewritten when `UPDATE=1` is set. A file is a list of
//! blocks; a block may hold several command lines and its trace ends at the first empty line.
//! Keeps comments and blank lines as they are. Knows nothing about what the commands do.

use std::collections::BTreeMap;
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

/// Runs the script in `text`. Returns the script with the traces that were seen, and a description
/// of every block whose trace differs. `interpret` takes one command and returns its trace.
pub fn run_script(
    text: &str,
    interpret: &mut dyn FnMut(&Command) -> Result<String, String>,
) -> (String, Vec<String>) {
    quorate_recipe_scenario::run_script(text, &mut |line| {
        Command::parse(line).and_then(|command| interpret(&command))
    })
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
