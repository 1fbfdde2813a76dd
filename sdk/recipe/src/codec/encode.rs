//! Values to CBOR.
//!
//! Comes in: serde's calls. Goes out: bytes, the shortest heads first.

use super::{DEPTH_MAX, EncodeError, initial, major};
use serde::ser::{self, Serialize};

pub(crate) struct Encoder {
    bytes: Vec<u8>,
    depth: u32,
}

type Encoded = Result<(), EncodeError>;

impl Encoder {
    pub(crate) fn new() -> Encoder {
        Encoder { bytes: Vec::new(), depth: 0 }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes the head of an item: its kind, and its argument in as few bytes as will do.
    fn head(&mut self, major: u8, argument: u64) {
        let kind = major << 5;
        let bytes = argument.to_be_bytes();
        match argument {
            0..=23 => self.bytes.push(kind | bytes[7]),
            24..=0xff => self.bytes.extend_from_slice(&[kind | 24, bytes[7]]),
            0x100..=0xffff => {
                self.bytes.push(kind | 25);
                self.bytes.extend_from_slice(&bytes[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.bytes.push(kind | 26);
                self.bytes.extend_from_slice(&bytes[4..]);
            }
            _ => {
                self.bytes.push(kind | 27);
                self.bytes.extend_from_slice(&bytes);
            }
        }
    }

    fn signed(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(positive) => self.head(major::POSITIVE, positive),
            Err(_) => self.head(major::NEGATIVE, value.unsigned_abs() - 1),
        }
    }

    fn text(&mut self, text: &str) {
        self.head(major::TEXT, text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn enter(&mut self) -> Encoded {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(EncodeError(format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    /// Opens an array or a map; without a length it is ended by a mark.
    fn open(&mut self, major: u8, length: Option<usize>) -> Result<Open<'_>, EncodeError> {
        self.enter()?;
        match length {
            Some(length) => self.head(major, length as u64),
            None => self.bytes.push(major << 5 | 31),
        }
        Ok(Open { is_counted: length.is_some(), levels: 1, encoder: self })
    }

    /// Opens the map of a variant's name to what it holds.
    fn open_variant(
        &mut self,
        variant: &str,
        major: u8,
        length: usize,
    ) -> Result<Open<'_>, EncodeError> {
        self.enter()?;
        self.head(major::MAP, 1);
        self.text(variant);
        let mut open = self.open(major, Some(length))?;
        open.levels = 2;
        Ok(open)
    }
}

/// An array or map that is being written.
pub(crate) struct Open<'a> {
    encoder: &'a mut Encoder,
    is_counted: bool,
    /// How many levels of nesting end with it.
    levels: u32,
}

impl Open<'_> {
    fn close(self) -> Encoded {
        if !self.is_counted {
            self.encoder.bytes.push(initial::BREAK);
        }
        self.encoder.depth -= self.levels;
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Encoded {
        self.encoder.text(name);
        value.serialize(&mut *self.encoder)
    }
}

macro_rules! integers {
    ($($method:ident: $kind:ty => $write:ident,)*) => {
        $(fn $method(self, value: $kind) -> Encoded {
            integers!($write, self, value);
            Ok(())
        })*
    };
    (signed, $self:ident, $value:ident) => { $self.signed(i64::from($value)) };
    (unsigned, $self:ident, $value:ident) => { $self.head(major::POSITIVE, u64::from($value)) };
}

impl<'a> ser::Serializer for &'a mut Encoder {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Open<'a>;
    type SerializeTuple = Open<'a>;
    type SerializeTupleStruct = Open<'a>;
    type SerializeTupleVariant = Open<'a>;
    type SerializeMap = Open<'a>;
    type SerializeStruct = Open<'a>;
    type SerializeStructVariant = Open<'a>;

    integers! {
        serialize_i8: i8 => signed,
        serialize_i16: i16 => signed,
        serialize_i32: i32 => signed,
        serialize_i64: i64 => signed,
        serialize_u8: u8 => unsigned,
        serialize_u16: u16 => unsigned,
        serialize_u32: u32 => unsigned,
        serialize_u64: u64 => unsigned,
    }

    fn serialize_i128(self, value: i128) -> Encoded {
        let major = if value < 0 { major::NEGATIVE } else { major::POSITIVE };
        let argument = if value < 0 { -1 - value } else { value };
        let argument =
            u64::try_from(argument).map_err(|_| EncodeError("an integer beyond 64 bits".into()))?;
        self.head(major, argument);
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Encoded {
        let value =
            u64::try_from(value).map_err(|_| EncodeError("an integer beyond 64 bits".into()))?;
        self.head(major::POSITIVE, value);
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Encoded {
        self.bytes.push(if value { initial::TRUE } else { initial::FALSE });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Encoded {
        self.bytes.push(initial::FLOAT_32);
        self.bytes.extend_from_slice(&value.to_bits().to_be_bytes());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Encoded {
        self.bytes.push(initial::FLOAT_64);
        self.bytes.extend_from_slice(&value.to_bits().to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Encoded {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Encoded {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Encoded {
        self.head(major::BYTES, value.len() as u64);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Encoded {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Encoded {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Encoded {
        self.bytes.push(initial::NULL);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Encoded {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Encoded {
        self.text(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Encoded {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Encoded {
        let mut open = self.open(major::MAP, Some(1))?;
        open.field(variant, value)?;
        open.close()
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Open<'a>, EncodeError> {
        self.open(major::ARRAY, length)
    }

    fn serialize_tuple(self, length: usize) -> Result<Open<'a>, EncodeError> {
        self.open(major::ARRAY, Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        length: usize,
    ) -> Result<Open<'a>, EncodeError> {
        self.open(major::ARRAY, Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Open<'a>, EncodeError> {
        self.open_variant(variant, major::ARRAY, length)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Open<'a>, EncodeError> {
        self.open(major::MAP, length)
    }

    fn serialize_struct(self, _name: &'static str, length: usize) -> Result<Open<'a>, EncodeError> {
        self.open(major::MAP, Some(length))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Open<'a>, EncodeError> {
        self.open_variant(variant, major::MAP, length)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! elements {
    ($($kind:ident::$method:ident,)*) => {
        $(impl ser::$kind for Open<'_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Encoded {
                value.serialize(&mut *self.encoder)
            }

            fn end(self) -> Encoded {
                self.close()
            }
        })*
    };
}

elements! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

macro_rules! named_fields {
    ($($kind:ident,)*) => {
        $(impl ser::$kind for Open<'_> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Encoded {
                self.field(name, value)
            }

            fn end(self) -> Encoded {
                self.close()
            }
        })*
    };
}

named_fields! {
    SerializeStruct,
    SerializeStructVariant,
}

impl ser::SerializeMap for Open<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Encoded {
        key.serialize(&mut *self.encoder)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Encoded {
        value.serialize(&mut *self.encoder)
    }

    fn end(self) -> Encoded {
        self.close()
    }
}
