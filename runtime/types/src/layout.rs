//! Fixed little-endian layouts: what the log, snapshots and peers speak.
//!
//! Comes in: typed values, or bytes from a disk or a peer. Goes out: bytes, or values.
//! Invariant: a reader never reads past its bytes, never allocates more than is there, and names
//! the field it could not read. Must never panic on any input.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why bytes are not the layout expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// The bytes end inside this field.
    Short {
        /// Name of the field.
        field: &'static str,
    },
    /// The field holds a value that it cannot have.
    Invalid {
        /// Name of the field.
        field: &'static str,
    },
    /// Bytes follow the last field.
    Trailing {
        /// How many.
        bytes: usize,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayoutError::Short { field } => write!(f, "the bytes end inside `{field}`"),
            LayoutError::Invalid { field } => write!(f, "`{field}` holds a value it cannot have"),
            LayoutError::Trailing { bytes } => write!(f, "{bytes} bytes follow the last field"),
        }
    }
}

impl core::error::Error for LayoutError {}

/// Appends fields to a byte vector.
#[derive(Clone, Debug, Default)]
pub struct LayoutWriter {
    bytes: Vec<u8>,
}

impl LayoutWriter {
    /// An empty writer.
    #[must_use]
    pub fn new() -> LayoutWriter {
        LayoutWriter::default()
    }

    /// An empty writer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> LayoutWriter {
        LayoutWriter { bytes: Vec::with_capacity(capacity) }
    }

    /// The bytes written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes, two's complement.
    pub fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Bytes without a length: the reader must know it.
    pub fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// A length of four bytes, then the bytes.
    ///
    /// # Panics
    /// When `value` is longer than 4 GiB; limits keep it far below.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).expect("limits keep fields below 4 GiB"));
        self.raw(value);
    }

    /// A length of four bytes, then UTF-8.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Presence as one byte, then the value.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut LayoutWriter, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// A count of four bytes, then each element.
    ///
    /// # Panics
    /// When there are more than 2^32 - 1 elements; limits keep it far below.
    pub fn list<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut LayoutWriter, T),
    ) {
        self.u32(u32::try_from(values.len()).expect("limits keep lists below 2^32"));
        for value in values {
            write(self, value);
        }
    }
}

/// Takes fields from the front of a byte slice.
#[derive(Clone, Debug)]
pub struct LayoutReader<'a> {
    rest: &'a [u8],
}

impl<'a> LayoutReader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> LayoutReader<'a> {
        LayoutReader { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(self) -> Result<(), LayoutError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(LayoutError::Trailing { bytes }),
        }
    }

    /// `count` bytes without a length.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn raw(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], LayoutError> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or(LayoutError::Short { field })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], LayoutError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(LayoutError::Short { field })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// 32 bytes: a digest.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn digest(&mut self, field: &'static str) -> Result<[u8; 32], LayoutError> {
        self.array(field)
    }

    /// One byte.
    ///
    /// # Errors
    /// When none is left.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, LayoutError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    /// One byte that is 0 or 1.
    ///
    /// # Errors
    /// When none is left, or it is another value.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, LayoutError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(LayoutError::Invalid { field }),
        }
    }

    /// Two bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, LayoutError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, LayoutError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// Four bytes, two's complement.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, LayoutError> {
        Ok(i32::from_le_bytes(self.array(field)?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, LayoutError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A length of four bytes, then that many.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], LayoutError> {
        let length =
            usize::try_from(self.u32(field)?).map_err(|_| LayoutError::Invalid { field })?;
        self.raw(field, length)
    }

    /// A length of four bytes, then UTF-8.
    ///
    /// # Errors
    /// When fewer are left, or they are not UTF-8.
    pub fn text(&mut self, field: &'static str) -> Result<String, LayoutError> {
        let bytes = self.bytes(field)?;
        core::str::from_utf8(bytes).map(str::to_owned).map_err(|_| LayoutError::Invalid { field })
    }

    /// Presence as one byte, then the value.
    ///
    /// # Errors
    /// Those of the presence byte and of `read`.
    pub fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut LayoutReader<'a>) -> Result<T, LayoutError>,
    ) -> Result<Option<T>, LayoutError> {
        if self.bool(field)? { read(self).map(Some) } else { Ok(None) }
    }

    /// A count of four bytes, then each element. An element takes at least one byte, so a count
    /// beyond what is left is refused before anything is allocated for it.
    ///
    /// # Errors
    /// When the count cannot be true, or `read` fails.
    pub fn list<T>(
        &mut self,
        field: &'static str,
        mut read: impl FnMut(&mut LayoutReader<'a>) -> Result<T, LayoutError>,
    ) -> Result<Vec<T>, LayoutError> {
        let count =
            usize::try_from(self.u32(field)?).map_err(|_| LayoutError::Invalid { field })?;
        if count > self.rest.len() {
            return Err(LayoutError::Short { field });
        }
        let mut values = Vec::with_capacity(count.min(4_096));
        for _ in 0..count {
            values.push(read(self)?);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_back_in_order() {
        let mut writer = LayoutWriter::new();
        writer.u8(1);
        writer.u16(2);
        writer.u32(3);
        writer.i32(-4);
        writer.u64(5);
        writer.text("six");
        writer.option(Some(7u64), |writer, value| writer.u64(value));
        writer.list([8u8, 9].into_iter(), |writer, value| writer.u8(value));
        let bytes = writer.into_bytes();
        let mut reader = LayoutReader::new(&bytes);
        assert_eq!(reader.u8("a"), Ok(1));
        assert_eq!(reader.u16("b"), Ok(2));
        assert_eq!(reader.u32("c"), Ok(3));
        assert_eq!(reader.i32("d"), Ok(-4));
        assert_eq!(reader.u64("e"), Ok(5));
        assert_eq!(reader.text("f").as_deref(), Ok("six"));
        assert_eq!(reader.option("g", |reader| reader.u64("g")), Ok(Some(7)));
        assert_eq!(reader.list("h", |reader| reader.u8("h")), Ok([8u8, 9].to_vec()));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn every_prefix_is_refused_and_names_its_field() {
        let mut writer = LayoutWriter::new();
        writer.text("name");
        writer.u64(9);
        let bytes = writer.into_bytes();
        for length in 0..bytes.len() {
            let mut reader = LayoutReader::new(&bytes[..length]);
            let read = reader.text("name").and_then(|_| reader.u64("number"));
            assert!(matches!(read, Err(LayoutError::Short { .. })), "{length}: {read:?}");
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_allocates_nothing() {
        let bytes = u32::MAX.to_le_bytes();
        let read = LayoutReader::new(&bytes).list("many", |reader| reader.u8("one"));
        assert_eq!(read, Err(LayoutError::Short { field: "many" }));
    }
}
