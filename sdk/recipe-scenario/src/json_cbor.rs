//! JSON for people, CBOR for recipes: one meaning on both sides.
//!
//! Comes in: JSON from a person, CBOR from a recipe. Goes out: the other. Invariant:
//! integers stay integers in the whole 64-bit range; bytes are shown as `{"bytes": "<hex>"}`, which
//! is read back as bytes.

use serde_cbor::Value as Cbor;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::fmt;

/// A value has no form on the other side, or bytes are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionError(String);

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConversionError {}

type Result<T> = std::result::Result<T, ConversionError>;

/// The CBOR of a JSON value.
///
/// # Errors
/// A number that is neither of 64 bits nor a float.
pub fn to_cbor(json: &Json) -> Result<Vec<u8>> {
    let cannot = |error| ConversionError(format!("cannot be written as CBOR: {error}"));
    serde_cbor::to_vec(&cbor_of(json)?).map_err(cannot)
}

/// The JSON of CBOR bytes; no bytes at all are `null`.
///
/// # Errors
/// They are not CBOR.
pub fn to_json(cbor: &[u8]) -> Result<Json> {
    if cbor.is_empty() {
        return Ok(Json::Null);
    }
    let value: std::result::Result<Cbor, _> = serde_cbor::from_slice(cbor);
    match value {
        Ok(value) => Ok(json_of(&value)),
        Err(error) => Err(ConversionError(format!("this is not CBOR: {error}"))),
    }
}

fn cbor_of(json: &Json) -> Result<Cbor> {
    Ok(match json {
        Json::Null => Cbor::Null,
        Json::Bool(value) => Cbor::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Cbor::Integer(i128::from(value)),
            (None, Some(value), _) => Cbor::Integer(i128::from(value)),
            (None, None, Some(value)) => Cbor::Float(value),
            (None, None, None) => {
                return Err(ConversionError(format!("{number} is no number that CBOR holds")));
            }
        },
        Json::String(text) => Cbor::Text(text.clone()),
        Json::Array(values) => Cbor::Array(values.iter().map(cbor_of).collect::<Result<_>>()?),
        Json::Object(fields) => match bytes_of(fields) {
            Some(bytes) => Cbor::Bytes(bytes),
            None => Cbor::Map(
                fields
                    .iter()
                    .map(|(name, value)| Ok((Cbor::Text(name.clone()), cbor_of(value)?)))
                    .collect::<Result<BTreeMap<_, _>>>()?,
            ),
        },
    })
}

fn bytes_of(fields: &Map<String, Json>) -> Option<Vec<u8>> {
    let text = fields.get("bytes").filter(|_| fields.len() == 1)?.as_str()?;
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn json_of(cbor: &Cbor) -> Json {
    match cbor {
        Cbor::Bool(value) => json!(value),
        Cbor::Integer(value) => integer(*value),
        Cbor::Float(value) => json!(value),
        Cbor::Bytes(bytes) => json!({ "bytes": hex(bytes) }),
        Cbor::Text(text) => json!(text),
        Cbor::Array(values) => Json::Array(values.iter().map(json_of).collect()),
        Cbor::Map(fields) => {
            Json::Object(fields.iter().map(|(name, value)| (key(name), json_of(value))).collect())
        }
        Cbor::Tag(_, value) => json_of(value),
        _ => Json::Null,
    }
}

fn integer(value: i128) -> Json {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => json!(value),
        (_, Ok(value)) => json!(value),
        _ => json!(value.to_string()),
    }
}

fn key(cbor: &Cbor) -> String {
    match cbor {
        Cbor::Text(text) => text.clone(),
        other => json_of(other).to_string(),
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_comes_back_from_cbor_as_it_was() {
        let values = [
            json!(null),
            json!(true),
            json!(-1),
            json!(u64::MAX),
            json!(1.5),
            json!("text"),
            json!([1, [2], {}]),
            json!({ "a": { "b": null }, "bytes": 3 }),
            json!({ "bytes": "00ff" }),
        ];
        for value in values {
            assert_eq!(to_json(&to_cbor(&value).unwrap()).unwrap(), value);
        }
        assert_eq!(to_json(&[]).unwrap(), json!(null));
    }

    #[test]
    fn bytes_are_bytes_in_cbor() {
        assert_eq!(to_cbor(&json!({ "bytes": "00ff" })).unwrap(), [0x42, 0x00, 0xff]);
    }
}
