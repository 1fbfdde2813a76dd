//! What one `zoo.cfg` gives: the last value of each key, judged by the table and read as typed values.
//!
//! Comes in: properties. Goes out: values, warnings, the first thing that is wrong. Invariant: every
//! key that is given is honoured, mapped, warned about or refused; only keys that the table calls
//! honoured or mapped are read, so that no other can have an effect in silence.

use super::keys::{BOOLEANS, Class, Row, row_of, rows};
use super::properties;
use crate::configuration::ConfigurationError;
use crate::configuration::section::nearest;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Values with where they are.
pub(super) struct Given<'t> {
    path: &'t Path,
    values: BTreeMap<String, (usize, String)>,
    warnings: Vec<String>,
    /// Keys that were asked for, given or not.
    asked: RefCell<BTreeSet<String>>,
}

impl<'t> Given<'t> {
    /// Reads a file's text.
    pub(super) fn read(bytes: &[u8], path: &'t Path) -> Result<Given<'t>, ConfigurationError> {
        let mut given = Given {
            path,
            values: BTreeMap::new(),
            warnings: Vec::new(),
            asked: RefCell::default(),
        };
        let read = properties::parse(&properties::decode(bytes)).map_err(|wrong| {
            let message =
                format!("`{}` is no escape: four hexadecimal digits follow", wrong.escape);
            given.error_at(wrong.line, message)
        })?;
        for property in read {
            let properties::Property { line, key, value } = property;
            if let Some((before, _)) = given.values.get(&key) {
                let message = format!("`{key}` is given again: line {before} has no effect");
                given.warn_at(line, &message);
            }
            given.values.insert(key, (line, value));
        }
        Ok(given)
    }

    /// Looks every key up in the table.
    pub(super) fn judge(&mut self) -> Result<(), ConfigurationError> {
        let mut all = self.values.iter().collect::<Vec<_>>();
        all.sort_by_key(|(_, (line, _))| *line);
        let mut warnings = Vec::new();
        for (key, (line, value)) in all {
            let judged = match row_of(key) {
                Some(row) => judge(row, key, value),
                None => unknown(key),
            };
            match judged {
                Ok(None) => {}
                Ok(Some(warning)) => warnings.push((*line, warning)),
                Err(message) => return Err(self.error_at(*line, message)),
            }
        }
        for (line, warning) in warnings {
            self.warn_at(line, &warning);
        }
        Ok(())
    }

    /// An error at a line.
    pub(super) fn error_at(&self, line: usize, message: String) -> ConfigurationError {
        ConfigurationError::Invalid { path: self.path.to_owned(), line, message }
    }

    /// An error about a key, or about the file if the key is not in it.
    pub(super) fn error(&self, key: &str, message: String) -> ConfigurationError {
        self.error_at(self.values.get(key).map_or(1, |(line, _)| *line), message)
    }

    fn warn_at(&mut self, line: usize, message: &str) {
        self.warnings.push(format!("{}:{line}: {message}", self.path.display()));
    }

    /// A warning about a key.
    pub(super) fn warn(&mut self, key: &str, message: &str) {
        self.warn_at(self.values.get(key).map_or(1, |(line, _)| *line), message);
    }

    /// All warnings so far, in the order of their making.
    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    /// Whether the key is in the file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let is_read = row_of(key).map(|row| row.class);
        assert!(
            matches!(is_read, Some(Class::Honoured | Class::Mapped)),
            "the table says of {key} that it is not read"
        );
        self.asked.borrow_mut().insert(key.to_owned());
        self.unread(key)
    }

    /// A value that only a check of ZooKeeper's is about.
    pub(super) fn unread(&self, key: &str) -> Option<&str> {
        let (_, value) = self.values.get(key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number as Java's `int`, or what `-1` stands for, `None`.
    pub(super) fn number(&self, key: &str) -> Result<Option<u32>, ConfigurationError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let number = text.parse::<i32>().map_err(|_| {
            self.error(key, format!("`{key}` must be a whole number, not `{text}`"))
        })?;
        match u32::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) if number == -1 => Ok(None),
            Err(_) => Err(self.error(key, format!("`{key}` must not be below 0, as {number} is"))),
        }
    }

    /// A number moved into a range, with a warning if it had to be.
    pub(super) fn clamp(&mut self, key: &str, value: u64, (low, high): (u32, u32)) -> u32 {
        let clamped = u32::try_from(value).unwrap_or(u32::MAX).clamp(low, high);
        if u64::from(clamped) != value {
            self.warn(
                key,
                &format!("`{key}` is taken for {clamped}, not {value}: from {low} to {high}"),
            );
        }
        clamped
    }

    /// `true` or `false`; false if not given.
    pub(super) fn boolean(&self, key: &str) -> Result<bool, ConfigurationError> {
        match self.text(key).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(self.error(key, must_be_boolean(key, other))),
        }
    }

    /// A path as it is given.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// The keys `<prefix>.N`, by number. A number that is none was warned about as unknown.
    pub(super) fn numbered(&self, prefix: &str) -> Vec<(String, &str)> {
        self.asked.borrow_mut().insert(format!("{prefix}.N"));
        let begin = format!("{prefix}.");
        let fits = |key: &str| {
            key.strip_prefix(&begin).is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        let mut found = self.values.iter().filter(|(key, _)| fits(key)).collect::<Vec<_>>();
        found.sort_by_key(|(_, (line, _))| *line);
        found.into_iter().map(|(key, (_, value))| (key.clone(), value.as_str())).collect()
    }

    /// The first key that begins with none of these.
    pub(super) fn first_but(&self, begins: &[&str]) -> Option<(usize, &str)> {
        let other = |key: &&String| !begins.iter().any(|begin| key.starts_with(begin));
        let others = self.values.keys().filter(other);
        others.map(|key| (self.values[key].0, key.as_str())).min()
    }

    /// Keys that were asked for.
    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

/// Nothing, a warning, or why the server does not start.
fn judge(row: &Row, key: &str, value: &str) -> Result<Option<String>, String> {
    let is_in = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(value));
    if BOOLEANS.contains(&key) && !is_in(&["true", "false"]) {
        return Err(must_be_boolean(key, value));
    }
    if matches!(row.class, Class::Honoured | Class::Mapped) || is_in(row.fine) {
        return Ok(None);
    }
    if row.class == Class::Warned || is_in(row.warned) {
        return Ok(Some(format!("`{key}` has no effect: {}", row.says)));
    }
    Err(format!("`{key}={value}` cannot be done: {}", row.says))
}

fn must_be_boolean(key: &str, value: &str) -> String {
    format!("`{key}` must be true or false, not `{value}`")
}

fn unknown(key: &str) -> Result<Option<String>, String> {
    let suggestion = meant(key).map(|meant| format!("; did you mean `{meant}`?"));
    let suggestion = suggestion.unwrap_or_default();
    // ZooKeeper takes what it does not know for a property of its Java code: files in use hold such
    // keys. Those with our name cannot be meant for anybody else.
    if key.starts_with("quorate.") {
        return Err(format!("unknown key `{key}`{suggestion}"));
    }
    Ok(Some(format!("unknown key `{key}` has no effect{suggestion}")))
}

/// The key that is probably meant.
fn meant(key: &str) -> Option<&'static str> {
    let known = rows().flat_map(|row| row.keys.iter().copied()).collect::<Vec<_>>();
    let bare = key.strip_prefix("zookeeper.").unwrap_or(key);
    let same = known.iter().find(|known| known.eq_ignore_ascii_case(bare));
    same.copied().or_else(|| nearest(bare, &known))
}
