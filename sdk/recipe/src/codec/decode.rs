//! CBOR to values.
//!
//! Comes in: bytes from anywhere. Goes out: serde's calls, or an error.
//! Invariant: `position <= bytes.len()`, and `depth_left` counts the arrays and maps still open. The
//! type asked for decides what is read, so that a component holds only the code its types need.

use super::{DEPTH_MAX, DecodeError, initial, major};
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Error, Expected, Unexpected, Visitor};

pub(crate) struct Decoder<'de> {
    bytes: &'de [u8],
    position: usize,
    depth_left: u32,
}

/// The head of an item: its kind, the low five bits of its first byte, and its argument.
#[derive(Clone, Copy)]
struct Head {
    major: u8,
    low: u8,
    argument: u64,
}

/// `low` of an item that is ended by a mark, not by a count.
const UNCOUNTED: u8 = 31;

impl Head {
    fn initial(self) -> u8 {
        self.major << 5 | self.low
    }

    fn is_null(self) -> bool {
        self.initial() == initial::NULL
    }

    fn is_undefined(self) -> bool {
        self.initial() == initial::NULL + 1
    }

    fn is_uncounted(self) -> bool {
        self.low == UNCOUNTED
    }

    /// What to call it in an error.
    fn found(self) -> Unexpected<'static> {
        match self.major {
            major::POSITIVE => Unexpected::Unsigned(self.argument),
            major::NEGATIVE => Unexpected::Other("negative integer"),
            major::BYTES => Unexpected::Other("byte string"),
            major::TEXT => Unexpected::Other("text"),
            major::ARRAY => Unexpected::Seq,
            major::MAP => Unexpected::Map,
            _ => match self.initial() {
                initial::FALSE => Unexpected::Bool(false),
                initial::TRUE => Unexpected::Bool(true),
                initial::NULL => Unexpected::Other("null"),
                _ => Unexpected::Other("simple value"),
            },
        }
    }
}

fn ended() -> DecodeError {
    DecodeError("the bytes end too early".into())
}

fn too_deep() -> DecodeError {
    DecodeError(format!("nested deeper than {DEPTH_MAX}"))
}

fn malformed(head: Head) -> DecodeError {
    DecodeError(format!("byte {:#04x} begins no CBOR item", head.initial()))
}

impl<'de> Decoder<'de> {
    pub(crate) fn new(bytes: &'de [u8]) -> Decoder<'de> {
        Decoder { bytes, position: 0, depth_left: DEPTH_MAX }
    }

    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.position == self.bytes.len() {
            return Ok(());
        }
        Err(DecodeError("bytes are left over behind the value".into()))
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    fn take(&mut self, count: u64) -> Result<&'de [u8], DecodeError> {
        let count = usize::try_from(count).map_err(|_| ended())?;
        let end = self.position.checked_add(count).ok_or_else(ended)?;
        let taken = self.bytes.get(self.position..end).ok_or_else(ended)?;
        self.position = end;
        Ok(taken)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    /// Reads the head of the next item. Tags say nothing to us: what they stand before counts.
    fn head(&mut self) -> Result<Head, DecodeError> {
        loop {
            let head = self.head_or_tag()?;
            if head.major != major::TAG {
                return Ok(head);
            }
        }
    }

    fn head_or_tag(&mut self) -> Result<Head, DecodeError> {
        let &[first] = self.take(1)? else { return Err(ended()) };
        let (major, low) = (first >> 5, first & 31);
        let length = match low {
            0..=23 => 0,
            24..=27 => 1u64 << (low - 24),
            UNCOUNTED if (major::BYTES..=major::MAP).contains(&major) => 0,
            _ => return Err(malformed(Head { major, low, argument: 0 })),
        };
        let argument = match length {
            0 => u64::from(low),
            length => self.take(length)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        Ok(Head { major, low, argument })
    }

    fn mismatch(head: Head, expected: &dyn Expected) -> DecodeError {
        DecodeError::invalid_type(head.found(), expected)
    }

    /// The parts of a byte string or text without a count, joined.
    fn join_parts(&mut self, major: u8) -> Result<Vec<u8>, DecodeError> {
        let mut joined = Vec::new();
        while !self.take_break() {
            let part = self.head_or_tag()?;
            if part.major != major || part.is_uncounted() {
                return Err(malformed(part));
            }
            joined.extend_from_slice(self.take(part.argument)?);
        }
        Ok(joined)
    }

    /// Takes the mark that ends an item without a count, if it is next.
    fn take_break(&mut self) -> bool {
        let is_next = self.peek() == Some(initial::BREAK);
        self.position += usize::from(is_next);
        is_next
    }

    fn visit_text<V: Visitor<'de>>(
        &mut self,
        head: Head,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if head.is_uncounted() {
            let joined =
                String::from_utf8(self.join_parts(major::TEXT)?).map_err(DecodeError::custom)?;
            return visitor.visit_string(joined);
        }
        visitor.visit_borrowed_str(self.counted_text(head)?)
    }

    fn counted_text(&mut self, head: Head) -> Result<&'de str, DecodeError> {
        core::str::from_utf8(self.take(head.argument)?).map_err(DecodeError::custom)
    }

