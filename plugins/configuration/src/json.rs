//! Reads JSON text (RFC 8259) as far as its form matters here.
//!
//! Comes in: text. Goes out: a [`Json`], or where the text stops being JSON. Invariant: an object
//! has no member twice. Must never: recurse deeper than [`DEPTH_MAX`] (a recipe's stack is small), or
//! read a text twice.

const DEPTH_MAX: u32 = 32;
/// Values in one text, those within others included: reading so many is within half of a run's fuel.
const VALUES_MAX: u32 = 500;

/// A JSON value, its scalars without their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Boolean,
    Integer,
    /// With a fraction or an exponent.
    Fraction,
    Text,
    Array,
    /// In order of name.
    Object(Vec<(String, Json)>),
}

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub(crate) at: usize,
    pub(crate) wrong: &'static str,
}

/// Reads one value and nothing after it.
pub(crate) fn read(text: &str) -> Result<Json, JsonError> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0, values: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at < text.len() { reader.wrong("something follows the value") } else { Ok(value) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many were begun.
    values: u32,
}

impl Reader<'_> {
    fn wrong<T>(&self, wrong: &'static str) -> Result<T, JsonError> {
        Err(JsonError { at: self.at, wrong })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips space, and a byte if it is the next one.
    fn found(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: u32) -> Result<Json, JsonError> {
        if depth > DEPTH_MAX {
            return self.wrong("nested too deep");
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return self.wrong("more than 500 values");
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.text().map(|_| Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", Json::Boolean),
            Some(b'f') => self.word(b"false", Json::Boolean),
            Some(b'n') => self.word(b"null", Json::Null),
            _ => self.wrong("a value is missing"),
        }
    }

    fn word(&mut self, word: &[u8], value: Json) -> Result<Json, JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.wrong("not a word of JSON");
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: u32) -> Result<Json, JsonError> {
        self.at += 1;
        let mut members = Vec::new();
        if self.found(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return self.wrong("a member's name is missing");
            }
            let name = self.text()?;
            if !self.found(b':') {
                return self.wrong("a colon is missing");
            }
            members.push((name, self.value(depth + 1)?));
            if self.found(b'}') {
                return self.sorted(members);
            }
            if !self.found(b',') {
                return self.wrong("a comma or the end of the object is missing");
            }
        }
    }

    fn sorted(&self, mut members: Vec<(String, Json)>) -> Result<Json, JsonError> {
        members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return self.wrong("a member is there twice");
        }
        Ok(Json::Object(members))
    }

    fn array(&mut self, depth: u32) -> Result<Json, JsonError> {
        self.at += 1;
        if self.found(b']') {
            return Ok(Json::Array);
        }
        loop {
            self.value(depth + 1)?;
            if self.found(b']') {
                return Ok(Json::Array);
            }
            if !self.found(b',') {
                return self.wrong("a comma or the end of the array is missing");
            }
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from { self.wrong("a digit is missing") } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        let mut kind = Json::Integer;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
            kind = Json::Fraction;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
            kind = Json::Fraction;
        }
        Ok(kind)
    }

    fn text(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escaped(&mut text)?,
                Some(byte) if byte >= 0x20 => {
                    let rest = &self.bytes[self.at..];
                    let is_end = |byte: &u8| *byte < 0x20 || matches!(*byte, b'"' | b'\\');
                    let plain = rest.iter().position(is_end).unwrap_or(rest.len());
                    text.extend_from_slice(&rest[..plain]);
                    self.at += plain;
                }
                Some(_) => return self.wrong("a control character within a text"),
                None => return self.wrong("the end of a text is missing"),
            }
        }
        self.at += 1;
        // Whole characters were copied from a `&str` or written as such.
        String::from_utf8(text).or_else(|_| self.wrong("not UTF-8"))
    }

    fn escaped(&mut self, text: &mut Vec<u8>) -> Result<(), JsonError> {
        self.at += 1;
        let byte = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.escaped_unit(text),
            _ => return self.wrong("not an escape of JSON"),
        };
        self.at += 1;
        text.push(byte);
        Ok(())
    }

    /// `\u0041`, or a pair of surrogates.
    fn escaped_unit(&mut self, text: &mut Vec<u8>) -> Result<(), JsonError> {
        let first = self.unit()?;
        let mut units = vec![first];
        if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 1;
            units.push(self.unit()?);
        }
        match char::decode_utf16(units).collect::<Result<String, _>>() {
            Ok(letters) => text.extend(letters.bytes()),
            Err(_) => return self.wrong("half a pair of surrogates"),
        }
        Ok(())
    }

    fn unit(&mut self) -> Result<u16, JsonError> {
        let digits = self.bytes.get(self.at + 1..self.at + 5);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
            Some(unit) => {
                self.at += 5;
                Ok(unit)
            }
            None => self.wrong("four hexadecimal digits are missing"),
        }
    }
}
