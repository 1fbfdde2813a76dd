//! CBOR of whole values: a native frame's body, and an outcome inside a fixed layout.
//!
//! Comes in: values of the shared types, or bytes. Goes out: bytes, or values. Invariant: bytes
//! after the value are an error. Nesting is bounded by the codec (128), lengths by the bytes there.

use crate::frame::FrameError;
use alloc::string::ToString;
use alloc::vec::Vec;
use quorate_types::{Operation, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends the CBOR of `value` to `bytes`.
///
/// # Panics
/// Never for the types of this crate: their data model has nothing that CBOR lacks.
pub(crate) fn append(bytes: &mut Vec<u8>, value: &impl Serialize) {
    let mut serializer = serde_cbor::Serializer::new(bytes);
    value.serialize(&mut serializer).expect("the shared types have a CBOR form");
}

/// Reads one value that fills `bytes`; `what` names it in the error.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, FrameError> {
    serde_cbor::from_slice(bytes)
        .map_err(|error| FrameError::Cbor { what, reason: error.to_string() })
}

/// The CBOR of an outcome, to stand as a field of a fixed layout.
#[must_use]
pub fn outcome_to_bytes(outcome: &Outcome) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    append(&mut bytes, outcome);
    bytes
}

/// Reads what [`outcome_to_bytes`] made.
///
/// # Errors
/// [`FrameError::Cbor`] when the bytes are not exactly one outcome.
pub fn outcome_from_bytes(bytes: &[u8]) -> Result<Outcome, FrameError> {
    read("outcome", bytes)
}

/// The CBOR of an operation, to stand as a field of a fixed layout.
#[must_use]
pub fn operation_to_bytes(operation: &Operation) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    append(&mut bytes, operation);
    bytes
}

/// Reads what [`operation_to_bytes`] made.
///
/// # Errors
/// [`FrameError::Cbor`] when the bytes are not exactly one operation.
pub fn operation_from_bytes(bytes: &[u8]) -> Result<Operation, FrameError> {
    read("operation", bytes)
}