    fn visit_bytes<V: Visitor<'de>>(
        &mut self,
        head: Head,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if head.is_uncounted() {
            return visitor.visit_byte_buf(self.join_parts(major::BYTES)?);
        }
        visitor.visit_borrowed_bytes(self.take(head.argument)?)
    }

    fn visit_integer<V: Visitor<'de>>(head: Head, visitor: V) -> Result<V::Value, DecodeError> {
        if head.major == major::POSITIVE {
            return visitor.visit_u64(head.argument);
        }
        match i64::try_from(head.argument) {
            Ok(argument) => visitor.visit_i64(-1 - argument),
            Err(_) => visitor.visit_i128(-1 - i128::from(head.argument)),
        }
    }

    /// Whether the head is that of a float, and its value.
    fn float_of(head: Head) -> Option<f64> {
        match (head.major, head.low) {
            (major::SIMPLE, 25) => Some(float_of_16_bits(head.argument)),
            (major::SIMPLE, 26) => {
                let bits = u32::try_from(head.argument).unwrap_or_default();
                Some(f64::from(f32::from_bits(bits)))
            }
            (major::SIMPLE, 27) => Some(f64::from_bits(head.argument)),
            _ => None,
        }
    }

    fn visit_items<V: Visitor<'de>>(
        &mut self,
        head: Head,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or_else(too_deep)?;
        let left = if head.is_uncounted() { None } else { Some(head.argument) };
        let mut items = Items { decoder: self, left, key_at: 0 };
        let value = if head.major == major::ARRAY {
            visitor.visit_seq(&mut items)?
        } else {
            visitor.visit_map(&mut items)?
        };
        items.end()?;
        self.depth_left += 1;
        Ok(value)
    }

    /// The error of a value, led by the key before it, so that people see which field is meant.
    #[cold]
    fn under_key(&mut self, key_at: usize, error: DecodeError) -> DecodeError {
        let failed_at = core::mem::replace(&mut self.position, key_at);
        let key = self.head().and_then(|head| self.counted_text(head));
        self.position = failed_at;
        match key {
            Ok(key) => DecodeError(format!("{key}: {}", error.0)),
            Err(_) => error,
        }
    }

    /// Passes over an item. Depth is counted, so recursion is bounded.
    fn skip(&mut self) -> Result<(), DecodeError> {
        let head = self.head()?;
        match head.major {
            major::BYTES | major::TEXT if head.is_uncounted() => {
                self.join_parts(head.major).map(drop)
            }
            major::BYTES | major::TEXT => self.take(head.argument).map(drop),
            major::ARRAY | major::MAP => self.skip_items(head),
            _ => Ok(()),
        }
    }

    fn skip_items(&mut self, head: Head) -> Result<(), DecodeError> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or_else(too_deep)?;
        let items_per_entry = u64::from(head.major == major::MAP) + 1;
        let left = if head.is_uncounted() { None } else { Some(head.argument) };
        let mut items = Items { decoder: self, left, key_at: 0 };
        while items.next()? {
            for _ in 0..items_per_entry {
                items.decoder.skip()?;
            }
        }
        self.depth_left += 1;
        Ok(())
    }
}

