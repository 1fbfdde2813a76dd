//! Java's Properties syntax, in which a `zoo.cfg` is written.
//!
//! Comes in: bytes. Goes out: keys with their values, trimmed, in the order of the text, each with its
//! line. Invariant: what ZooKeeper reads from the same bytes is read here: `=`, `:` or a blank ends a
//! key; `#` and `!` begin comments; a backslash escapes and continues lines. Must never know a key.

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    /// The line that it begins on, from 1.
    pub(super) line: usize,
    /// Without escapes, trimmed.
    pub(super) key: String,
    /// Without escapes, trimmed.
    pub(super) value: String,
}

/// An escape that is none, with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadEscape {
    /// The line that holds the property, from 1.
    pub(super) line: usize,
    /// The escape.
    pub(super) escape: String,
}

/// The text of a file: UTF-8, or else Latin-1, which Java takes every such file for.
pub(super) fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Every property of the text, also those that a later one replaces.
///
/// # Errors
/// `\u` without four hexadecimal digits, on which ZooKeeper does not start either.
pub(super) fn parse(text: &str) -> Result<Vec<Property>, BadEscape> {
    let mut properties = Vec::new();
    let mut lines = natural_lines(text).enumerate();
    while let Some((number, natural)) = lines.next() {
        let begin = natural.trim_start_matches(is_blank);
        if begin.is_empty() || begin.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = begin.to_owned();
        while is_continued(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let (key, value) = split(&logical);
        let plain = |escaped: &str| {
            let escape = unescape(escaped).map(|text| trimmed(&text).to_owned());
            escape.map_err(|escape| BadEscape { line: number + 1, escape })
        };
        properties.push(Property { line: number + 1, key: plain(key)?, value: plain(value)? });
    }
    Ok(properties)
}

/// What Java takes for white space here.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{c}')
}

/// As `String.trim` of Java: everything up to the blank.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|character| character <= ' ')
}

/// Lines that end with `\n`, `\r` or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let now = rest?;
        let Some(at) = now.find(['\n', '\r']) else {
            rest = None;
            return Some(now);
        };
        let ended = now.get(at..).unwrap_or_default();
        rest = ended.strip_prefix("\r\n").or_else(|| ended.get(1..));
        now.get(..at)
    })
}

/// Whether the line ends with a backslash that no other one escapes.
fn is_continued(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    backslashes % 2 == 1
}

/// The key and the value, both still with escapes.
fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let mut end = line.len();
    for (at, character) in line.char_indices() {
        if !is_escaped && (is_blank(character) || matches!(character, '=' | ':')) {
            end = at;
            break;
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Result<String, String> {
    // In UTF-16, since two escapes may be the halves of one character.
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let plain = match character {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits = rest.by_ref().take(4).collect::<String>();
                    units.push(unit(&digits).ok_or_else(|| format!("\\u{digits}"))?);
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

fn unit(digits: &str) -> Option<u16> {
    let are_digits = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if are_digits { u16::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let read = parse(text).unwrap();
        read.into_iter().map(|property| (property.key, property.value)).collect()
    }

    #[track_caller]
    fn one(text: &str, key: &str, value: &str) {
        assert_eq!(pairs(text), [(key.to_owned(), value.to_owned())], "{text:?}");
    }

    #[test]
    fn every_separator_ends_a_key_and_blanks_around_it_do_not_count() {
        let blanks = ["", " ", "\t", " \u{c} "];
        for before in blanks {
            for after in blanks {
                for sign in ["=", ":"] {
                    one(&format!("{before}key{before}{sign}{after}a b{after}"), "key", "a b");
                }
            }
            one(&format!("{before}key value"), "key", "value");
            one(&format!("{before}key"), "key", "");
        }
        one("key==value", "key", "=value");
        one("key = : value", "key", ": value");
    }

    #[test]
    fn comments_and_blank_lines_are_none_and_comments_do_not_continue() {
        assert_eq!(pairs("# a=1\n!b=2\n\n  \t\n  # c=3 \\\nd=4\r\r\ne=5"), pairs("d=4\ne=5"));
        one("a=1 # no comment", "a", "1 # no comment");
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn a_backslash_at_the_end_continues_a_line() {
        one("key=a\\\n   b\\\r\n\tc", "key", "abc");
        one("key=a\\\\", "key", "a\\");
        one("key=a\\", "key", "a");
        one("key=a\\\n# b", "key", "a# b");
        assert_eq!(pairs("key=a\\\n\nb=1"), pairs("key=a\nb=1"));
    }

    #[test]
    fn escapes_are_those_of_java() {
        one(r"a\=b\:c\ d=\u0041\tx\q\\", "a=b:c d", "A\txq\\");
        one(r"key=\uD83D\uDE00", "key", "\u{1f600}");
        one(r"key=\  x", "key", "x");
        for wrong in [r"\u12", r"\uXYZ1", r"\u+123"] {
            let error = parse(&format!("a=1\nkey={wrong}")).unwrap_err();
            assert_eq!((error.line, error.escape.as_str()), (2, wrong));
        }
    }

    #[test]
    fn a_property_has_the_line_that_it_begins_on() {
        let read = parse("\n# c\r\na=1\\\n2\nb=3").unwrap();
        assert_eq!(read.iter().map(|property| property.line).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn what_is_not_utf_8_is_latin_1() {
        assert_eq!(decode(b"# caf\xe9\na=1"), "# caf\u{e9}\na=1");
        assert_eq!(decode("# caf\u{e9}".as_bytes()), "# caf\u{e9}");
    }

    #[test]
    fn no_text_ends_the_process_and_escaping_it_brings_it_back() {
        // A walk over all short texts of the characters that mean something.
        let letters = ['a', ' ', '=', ':', '#', '\\', '\n', '\r', 'u', '\u{1f600}'];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            let longer = |text: &String| letters.map(|letter| format!("{text}{letter}"));
            texts = texts.iter().flat_map(longer).collect();
        }
        for text in &texts {
            let _ = parse(text);
            let escaped = text.chars().map(|character| match character {
                '\n' => String::from("\\n"),
                '\r' => String::from("\\r"),
                'a' | 'u' | '\u{1f600}' => character.to_string(),
                other => format!("\\{other}"),
            });
            let escaped = escaped.collect::<String>();
            one(&format!("{escaped}={escaped}"), trimmed(text), trimmed(text));
        }
    }
}
