//! Headers, and whole frames behind the handshake.
//!
//! Comes in: a frame without its length, or a header and a body. Goes out: typed messages, or frames
//! appended to the caller's bytes, so that many can be written at once. Invariant: a body follows the
//! header of a reply only where there is no error, or where a step of SASL is refused.

use super::number::{Opcode, ZooKeeperError};
use super::record::{DecodeError, Reader, Record, Secret, Tagged, records, write_frame};
use super::reply::{Reply, ServerMessage, WatcherEvent};
use super::request::Request;
use alloc::vec::Vec;
use bytes::Bytes;

/// Numbers in the place of a request's own that say what a frame is.
pub mod xid {
    /// A notification of a server.
    pub const NOTIFICATION: i32 = -1;
    /// A ping, and its reply.
    pub const PING: i32 = -2;
    /// The proof of an identity, and its reply.
    pub const AUTH: i32 = -4;
    /// Watches of a lost connection, and the reply.
    pub const SET_WATCHES: i32 = -8;
}

records! {
    /// What stands before each request.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RequestHeader {
        /// Chosen by the client and given back in the reply; see [`xid`](mod@xid).
        xid: i32,
        /// A number of [`Opcode`], or an unknown one.
        opcode: i32,
    }

    /// What stands before each reply and notification.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ReplyHeader {
        /// That of the request; see [`xid`](mod@xid).
        xid: i32,
        /// The newest transaction of the server, or the one that the request made.
        zxid: i64,
        /// Why it was not done, or `Ok`.
        error: ZooKeeperError,
    }
}

/// Reads the header of a request; the reader stands behind it, for [`Request::read`]. A server does
/// it in two steps, so that it can answer a body that cannot be read under the xid of its header.
///
/// # Errors
/// The frame is too short for a header.
pub fn decode_request_header(frame: &Bytes) -> Result<(RequestHeader, Reader<'_>), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::read(&mut reader, "RequestHeader")?;
    Ok((header, reader))
}

/// Reads a request behind the handshake.
///
/// # Errors
/// The frame is none; the error names the field. An unknown opcode is none.
pub fn decode_request(frame: &Bytes) -> Result<(RequestHeader, Request<'_>), DecodeError> {
    let (header, mut reader) = decode_request_header(frame)?;
    Ok((header, Request::read(header.opcode, &mut reader)?))
}

/// Reads a frame of a server behind the handshake. `opcode_of` tells the opcode of the request under
/// an xid; it is asked only for replies with a body, and `None`, for an xid that no request has, is
/// an error.
///
/// # Errors
/// The frame is none; the error names the field.
pub fn decode_reply(
    frame: &Bytes,
    opcode_of: impl FnOnce(i32) -> Option<Opcode>,
) -> Result<ServerMessage<'_>, DecodeError> {
    let mut reader = Reader::new(frame);
    let header = ReplyHeader::read(&mut reader, "ReplyHeader")?;
    if header.xid == xid::NOTIFICATION {
        let event = WatcherEvent::read(&mut reader, "WatcherEvent")?;
        return Ok(ServerMessage::Notification { header, event });
    }
    if header.error != ZooKeeperError::Ok {
        return Ok(ServerMessage::Refused(header));
    }
    let opcode = match header.xid {
        xid::PING | xid::AUTH | xid::SET_WATCHES => {
            return Ok(ServerMessage::Reply { header, reply: Reply::Empty });
        }
        number => opcode_of(number)
            .ok_or(DecodeError::UnknownNumber { field: "ReplyHeader.xid", number })?,
    };
    Ok(ServerMessage::Reply { header, reply: Reply::read(opcode, &mut reader)? })
}

/// Appends a request, its length first.
pub fn encode_request(out: &mut Vec<u8>, xid: i32, request: &Request<'_>) {
    write_frame(out, |out| {
        RequestHeader { xid, opcode: request.opcode() }.write(out);
        request.write_body(out);
    });
}

/// Appends the reply to a request that was done, its length first.
pub fn encode_reply(out: &mut Vec<u8>, xid: i32, zxid: i64, reply: &Reply<'_>) {
    write_frame(out, |out| {
        ReplyHeader { xid, zxid, error: ZooKeeperError::Ok }.write(out);
        reply.write(out);
    });
}

/// Appends the reply to a request that was not done, its length first. A multi that was not done is
/// a [`Reply::Multi`].
pub fn encode_error(out: &mut Vec<u8>, xid: i32, zxid: i64, error: ZooKeeperError) {
    write_frame(out, |out| ReplyHeader { xid, zxid, error }.write(out));
}

/// Appends the refusal of a step of SASL, its length first. An empty token goes with it, as from
/// ZooKeeper's servers: its Java client looks for one, whatever the header says, and learns of the
/// refusal by there being none.
pub fn encode_sasl_refusal(out: &mut Vec<u8>, xid: i32) {
    write_frame(out, |out| {
        ReplyHeader { xid, zxid: 0, error: ZooKeeperError::AuthFailed }.write(out);
        Reply::Sasl(Secret(None)).write(out);
    });
}

/// Appends the notification of an event that the transaction `zxid` made, its length first.
pub fn encode_notification(out: &mut Vec<u8>, zxid: i64, event: &WatcherEvent<'_>) {
    write_frame(out, |out| {
        ReplyHeader { xid: xid::NOTIFICATION, zxid, error: ZooKeeperError::Ok }.write(out);
        event.write(out);
    });
}
