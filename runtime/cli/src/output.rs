//! What people and programs read: text, or one JSON value.
//!
//! Comes in: a result in both forms. Goes out: the one asked for, on the standard output; errors on
//! the standard error. Must never print a character that a terminal obeys and that came from a server or
//! a file.

use crate::exit;
use crate::next_step::next_step;
use quorate_client::ClientError;
use serde_json::{Value, json};
use std::io::Write as _;

/// Text or JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        Output { json }
    }

    /// Whether a program reads.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// One result.
    pub(crate) fn print(self, text: &str, json: &Value) {
        let line = if self.json { printable_json(json) } else { printable(text) };
        if !line.is_empty() {
            // A reader that has gone away is no error of ours.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    /// A word on what is under way; programs do not see it.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            let _ = writeln!(std::io::stderr(), "{}", printable(text));
        }
    }

    /// Why it did not work.
    pub(crate) fn error(self, error: &anyhow::Error) {
        if self.json {
            let refusal = error.downcast_ref::<ClientError>();
            let value = json!({
                "error": format!("{error:#}"),
                "code": exit::name_of(error),
                "recipe_code": refusal.and_then(ClientError::recipe_code),
                "exit_code": exit::code_of(error),
                "next": next_step(error),
            });
            let _ = writeln!(std::io::stderr(), "{}", printable_json(&value));
        } else {
            let _ = writeln!(std::io::stderr(), "quorate: {}", printable(&format!("{error:#}")));
            if let Some(next) = next_step(error) {
                let _ = writeln!(std::io::stderr(), "next: {next}");
            }
        }
    }
}

/// What a terminal obeys but line ends and tabs, escaped: a znode's name must not move the cursor.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) && !matches!(character, '\n' | '\t') {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// JSON of the same meaning, on one line: only its texts hold such characters.
fn printable_json(value: &Value) -> String {
    let mut shown = String::new();
    for character in value.to_string().chars() {
        if is_obeyed(character) {
            shown += &format!("\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Control characters, and those that end lines or turn the text around them.
fn is_obeyed(character: char) -> bool {
    let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    character.is_control() || turns
}

/// Data as text if it is text, else in hexadecimal.
pub(crate) fn data_text(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("0x{}", crate::json_cbor::hex(data)),
    }
}

/// Data for a program: text if it is text, else `{"bytes": "<hex>"}`.
pub(crate) fn data_json(data: &[u8]) -> Value {
    match std::str::from_utf8(data) {
        Ok(text) => json!(text),
        Err(_) => json!({ "bytes": crate::json_cbor::hex(data) }),
    }
}

/// Names in a sentence; `none` when there are none.
pub(crate) fn listed(names: impl IntoIterator<Item = impl Into<String>>) -> String {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    if names.is_empty() { String::from("none") } else { names.join(", ") }
}

/// Rows as aligned columns, a row a line whatever is in its cells.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let in_one_line = |cell: &String| cell.replace('\n', "\\n").replace('\t', "\\t");
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(in_one_line).collect()).collect();
    let mut widths: Vec<usize> = header.iter().map(|title| title.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    let lines = std::iter::once(&titles).chain(&rows).map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_not_obeyed() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\n");
        assert_eq!(printable("a\u{9b}2J\u{202e}b"), "a\\u{9b}2J\\u{202e}b");
    }

    #[test]
    fn json_keeps_its_meaning_and_is_not_obeyed() {
        let value = json!({ "error": "a\u{1b}[2J\u{9b}2J\u{7f}\u{202e}\n\"ä\\u0041" });
        let shown = printable_json(&value);
        assert!(!shown.chars().any(is_obeyed), "{shown}");
        assert!(shown.contains("\\u009b2J\\u007f\\u202e"), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn columns_align() {
        let rows = vec![vec!["1".to_owned(), "leader".to_owned()]];
        assert_eq!(table(&["server", "role"], &rows), "server  role\n1       leader");
        let rows = vec![vec!["1\n2".to_owned(), "leader".to_owned()]];
        assert_eq!(table(&["server", "role"], &rows), "server  role\n1\\n2    leader");
    }
}
