//! One table of a TOML text, read key by key with errors that name the line.
//!
//! Comes in: a parsed table and the keys it may have. Goes out: typed values. Invariant: a table
//! with an unknown key is refused when it is opened, before a missing key could be complained of,
//! so that a misspelt required key is called misspelt. Must never fill in a value.

use super::ConfigurationError;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text that is read, for lines in errors.
pub(super) struct Origin<'t> {
    /// The file, for errors and relative paths.
    pub(super) path: &'t Path,
    /// All of it.
    pub(super) text: &'t str,
}

impl Origin<'_> {
    /// An error at a byte of the text.
    pub(super) fn error(&self, at: usize, message: String) -> ConfigurationError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        ConfigurationError::Invalid { path: self.path.to_owned(), line, message }
    }
}

/// One table.
pub(super) struct Section<'t> {
    origin: &'t Origin<'t>,
    /// `None`: the table is not in the text; every key is missing.
    table: Option<&'t DeTable<'t>>,
    /// Bytes of the text where the table begins.
    start: usize,
}

impl<'t> Section<'t> {
    /// Opens a table that may have the keys `known`; `name` is empty for the document.
    pub(super) fn new(
        origin: &'t Origin<'t>,
        name: &str,
        table: &'t DeTable<'t>,
        span: Range<usize>,
        known: &[&str],
    ) -> Result<Section<'t>, ConfigurationError> {
        for key in table.keys() {
            let word = key.get_ref().as_ref();
            if !known.contains(&word) {
                let full = if name.is_empty() { word.to_owned() } else { format!("{name}.{word}") };
                let message = match nearest(word, known) {
                    Some(meant) => format!("unknown key `{full}`; did you mean `{meant}`?"),
                    None => format!("unknown key `{full}`; known here: {}", known.join(", ")),
                };
                return Err(origin.error(key.span().start, message));
            }
        }
        Ok(Section { origin, table: Some(table), start: span.start })
    }

    /// A table that is not in the text.
    pub(super) fn empty(&self) -> Section<'t> {
        Section { origin: self.origin, table: None, start: 0 }
    }

    /// Where a key is in the text, or else where its table begins.
    pub(super) fn offset_of(&self, key: &str) -> usize {
        let found = self
            .table
            .and_then(|table| table.iter().find(|(name, _)| name.get_ref().as_ref() == key));
        found.map_or(self.start, |(name, _)| name.span().start)
    }

    /// An error about a key.
    pub(super) fn error(&self, key: &str, message: String) -> ConfigurationError {
        self.origin.error(self.offset_of(key), message)
    }

    /// Insists on a value; `full` is the key's dotted name.
    pub(super) fn required<V>(
        &self,
        value: Option<V>,
        full: &str,
    ) -> Result<V, ConfigurationError> {
        value.ok_or_else(|| self.origin.error(self.start, format!("the key `{full}` is missing")))
    }

    /// Whether the key is in the table.
    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    fn value(&self, key: &str) -> Option<&'t DeValue<'t>> {
        let table = self.table?;
        let found = table.iter().find(|(name, _)| name.get_ref().as_ref() == key);
        found.map(|(_, value)| value.get_ref())
    }

    fn wrong_type(&self, key: &str, wanted: &str, value: &DeValue<'_>) -> ConfigurationError {
        self.error(
            key,
            format!("`{key}` must be {wanted}, not a value of type {}", value.type_str()),
        )
    }

    /// A table below this one.
    pub(super) fn section(
        &self,
        key: &str,
        known: &[&str],
    ) -> Result<Option<Section<'t>>, ConfigurationError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let table = value.as_table().ok_or_else(|| self.wrong_type(key, "a table", value))?;
        let at = self.offset_of(key);
        Section::new(self.origin, key, table, at..at, known).map(Some)
    }

    /// An array of tables below this one.
    pub(super) fn sections(
        &self,
        key: &str,
        known: &[&str],
    ) -> Result<Vec<Section<'t>>, ConfigurationError> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let wanted = format!("an array of tables: [[{key}]]");
        let array = value.as_array().ok_or_else(|| self.wrong_type(key, &wanted, value))?;
        let open = |item: &'t Spanned<DeValue<'t>>| {
            let value = item.get_ref();
            let table = value.as_table().ok_or_else(|| self.wrong_type(key, &wanted, value))?;
            Section::new(self.origin, key, table, item.span(), known)
        };
        array.iter().map(open).collect()
    }

    /// A text.
    pub(super) fn string(&self, key: &str) -> Result<Option<&'t str>, ConfigurationError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong_type(key, "a text in quotes", value))
    }

    /// A list of texts.
    pub(super) fn strings(&self, key: &str) -> Result<Option<Vec<&'t str>>, ConfigurationError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wanted = "a list of texts: [\"…\", \"…\"]";
        let array = value.as_array().ok_or_else(|| self.wrong_type(key, wanted, value))?;
        let text = |item: &'t Spanned<DeValue<'t>>| {
            let value = item.get_ref();
            value.as_str().ok_or_else(|| self.wrong_type(key, wanted, value))
        };
        array.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, ConfigurationError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong_type(key, "true or false", value))
    }

    /// A whole number within a range.
    pub(super) fn integer(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigurationError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let digits =
            value.as_integer().ok_or_else(|| self.wrong_type(key, "a whole number", value))?;
        match u64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (low, high) = (range.start(), range.end());
                let message = format!("`{key}` must be from {low} to {high}, not {digits}");
                Err(self.error(key, message))
            }
        }
    }

    /// As [`Section::integer`], with the value it has when the key is not there.
    pub(super) fn integer_u32(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
        ordinary: u32,
    ) -> Result<u32, ConfigurationError> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        let number = self.integer(key, range)?;
        Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(ordinary))
    }

    /// A path in the text, made absolute or relative to the process by the folder of the file.
    pub(super) fn beside(&self, text: &str) -> PathBuf {
        self.origin.path.parent().unwrap_or(Path::new("")).join(text)
    }

    /// A path, made absolute or relative to the process by the folder of the file.
    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigurationError> {
        match self.string(key)? {
            Some("") => Err(self.error(key, format!("`{key}` is empty"))),
            Some(text) => Ok(Some(self.beside(text))),
            None => Ok(None),
        }
    }

    /// An address to listen on: IP and port.
    pub(super) fn socket_address(
        &self,
        key: &str,
    ) -> Result<Option<SocketAddr>, ConfigurationError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        let wanted = "an IP address and a port such as `0.0.0.0:7420` or `[::]:7420`";
        let refuse = |_| self.error(key, format!("`{key}` must be {wanted}, not `{text}`"));
        text.parse().map(Some).map_err(refuse)
    }

    /// An address to connect to: host and port.
    pub(super) fn host_and_port(&self, key: &str) -> Result<Option<String>, ConfigurationError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let named = !host.is_empty() && !host.contains([':', '/', ' ', '[', ']']);
            let numbered = bare.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
            (named || numbered) && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if !valid {
            let wanted = "a host and a port such as `db1.example:7421` or `[2001:db8::1]:7421`";
            return Err(self.error(key, format!("`{key}` must be {wanted}, not `{text}`")));
        }
        Ok(Some(text.to_owned()))
    }

    /// One of some words.
    pub(super) fn choice<V: Copy>(
        &self,
        key: &str,
        words: &[(&str, V)],
    ) -> Result<Option<V>, ConfigurationError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*value));
        }
        let known = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>();
        let message = format!("`{key}` must be one of {}, not \"{text}\"", known.join(", "));
        Err(self.error(key, message))
    }
}

/// The known word that `word` is probably a misspelling of.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let (distance, meant) = known.iter().map(|known| (edits(word, known), *known)).min()?;
    (distance <= 2.max(word.len() / 3)).then_some(meant)
}

/// Letters to insert, remove or replace to make `a` from `b` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b = b.chars().collect::<Vec<_>>();
    let mut previous = (0..=b.len()).collect::<Vec<_>>();
    for (row, letter) in a.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in b.iter().enumerate() {
            let replaced = previous[column] + usize::from(letter != *other);
            current.push(replaced.min(previous[column + 1] + 1).min(current[column] + 1));
        }
        previous = current;
    }
    previous[b.len()]
}
