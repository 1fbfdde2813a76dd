//! The primitives of ZooKeeper's records, and how records are made of them.
//!
//! Comes in: one frame, or values. Goes out: values whose text borrows from the frame and whose
//! buffers are slices of it, or bytes appended to the caller's. Invariant: everything is big endian;
//! a length or count is compared with the bytes there before anything is set aside for it. Must
//! never panic on bytes.

use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use quorate_types::Permissions;

/// The length or count that stands for null.
const NULL: i32 = -1;

/// Why bytes are not what a ZooKeeper client or server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The length of a frame is negative or above the limit. The stream cannot be read on.
    FrameLength {
        /// The length claimed, in bytes.
        length: i32,
        /// Bytes allowed.
        limit: u32,
    },
    /// The frame ends inside this field.
    Short {
        /// Name of the field.
        field: &'static str,
    },
    /// A length or count is negative and not null's.
    Negative {
        /// Name of the field.
        field: &'static str,
        /// The length or count.
        length: i32,
    },
    /// The text is not UTF-8.
    NotText {
        /// Name of the field.
        field: &'static str,
    },
    /// The number stands for nothing here.
    UnknownNumber {
        /// Name of the field.
        field: &'static str,
        /// The number.
        number: i32,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::FrameLength { length, limit } => {
                write!(f, "a frame of {length} bytes is not within 0 and {limit} bytes")
            }
            DecodeError::Short { field } => write!(f, "the frame ends inside `{field}`"),
            DecodeError::Negative { field, length } => {
                write!(f, "`{field}` has the length {length}")
            }
            DecodeError::NotText { field } => write!(f, "`{field}` is not UTF-8"),
            DecodeError::UnknownNumber { field, number } => {
                write!(f, "`{field}` holds {number}, which stands for nothing there")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

/// Reads the fields of one frame, from its front.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    position: usize,
    /// Behind the last byte that may be read.
    end: usize,
}

impl<'a> Reader<'a> {
    /// At the front of a frame, its length already cut off.
    #[must_use]
    pub fn new(frame: &'a Bytes) -> Reader<'a> {
        Reader { frame, position: 0, end: frame.len() }
    }

    /// At a place within a longer piece of bytes, up to another.
    pub(super) fn within(frame: &'a Bytes, start: usize, end: usize) -> Reader<'a> {
        assert!(start <= end && end <= frame.len(), "{start} to {end} of {}", frame.len());
        Reader { frame, position: start, end }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Bytes of the frame in front of what is read next.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// A buffer that holds a record of its own, as a reader of that; null is empty.
    pub(super) fn inner(&mut self, field: &'static str) -> Result<Reader<'a>, DecodeError> {
        let bytes = self.buffer(field)?.map_or(0, <[u8]>::len);
        let position = self.position - bytes;
        Ok(Reader { frame: self.frame, position, end: self.position })
    }

    fn take(&mut self, bytes: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let rest = self.frame.get(self.position..self.end).unwrap_or_default();
        let taken = rest.get(..bytes).ok_or(DecodeError::Short { field })?;
        self.position += bytes;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.take(N, field)?;
        bytes.try_into().map_err(|_| DecodeError::Short { field })
    }

    /// A length or count; `None` for null.
    fn length(&mut self, field: &'static str) -> Result<Option<usize>, DecodeError> {
        let length = i32::from_be_bytes(self.array(field)?);
        if length == NULL {
            return Ok(None);
        }
        let known = usize::try_from(length).map_err(|_| DecodeError::Negative { field, length })?;
        Ok(Some(known))
    }

    fn buffer(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        let Some(length) = self.length(field)? else { return Ok(None) };
        self.take(length, field).map(Some)
    }
}

/// What stands in a frame: a primitive, or a list of fields.
pub trait Record<'a>: Sized {
    /// The fewest bytes it can have: what bounds the count of a list of them.
    const BYTES_MIN: usize;

    /// Reads it. `field` names it in the error, where its own fields do not.
    ///
    /// # Errors
    /// The bytes are no such record; the error names the field.
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError>;

    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);
}

impl Record<'_> for i32 {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<i32, DecodeError> {
        reader.array(field).map(i32::from_be_bytes)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl Record<'_> for i64 {
    const BYTES_MIN: usize = 8;

    fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<i64, DecodeError> {
        reader.array(field).map(i64::from_be_bytes)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

/// As in Java's streams, any byte but 0 is true.
impl Record<'_> for bool {
    const BYTES_MIN: usize = 1;

    fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, DecodeError> {
        reader.array(field).map(|[byte]| byte != 0)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

/// A last field that older clients leave out.
impl<'a> Record<'a> for Option<bool> {
    const BYTES_MIN: usize = 0;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Option<bool>, DecodeError> {
        if reader.remaining() == 0 { Ok(None) } else { bool::read(reader, field).map(Some) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(flag) = self {
            flag.write(out);
        }
    }
}

/// A last field that older servers left out of what they stored.
impl<'a> Record<'a> for Option<i32> {
    const BYTES_MIN: usize = 0;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Option<i32>, DecodeError> {
        if reader.remaining() == 0 { Ok(None) } else { i32::read(reader, field).map(Some) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(number) = self {
            number.write(out);
        }
    }
}

/// Text where null has no meaning of its own: null reads as empty text, which is no path, scheme or
/// name either.
impl<'a> Record<'a> for &'a str {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a str, DecodeError> {
        Option::<&str>::read(reader, field).map(Option::unwrap_or_default)
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_buffer(Some(self.as_bytes()), out);
    }
}

/// Text, or null.
impl<'a> Record<'a> for Option<&'a str> {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        let Some(bytes) = reader.buffer(field)? else { return Ok(None) };
        core::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::NotText { field })
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_buffer(self.map(str::as_bytes), out);
    }
}

/// A buffer, or null. It is a slice of the frame and keeps the whole frame in memory: what is to
/// stay is copied by whoever keeps it.
impl<'a> Record<'a> for Option<Bytes> {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        let bytes = reader.buffer(field)?;
        Ok(bytes.map(|bytes| reader.frame.slice_ref(bytes)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_buffer(self.as_deref(), out);
    }
}

/// A list. Null reads as an empty one: ZooKeeper tells them apart nowhere.
impl<'a, T: Record<'a>> Record<'a> for Vec<T> {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Vec<T>, DecodeError> {
        let count = reader.length(field)?.unwrap_or(0);
        if count > reader.remaining() / T::BYTES_MIN.max(1) {
            return Err(DecodeError::Short { field });
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(T::read(reader, field)?);
        }
        Ok(items)
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_length(self.len(), out);
        for item in self {
            item.write(out);
        }
    }
}

/// The bits are ZooKeeper's own.
impl Record<'_> for Permissions {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<Permissions, DecodeError> {
        reader.array(field).map(|bytes| Permissions(u32::from_be_bytes(bytes)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }
}

/// A buffer, or null, that proves who somebody is. A debug print does not show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Option<Bytes>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl<'a> Record<'a> for Secret {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Secret, DecodeError> {
        Option::<Bytes>::read(reader, field).map(Secret)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    let length = i32::try_from(length).expect("limits keep frames below 2 GiB");
    length.write(out);
}

