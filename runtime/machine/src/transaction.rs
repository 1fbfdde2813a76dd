//! The content of one log entry: a flat list of changes with final values, and the reply.
//!
//! Comes in: what `prepare` made, or bytes of the log. Goes out: bytes, or the transaction.
//! Invariant: the first byte is the version of the layout. Must never: need a recipe, a clock or
//! anything but the state before it to be applied.

use crate::change::Change;
use crate::codec;
use crate::request::{ConnectionOrigin, Identity};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::{
    LayoutError, LayoutReader, LayoutWriter, Outcome, ServerId, SessionId, ZnodePath,
};

const LAYOUT_VERSION: u8 = 1;

/// Who asked for a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's request.
    Session {
        /// Its session.
        session: SessionId,
        /// Number of the request within it.
        sequence: u64,
        /// Kept replies that go, by their numbers: they have reached the client.
        forgotten: Vec<u64>,
    },
    /// A connection that waits for a session.
    Connection(ConnectionOrigin),
    /// The leader itself.
    Leader,
}

/// The call that a transaction came from, for a second run elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// The object called.
    pub object: ZnodePath,
    /// Name of the operation.
    pub operation: String,
    /// CBOR.
    pub arguments: Bytes,
    /// The caller.
    pub identity: Identity,
}

/// The content of one log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Milliseconds since 1970, the leader's stamp; never below the transaction before.
    pub time_ms: u64,
    /// Who asked.
    pub origin: Origin,
    /// What changes, in order.
    pub changes: Vec<Change>,
    /// What the origin session is told; `None` when nobody is, or a change says it.
    pub reply: Option<Outcome>,
    /// The call, when it was one and calls are recorded.
    pub call: Option<CallRecord>,
}

impl Transaction {
    /// The bytes for the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = LayoutWriter::with_capacity(256);
        writer.u8(LAYOUT_VERSION);
        writer.u64(self.time_ms);
        write_origin(&mut writer, &self.origin);
        writer.list(self.changes.iter(), |writer, change| change.write(writer));
        writer.option(self.reply.as_ref(), codec::write_outcome);
        writer.option(self.call.as_ref(), write_call);
        writer.into_bytes()
    }

    /// Reads the bytes of a log entry.
    ///
    /// # Errors
    /// When they are no transaction of a known layout.
    pub fn decode(bytes: &[u8]) -> Result<Transaction, LayoutError> {
        let mut reader = LayoutReader::new(bytes);
        if reader.u8("transaction layout")? != LAYOUT_VERSION {
            return Err(LayoutError::Invalid { field: "transaction layout" });
        }
        let transaction = Transaction {
            time_ms: reader.u64("time_ms")?,
            origin: read_origin(&mut reader)?,
            changes: reader.list("changes", Change::read)?,
            reply: reader.option("reply", codec::read_outcome)?,
            call: reader.option("call", read_call)?,
        };
        reader.finish()?;
        Ok(transaction)
    }
}

fn write_origin(writer: &mut LayoutWriter, origin: &Origin) {
    match origin {
        Origin::Session { session, sequence, forgotten } => {
            writer.u8(0);
            writer.u64(session.0);
            writer.u64(*sequence);
            writer.list(forgotten.iter(), |writer, sequence| writer.u64(*sequence));
        }
        Origin::Connection(origin) => {
            writer.u8(1);
            writer.u64(origin.server.0);
            writer.u64(origin.connection);
        }
        Origin::Leader => writer.u8(2),
    }
}

fn read_origin(reader: &mut LayoutReader<'_>) -> Result<Origin, LayoutError> {
    match reader.u8("origin")? {
        0 => Ok(Origin::Session {
            session: SessionId(reader.u64("session")?),
            sequence: reader.u64("sequence")?,
            forgotten: reader.list("forgotten", |reader| reader.u64("forgotten"))?,
        }),
        1 => Ok(Origin::Connection(ConnectionOrigin {
            server: ServerId(reader.u64("server")?),
            connection: reader.u64("connection")?,
        })),
        2 => Ok(Origin::Leader),
        _ => Err(LayoutError::Invalid { field: "origin" }),
    }
}

fn write_call(writer: &mut LayoutWriter, call: &CallRecord) {
    codec::write_path(writer, &call.object);
    writer.text(&call.operation);
    writer.bytes(&call.arguments);
    codec::write_identity(writer, &call.identity);
}

fn read_call(reader: &mut LayoutReader<'_>) -> Result<CallRecord, LayoutError> {
    Ok(CallRecord {
        object: codec::read_path(reader, "object")?,
        operation: reader.text("operation")?,
        arguments: codec::read_bytes(reader, "arguments")?,
        identity: codec::read_identity(reader)?,
    })
}