/// IEEE 754 half precision, RFC 8949 appendix D.
fn float_of_16_bits(bits: u64) -> f64 {
    let exponent = (bits >> 10) & 0x1f;
    let mantissa = (bits & 0x3ff) as f64;
    let magnitude = match exponent {
        0 => mantissa / f64::from(1 << 24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        // 2^(exponent - 15), written as bits of a double, whose bias is 1023.
        _ => (1.0 + mantissa / 1024.0) * f64::from_bits((exponent + 1023 - 15) << 52),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let head = self.head()?;
            match head.major {
                major::POSITIVE | major::NEGATIVE => Decoder::visit_integer(head, visitor),
                _ => Err(Decoder::mismatch(head, &visitor)),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = DecodeError;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let head = self.head()?;
        match head.major {
            major::POSITIVE | major::NEGATIVE => Decoder::visit_integer(head, visitor),
            major::BYTES => self.visit_bytes(head, visitor),
            major::TEXT => self.visit_text(head, visitor),
            major::ARRAY | major::MAP => self.visit_items(head, visitor),
            _ => match (Decoder::float_of(head), head.initial()) {
                (Some(value), _) => visitor.visit_f64(value),
                (None, initial::FALSE) => visitor.visit_bool(false),
                (None, initial::TRUE) => visitor.visit_bool(true),
                _ if head.is_null() || head.is_undefined() => visitor.visit_unit(),
                _ => Err(Decoder::mismatch(head, &visitor)),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let head = self.head()?;
        match head.initial() {
            initial::FALSE => visitor.visit_bool(false),
            initial::TRUE => visitor.visit_bool(true),
            _ => Err(Decoder::mismatch(head, &visitor)),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let head = self.head()?;
        match (Decoder::float_of(head), head.major) {
            (Some(value), _) => visitor.visit_f64(value),
            // Whoever writes JSON writes 1 for 1.0.
            (None, major::POSITIVE | major::NEGATIVE) => Decoder::visit_integer(head, visitor),
            _ => Err(Decoder::mismatch(head, &visitor)),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let head = self.head()?;
        match head.major {
            major::TEXT => self.visit_text(head, visitor),
            _ => Err(Decoder::mismatch(head, &visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let head = self.head()?;
        match head.major {
            major::BYTES => self.visit_bytes(head, visitor),
            // JSON has no bytes: a list of numbers stands for them.
            major::ARRAY => self.visit_items(head, visitor),
            _ => Err(Decoder::mismatch(head, &visitor)),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.peek() == Some(initial::NULL) {
            self.position += 1;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let head = self.head()?;
        if head.is_null() || head.is_undefined() {
            return visitor.visit_unit();
        }
        Err(Decoder::mismatch(head, &visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let head = self.head()?;
        match head.major {
            major::ARRAY => self.visit_items(head, visitor),
            _ => Err(Decoder::mismatch(head, &visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let head = self.head()?;
        match head.major {
            major::MAP => self.visit_items(head, visitor),
            _ => Err(Decoder::mismatch(head, &visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let head = self.head()?;
        match (head.major, head.argument) {
            (major::TEXT, _) if !head.is_uncounted() => {
                let name = self.counted_text(head)?;
                visitor.visit_enum(BorrowedStrDeserializer::new(name))
            }
            (major::MAP, 1) => {
                self.depth_left = self.depth_left.checked_sub(1).ok_or_else(too_deep)?;
                let value = visitor.visit_enum(Variant { decoder: &mut *self })?;
                self.depth_left += 1;
                Ok(value)
            }
            _ => Err(Decoder::mismatch(head, &visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// What is left of an open array or map; `None`: until the mark.
struct Items<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: Option<u64>,
    /// Where the newest key of a map begins.
    key_at: usize,
}

impl Items<'_, '_> {
    /// Whether there is one more, which is thereby counted.
    fn next(&mut self) -> Result<bool, DecodeError> {
        match &mut self.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.decoder.take_break() => {
                self.left = Some(0);
                Ok(false)
            }
            None => self.decoder.peek().map(|_| true).ok_or_else(ended),
        }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        if self.next()? {
            return Err(DecodeError("more elements than expected".into()));
        }
        Ok(())
    }

    /// Never more than the bytes left could hold, whatever the head claims.
    fn hint(&self) -> Option<usize> {
        let left = usize::try_from(self.left?).unwrap_or(usize::MAX);
        Some(left.min(self.decoder.left()))
    }
}

impl<'de> de::SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        if !self.next()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::MapAccess<'de> for &mut Items<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        if !self.next()? {
            return Ok(None);
        }
        self.key_at = self.decoder.position;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        let key_at = self.key_at;
        seed.deserialize(&mut *self.decoder).map_err(|error| self.decoder.under_key(key_at, error))
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// The map of a variant's name to what it holds.
struct Variant<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        let name = seed.deserialize(&mut *self.decoder)?;
        Ok((name, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        de::Deserialize::deserialize(self.decoder)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(self.decoder)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_seq(self.decoder, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_map(self.decoder, visitor)
    }
}
