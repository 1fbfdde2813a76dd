//! What a znode holds: bytes, or null, which ZooKeeper's clients tell apart from no bytes.
//!
//! Comes in: what a client gave. Goes out: the same. Invariant: null reads as no bytes for whoever
//! does not ask whether it is null; in a layout and in CBOR the two differ.

use crate::layout::{LayoutError, LayoutReader, LayoutWriter};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Deref;
use serde::{Deserialize, Serialize};

/// Data of a znode.
///
/// ```
/// use quorate_types::ZnodeData;
///
/// let (empty, null) = (ZnodeData::from(""), ZnodeData::NULL);
/// assert_eq!((empty.len(), null.len()), (0, 0));
/// assert_ne!(empty, null);
/// assert!(null.is_null());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ZnodeData(Option<Bytes>);

impl ZnodeData {
    /// Data that was never given.
    pub const NULL: ZnodeData = ZnodeData(None);

    /// No bytes, which is not [`ZnodeData::NULL`].
    pub const EMPTY: ZnodeData = ZnodeData(Some(Bytes::new()));

    /// Whether it was never given.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes; none for null.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.clone().into_bytes()
    }

    /// The bytes; none for null.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0.unwrap_or_default()
    }

    /// The bytes, if it is not null.
    #[must_use]
    pub fn into_option(self) -> Option<Bytes> {
        self.0
    }

    /// A copy with an allocation of its own, which keeps nothing else alive.
    #[must_use]
    pub fn copied(&self) -> ZnodeData {
        ZnodeData(self.0.as_deref().map(Bytes::copy_from_slice))
    }

    /// Appends presence as one byte, then length and bytes.
    pub fn write(&self, writer: &mut LayoutWriter) {
        writer.option(self.0.as_deref(), LayoutWriter::bytes);
    }

    /// Takes what [`ZnodeData::write`] wrote, copied out.
    ///
    /// # Errors
    /// When the bytes are none of its layout; names `data`.
    pub fn read(reader: &mut LayoutReader<'_>) -> Result<ZnodeData, LayoutError> {
        let data = reader.option("data", |reader| reader.bytes("data"))?;
        Ok(ZnodeData(data.map(Bytes::copy_from_slice)))
    }
}

impl Default for ZnodeData {
    /// No bytes: what a native client means that says nothing.
    fn default() -> ZnodeData {
        ZnodeData::EMPTY
    }
}

impl Deref for ZnodeData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<Bytes> for ZnodeData {
    fn from(bytes: Bytes) -> ZnodeData {
        ZnodeData(Some(bytes))
    }
}

impl From<Option<Bytes>> for ZnodeData {
    fn from(bytes: Option<Bytes>) -> ZnodeData {
        ZnodeData(bytes)
    }
}

impl From<Vec<u8>> for ZnodeData {
    fn from(bytes: Vec<u8>) -> ZnodeData {
        Bytes::from(bytes).into()
    }
}

impl From<String> for ZnodeData {
    fn from(text: String) -> ZnodeData {
        Bytes::from(text).into()
    }
}

impl From<&'static [u8]> for ZnodeData {
    fn from(bytes: &'static [u8]) -> ZnodeData {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for ZnodeData {
    fn from(text: &'static str) -> ZnodeData {
        text.as_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_read_back_as_themselves() {
        for data in [ZnodeData::NULL, ZnodeData::EMPTY, "x".into()] {
            let mut writer = LayoutWriter::new();
            data.write(&mut writer);
            let bytes = writer.into_bytes();
            let mut reader = LayoutReader::new(&bytes);
            assert_eq!(ZnodeData::read(&mut reader), Ok(data.clone()));
            assert_eq!(reader.finish(), Ok(()));
            assert_eq!(ZnodeData::from(data.clone().into_option()), data);
            assert_eq!(data.copied(), data);
        }
        assert_eq!(ZnodeData::default(), ZnodeData::EMPTY);
    }

    #[test]
    fn a_presence_that_is_neither_and_every_prefix_are_refused() {
        for bytes in [&[2, 0, 0, 0, 0][..], &[1, 0, 0, 0], &[]] {
            assert!(ZnodeData::read(&mut LayoutReader::new(bytes)).is_err(), "{bytes:?}");
        }
    }
}