fn write_buffer(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => {
            write_length(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        None => NULL.write(out),
    }
}

/// Appends a frame to `out`: what `body` appends, its length first.
pub(super) fn write_frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    0_i32.write(out);
    let body_start = out.len();
    body(out);
    let length = i32::try_from(out.len() - body_start).expect("limits keep frames below 2 GiB");
    if let Some(prefix) = out.get_mut(start..body_start) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
}

/// Records of several fields: each field is listed once, in the order of its bytes.
macro_rules! records {
    ($( $(#[$doc:meta])* pub struct $name:ident $(<$life:lifetime>)? {
        $( $(#[$field_doc:meta])* $field:ident: $kind:ty, )*
    } )*) => { $(
        $(#[$doc])*
        pub struct $name $(<$life>)? { $( $(#[$field_doc])* pub $field: $kind, )* }

        records!(@record $name $(<$life>)? { $( $field: $kind, )* });
    )* };
    (@record $name:ident { $( $field:ident: $kind:ty, )* }) => {
        impl Record<'_> for $name { records!(@body '_ $name { $( $field: $kind, )* }); }
    };
    (@record $name:ident<$life:lifetime> { $( $field:ident: $kind:ty, )* }) => {
        impl<$life> Record<$life> for $name<$life> {
            records!(@body $life $name { $( $field: $kind, )* });
        }
    };
    (@body $life:lifetime $name:ident { $( $field:ident: $kind:ty, )* }) => {
        const BYTES_MIN: usize = 0 $( + <$kind as Record>::BYTES_MIN )*;

        fn read(
            reader: &mut Reader<$life>,
            _field: &'static str,
        ) -> Result<Self, DecodeError> {
            Ok($name {
                $( $field: Record::read(
                    reader,
                    concat!(stringify!($name), ".", stringify!($field)),
                )?, )*
            })
        }

        fn write(&self, out: &mut Vec<u8>) {
            $( self.$field.write(out); )*
        }
    };
}

/// Something that an opcode stands before. Written by `tagged!`.
pub(super) trait Tagged<'a>: Sized {
    /// The number of its opcode.
    fn number(&self) -> i32;

    /// Reads what follows the opcode `number`; `None`: the number is not in the list.
    fn read_body(number: i32, reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError>;

    /// Appends what follows the opcode.
    fn write_body(&self, out: &mut Vec<u8>);
}

/// Choices by opcode: each variant has the name of its opcode and is listed once, in the first list
/// with a body, in the second without.
macro_rules! tagged {
    ($(#[$doc:meta])* pub enum $name:ident<$life:lifetime> {
        $( $(#[$body_doc:meta])* $variant:ident($body:ty), )*
    } and {
        $( $(#[$bare_doc:meta])* $bare:ident, )*
    } $( else $(#[$unknown_doc:meta])* $unknown:ident )?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name<$life> {
            $( $(#[$body_doc])* $variant($body), )*
            $( $(#[$bare_doc])* $bare, )*
            $( $(#[$unknown_doc])* $unknown(i32), )?
        }

        impl<$life> Tagged<$life> for $name<$life> {
            fn number(&self) -> i32 {
                match self {
                    $( $name::$variant(_) => Opcode::$variant.number(), )*
                    $( $name::$bare => Opcode::$bare.number(), )*
                    $( $name::$unknown(number) => *number, )?
                }
            }

            fn read_body(
                number: i32,
                reader: &mut Reader<$life>,
            ) -> Result<Option<Self>, DecodeError> {
                let Some(opcode) = Opcode::from_number(number) else { return Ok(None) };
                let read = match opcode {
                    $( Opcode::$variant => $name::$variant(Record::read(
                        reader,
                        concat!(stringify!($name), "::", stringify!($variant)),
                    )?), )*
                    $( Opcode::$bare => $name::$bare, )*
                    _ => return Ok(None),
                };
                Ok(Some(read))
            }

            fn write_body(&self, out: &mut Vec<u8>) {
                match self {
                    $( $name::$variant(body) => body.write(out), )*
                    $( $name::$bare => {} )*
                    $( $name::$unknown(_) => {} )?
                }
            }
        }
    };
}

pub(super) use {records, tagged};
