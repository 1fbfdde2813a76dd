//! CBOR as recipes speak it: one meaning on both ends, little code in the component.
//!
//! Comes in: values with serde implementations, bytes. Goes out: bytes, values.
//! Invariants: what a client writes with `serde_cbor` is read here as the same value and the other way
//! round (`tests/codec.rs` proves it on shared vectors): unit is null, an option is the value or null,
//! a newtype is what it holds, a struct is a map by field name, an enum variant is its name or a map
//! of its name to what it holds, a `char` is text, integers have 64 bits and a sign of their own.
//! What can be encoded can be decoded. Nothing from outside makes this panic or recurse deeper than
//! [`DEPTH_MAX`]: a guest's stack is 64 KiB.
//! Must never: guess. Bytes left over, text that is not UTF-8, numbers that do not fit are errors.
//!
//! Written by hand because what there is differs: `serde_cbor` costs a component 10 KB for each type
//! decoded, and `minicbor-serde` means other things by unit, `char`, short floats and arrays for bytes.

mod decode;
mod encode;

use crate::Failure;
use std::fmt;

/// How deep values may nest, on both ends of a call.
pub const DEPTH_MAX: u32 = 32;

/// The value has no CBOR form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError(String);

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EncodeError {}

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        EncodeError(message.to_string())
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        Failure::new("cannot-encode", error.0)
    }
}

/// The bytes are not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError(message.to_string())
    }
}

/// Encodes a value.
///
/// # Errors
/// It nests deeper than [`DEPTH_MAX`], holds an integer beyond 64 bits, or its own `Serialize` fails.
pub fn encode<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = encode::Encoder::new();
    value.serialize(&mut encoder)?;
    Ok(encoder.into_bytes())
}

/// Decodes a value; the bytes hold it and nothing else.
///
/// # Errors
/// They do not.
pub fn decode<'de, T: serde::Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    let mut decoder = decode::Decoder::new(bytes);
    let value = T::deserialize(&mut decoder)?;
    decoder.finish()?;
    Ok(value)
}

/// The kinds of CBOR items, the upper three bits of their first byte (RFC 8949, 3.1).
pub(crate) mod major {
    pub(crate) const POSITIVE: u8 = 0;
    pub(crate) const NEGATIVE: u8 = 1;
    pub(crate) const BYTES: u8 = 2;
    pub(crate) const TEXT: u8 = 3;
    pub(crate) const ARRAY: u8 = 4;
    pub(crate) const MAP: u8 = 5;
    pub(crate) const TAG: u8 = 6;
    pub(crate) const SIMPLE: u8 = 7;
}

/// First bytes of items without an argument.
pub(crate) mod initial {
    pub(crate) const FALSE: u8 = 0xf4;
    pub(crate) const TRUE: u8 = 0xf5;
    pub(crate) const NULL: u8 = 0xf6;
    pub(crate) const FLOAT_32: u8 = 0xfa;
    pub(crate) const FLOAT_64: u8 = 0xfb;
    pub(crate) const BREAK: u8 = 0xff;
}
