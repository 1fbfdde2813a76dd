//! CBOR as recipes speak it (interim).
use serde::{Serialize, de::DeserializeOwned};
/// Why.
pub type Error = crate::Failure;
/// Encodes.
///
/// # Errors
/// No.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let mut serializer = minicbor_serde::Serializer::new(&mut out);
    serializer.serialize_unit_as_null(true);
    value
        .serialize(&mut serializer)
        .map_err(|e| crate::Failure::new("cannot-encode", e.to_string()))?;
    Ok(out)
}
/// Decodes.
///
/// # Errors
/// No.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    minicbor_serde::from_slice(bytes).map_err(|e| crate::Failure::new("codec", e.to_string()))
}
