//! The first frame each way.
//!
//! Comes in: the frame, or the typed record. Goes out: the other. Invariant: these frames have no
//! header; a client that leaves the last byte out gets an answer without it.

use super::record::{DecodeError, Reader, Record, Secret, records, write_frame};
use alloc::vec::Vec;
use bytes::Bytes;

records! {
    /// A new session, or an old one again: the first frame of a client.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ConnectRequest {
        /// 0.
        protocol_version: i32,
        /// The newest transaction that the client has seen.
        last_zxid_seen: i64,
        /// Session timeout wished for, in milliseconds.
        timeout_ms: i32,
        /// The session to go on with; 0: a new one.
        session_id: i64,
        /// Its password, of 16 bytes in what clients send.
        password: Secret,
        /// Whether a server that only reads will do; `None`: the client is older than the question,
        /// and the response has to leave it out too.
        read_only: Option<bool>,
    }

    /// The answer: a session, or none with timeout 0, session 0 and a password of zeros.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ConnectResponse {
        /// 0.
        protocol_version: i32,
        /// Session timeout granted, in milliseconds; 0: the session is gone.
        timeout_ms: i32,
        /// The session.
        session_id: i64,
        /// Its password, 16 bytes.
        password: Secret,
        /// Whether this server only reads; `None` if and only if it is so in the request.
        read_only: Option<bool>,
    }
}

/// Reads the first frame of a client.
///
/// # Errors
/// It is none; the error names the field.
pub fn decode_connect_request(frame: &Bytes) -> Result<ConnectRequest, DecodeError> {
    ConnectRequest::read(&mut Reader::new(frame), "ConnectRequest")
}

/// Reads the first frame of a server.
///
/// # Errors
/// It is none; the error names the field.
pub fn decode_connect_response(frame: &Bytes) -> Result<ConnectResponse, DecodeError> {
    ConnectResponse::read(&mut Reader::new(frame), "ConnectResponse")
}

/// Appends the first frame of a client, its length first.
pub fn encode_connect_request(out: &mut Vec<u8>, request: &ConnectRequest) {
    write_frame(out, |out| request.write(out));
}

/// Appends the first frame of a server, its length first.
pub fn encode_connect_response(out: &mut Vec<u8>, response: &ConnectResponse) {
    write_frame(out, |out| response.write(out));
}
