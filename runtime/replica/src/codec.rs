//! Bytes of what servers say to one another inside peer frames: consensus messages and forwarded
//! requests, in fixed layouts.
//!
//! Comes in: typed values, or a peer's bytes. Goes out: bytes, or values. Invariant: decoding what
//! was encoded gives the same value; any other bytes give an error that names the field. Must
//! never panic on a peer's bytes.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use quorate_machine::{ConnectionOrigin, Identity, Request};
use quorate_raft::{
    Append, AppendOutcome, AppendReply, Entry, EntryKind, Heartbeat, HeartbeatReply, Index,
    Message, PreVote, PreVoteReply, ReadIndex, ReadIndexReply, Term, TimeoutNow, Vote, VoteReply,
};
use quorate_types::{LayoutError, LayoutReader, LayoutWriter, ServerId, SessionId, Zxid};
use quorate_wire::{operation_from_bytes, operation_to_bytes};

/// The bytes of a consensus message.
pub(crate) fn encode_message(message: &Message) -> Vec<u8> {
    let mut writer = LayoutWriter::with_capacity(64);
    writer.u8(message_kind(message));
    writer.u64(message.term().0);
    match message {
        Message::PreVote(said) => {
            write_last(&mut writer, said.last_index, said.last_term);
            write_last(&mut writer, said.commit, said.commit_term);
        }
        Message::PreVoteReply(said) => {
            writer.u64(said.asked_in.0);
            writer.bool(said.granted);
            write_last(&mut writer, said.commit, said.commit_term);
        }
        Message::Vote(said) => {
            write_last(&mut writer, said.last_index, said.last_term);
            writer.bool(said.transfer);
        }
        Message::VoteReply(said) => writer.bool(said.granted),
        Message::Append(said) => write_append(&mut writer, said),
        Message::AppendReply(said) => write_append_reply(&mut writer, said),
        Message::Heartbeat(said) => {
            writer.u64(said.session);
            writer.u64(said.life);
            writer.u64(said.commit.0);
            writer.u64(said.round);
        }
        Message::HeartbeatReply(said) => {
            writer.u64(said.session);
            writer.u64(said.life);
            writer.u64(said.round);
        }
        Message::ReadIndex(said) => writer.u64(said.request),
        Message::ReadIndexReply(said) => {
            writer.u64(said.request);
            writer.option(said.index, |writer, index| writer.u64(index.0));
        }
        Message::TimeoutNow(_) => {}
    }
    writer.into_bytes()
}

/// Whether the bytes of a consensus message carry entries, which shells send on a stream of their
/// own so that votes and heartbeats need not wait behind them.
#[must_use]
pub fn is_append(message: &[u8]) -> bool {
    message.first() == Some(&APPEND_KIND)
}

const APPEND_KIND: u8 = 5;

fn message_kind(message: &Message) -> u8 {
    match message {
        Message::PreVote(_) => 1,
        Message::PreVoteReply(_) => 2,
        Message::Vote(_) => 3,
        Message::VoteReply(_) => 4,
        Message::Append(_) => APPEND_KIND,
        Message::AppendReply(_) => 6,
        Message::Heartbeat(_) => 7,
        Message::HeartbeatReply(_) => 8,
        Message::ReadIndex(_) => 9,
        Message::ReadIndexReply(_) => 10,
        Message::TimeoutNow(_) => 11,
    }
}

fn write_last(writer: &mut LayoutWriter, index: Index, term: Term) {
    writer.u64(index.0);
    writer.u64(term.0);
}

fn write_append(writer: &mut LayoutWriter, said: &Append) {
    writer.u64(said.session);
    write_last(writer, said.previous_index, said.previous_term);
    writer.u64(said.commit.0);
    writer.list(said.entries.iter(), |writer, entry| {
        write_last(writer, entry.index, entry.term);
        writer.u8(match entry.kind {
            EntryKind::Empty => 0,
            EntryKind::Command => 1,
            EntryKind::Membership => 2,
        });
        writer.bytes(&entry.payload);
    });
}

fn write_append_reply(writer: &mut LayoutWriter, said: &AppendReply) {
    writer.u64(said.session);
    writer.u64(said.life);
    match said.outcome {
        AppendOutcome::Accepted { matched } => {
            writer.u8(0);
            writer.u64(matched.0);
        }
        AppendOutcome::Rejected { previous, hint_index, hint_term } => {
            writer.u8(1);
            writer.u64(previous.0);
            write_last(writer, hint_index, hint_term);
        }
    }
}

/// Reads what [`encode_message`] made.
pub(crate) fn decode_message(bytes: &[u8]) -> Result<Message, LayoutError> {
    let mut reader = LayoutReader::new(bytes);
    let kind = reader.u8("message kind")?;
    let term = Term(reader.u64("term")?);
    let message = match kind {
        1..=4 => read_election(&mut reader, kind, term)?,
        5 => Message::Append(read_append(&mut reader, term)?),
        6 => Message::AppendReply(read_append_reply(&mut reader, term)?),
        7 => Message::Heartbeat(Heartbeat {
            term,
            session: reader.u64("session")?,
            life: reader.u64("life")?,
            commit: Index(reader.u64("commit")?),
            round: reader.u64("round")?,
        }),
        8 => Message::HeartbeatReply(HeartbeatReply {
            term,
            session: reader.u64("session")?,
            life: reader.u64("life")?,
            round: reader.u64("round")?,
        }),
        9 => Message::ReadIndex(ReadIndex { term, request: reader.u64("request")? }),
        10 => Message::ReadIndexReply(ReadIndexReply {
            term,
            request: reader.u64("request")?,
            index: reader.option("index", |reader| reader.u64("index").map(Index))?,
        }),
        11 => Message::TimeoutNow(TimeoutNow { term }),
        _ => return Err(LayoutError::Invalid { field: "message kind" }),
    };
    reader.finish()?;
    Ok(message)
}

fn read_election(
    reader: &mut LayoutReader<'_>,
    kind: u8,
    term: Term,
) -> Result<Message, LayoutError> {
    Ok(match kind {
        1 => Message::PreVote(PreVote {
            term,
            last_index: Index(reader.u64("last_index")?),
            last_term: Term(reader.u64("last_term")?),
            commit: Index(reader.u64("commit")?),
            commit_term: Term(reader.u64("commit_term")?),
        }),
        2 => Message::PreVoteReply(PreVoteReply {
            term,
            asked_in: Term(reader.u64("asked_in")?),
            granted: reader.bool("granted")?,
            commit: Index(reader.u64("commit")?),
            commit_term: Term(reader.u64("commit_term")?),
        }),
        3 => Message::Vote(Vote {
            term,
            last_index: Index(reader.u64("last_index")?),
            last_term: Term(reader.u64("last_term")?),
            transfer: reader.bool("transfer")?,
        }),
        _ => Message::VoteReply(VoteReply { term, granted: reader.bool("granted")? }),
    })
}

fn read_append(reader: &mut LayoutReader<'_>, term: Term) -> Result<Append, LayoutError> {
    Ok(Append {
        term,
        session: reader.u64("session")?,
        previous_index: Index(reader.u64("previous_index")?),
        previous_term: Term(reader.u64("previous_term")?),
        commit: Index(reader.u64("commit")?),
        entries: reader.list("entries", read_entry)?,
    })
}

fn read_entry(reader: &mut LayoutReader<'_>) -> Result<Entry, LayoutError> {
    Ok(Entry {
        index: Index(reader.u64("entry index")?),
        term: Term(reader.u64("entry term")?),
        kind: match reader.u8("entry kind")? {
            0 => EntryKind::Empty,
            1 => EntryKind::Command,
            2 => EntryKind::Membership,
            _ => return Err(LayoutError::Invalid { field: "entry kind" }),
        },
        payload: Arc::from(reader.bytes("entry payload")?),
    })
}

fn read_append_reply(
    reader: &mut LayoutReader<'_>,
    term: Term,
) -> Result<AppendReply, LayoutError> {
    Ok(AppendReply {
        term,
        session: reader.u64("session")?,
        life: reader.u64("life")?,
        outcome: match reader.u8("append outcome")? {
            0 => AppendOutcome::Accepted { matched: Index(reader.u64("matched")?) },
            1 => AppendOutcome::Rejected {
                previous: Index(reader.u64("previous")?),
                hint_index: Index(reader.u64("hint_index")?),
                hint_term: Term(reader.u64("hint_term")?),
            },
            _ => return Err(LayoutError::Invalid { field: "append outcome" }),
        },
    })
}

/// The bytes of a request forwarded to the leader of a term.
pub(crate) fn encode_forward(term: Term, request: &Request) -> Vec<u8> {
    let mut writer = LayoutWriter::with_capacity(256);
    writer.u64(term.0);
    write_request(&mut writer, request);
    writer.into_bytes()
}

/// Reads what [`encode_forward`] made.
pub(crate) fn decode_forward(bytes: &[u8]) -> Result<(Term, Request), LayoutError> {
    let mut reader = LayoutReader::new(bytes);
    let term = Term(reader.u64("term")?);
    let request = read_request(&mut reader)?;
    reader.finish()?;
    Ok((term, request))
}

/// # Panics
/// On a request that only the leader makes: those are never forwarded.
fn write_request(writer: &mut LayoutWriter, request: &Request) {
    match request {
        Request::Client {
            session,
            epoch,
            sequence,
            oldest_unreplied,
            acknowledged,
            identity,
            operation,
        } => {
            writer.u8(1);
            writer.u64(session.0);
            writer.u64(epoch.0);
            writer.u64(*sequence);
            writer.u64(*oldest_unreplied);
            writer.list(acknowledged.iter(), |writer, sequence| writer.u64(*sequence));
            write_identity(writer, identity);
            writer.bytes(&operation_to_bytes(operation));
        }
        Request::OpenSession { origin, password, timeout_ms, identity } => {
            writer.u8(2);
            write_origin(writer, *origin);
            writer.raw(password);
            writer.u32(*timeout_ms);
            write_identity(writer, identity);
        }
        Request::AttachSession { origin, session, password, identity } => {
            writer.u8(3);
            write_origin(writer, *origin);
            writer.u64(session.0);
            writer.raw(password);
            write_identity(writer, identity);
        }
        Request::ExpireSession { .. }
        | Request::FireDue
        | Request::RecordMember { .. }
        | Request::RecordVoters { .. }
        | Request::EndMembership { .. } => {
            unreachable!("only the leader makes {request:?}, and keeps it")
        }
    }
}

fn read_request(reader: &mut LayoutReader<'_>) -> Result<Request, LayoutError> {
    Ok(match reader.u8("request kind")? {
        1 => read_client_request(reader)?,
        2 => Request::OpenSession {
            origin: read_origin(reader)?,
            password: read_password(reader)?,
            timeout_ms: reader.u32("timeout_ms")?,
            identity: read_identity(reader)?,
        },
        3 => Request::AttachSession {
            origin: read_origin(reader)?,
            session: SessionId(reader.u64("session")?),
            password: read_password(reader)?,
            identity: read_identity(reader)?,
        },
        _ => return Err(LayoutError::Invalid { field: "request kind" }),
    })
}

fn read_client_request(reader: &mut LayoutReader<'_>) -> Result<Request, LayoutError> {
    Ok(Request::Client {
        session: SessionId(reader.u64("session")?),
        epoch: Zxid(reader.u64("epoch")?),
        sequence: reader.u64("sequence")?,
        oldest_unreplied: reader.u64("oldest_unreplied")?,
        acknowledged: reader.list("acknowledged", |reader| reader.u64("acknowledged"))?,
        identity: read_identity(reader)?,
        operation: operation_from_bytes(reader.bytes("operation")?)
            .map_err(|_| LayoutError::Invalid { field: "operation" })?,
    })
}

fn write_origin(writer: &mut LayoutWriter, origin: ConnectionOrigin) {
    writer.u64(origin.server.0);
    writer.u64(origin.connection);
}

fn read_origin(reader: &mut LayoutReader<'_>) -> Result<ConnectionOrigin, LayoutError> {
    Ok(ConnectionOrigin {
        server: ServerId(reader.u64("server")?),
        connection: reader.u64("connection")?,
    })
}

fn read_password(reader: &mut LayoutReader<'_>) -> Result<[u8; 16], LayoutError> {
    let bytes = reader.raw("password", 16)?;
    bytes.try_into().map_err(|_| LayoutError::Invalid { field: "password" })
}

fn write_identity(writer: &mut LayoutWriter, identity: &Identity) {
    writer.text(&identity.name);
    writer.list(identity.proofs.iter(), |writer, (scheme, id)| {
        writer.text(scheme);
        writer.text(id);
    });
}

fn read_identity(reader: &mut LayoutReader<'_>) -> Result<Identity, LayoutError> {
    let name = reader.text("identity")?;
    let proofs = reader.list("proofs", |reader| -> Result<(String, String), LayoutError> {
        Ok((reader.text("scheme")?, reader.text("id")?))
    })?;
    Ok(Identity { name, proofs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use quorate_types::{Operation, ZnodePath};

    fn messages() -> Vec<Message> {
        let entry = |index, kind| Entry {
            index: Index(index),
            term: Term(3),
            kind,
            payload: Arc::from(&b"payload"[..]),
        };
        let (term, last_index, last_term) = (Term(4), Index(9), Term(3));
        vec![
            Message::PreVote(PreVote {
                term,
                last_index,
                last_term,
                commit: Index(8),
                commit_term: Term(2),
            }),
            Message::PreVoteReply(PreVoteReply {
                term,
                asked_in: Term(3),
                granted: true,
                commit: Index(8),
                commit_term: Term(2),
            }),
            Message::Vote(Vote { term, last_index, last_term, transfer: true }),
            Message::VoteReply(VoteReply { term, granted: false }),
            Message::Append(Append {
                term,
                session: 7,
                previous_index: Index(8),
                previous_term: Term(3),
                commit: Index(8),
                entries: vec![
                    entry(9, EntryKind::Empty),
                    entry(10, EntryKind::Command),
                    entry(11, EntryKind::Membership),
                ],
            }),
            Message::AppendReply(AppendReply {
                term,
                session: 7,
                life: 5,
                outcome: AppendOutcome::Accepted { matched: Index(11) },
            }),
            Message::AppendReply(AppendReply {
                term,
                session: 7,
                life: 5,
                outcome: AppendOutcome::Rejected {
                    previous: Index(8),
                    hint_index: Index(6),
                    hint_term: Term(2),
                },
            }),
            Message::Heartbeat(Heartbeat { term, session: 7, life: 5, commit: Index(8), round: 2 }),
            Message::HeartbeatReply(HeartbeatReply { term, session: 7, life: 5, round: 2 }),
            Message::ReadIndex(ReadIndex { term, request: 12 }),
            Message::ReadIndexReply(ReadIndexReply { term, request: 12, index: Some(Index(8)) }),
            Message::ReadIndexReply(ReadIndexReply { term, request: 12, index: None }),
            Message::TimeoutNow(TimeoutNow { term }),
        ]
    }

    fn requests() -> Vec<Request> {
        let identity = Identity {
            name: String::from("client/ann"),
            proofs: vec![(String::from("ip"), String::from("127.0.0.1"))],
        };
        let origin = ConnectionOrigin { server: ServerId(2), connection: 77 };
        let path = ZnodePath::parse("/a").unwrap();
        vec![
            Request::Client {
                session: SessionId(5),
                epoch: Zxid(6),
                sequence: 7,
                oldest_unreplied: 3,
                acknowledged: vec![4, 5],
                identity: identity.clone(),
                operation: Operation::Delete { path, expected_version: Some(1) },
            },
            Request::OpenSession {
                origin,
                password: [7; 16],
                timeout_ms: 4_000,
                identity: identity.clone(),
            },
            Request::AttachSession { origin, session: SessionId(5), password: [8; 16], identity },
        ]
    }

    #[test]
    fn messages_and_requests_read_back_as_they_were() {
        for message in messages() {
            assert_eq!(decode_message(&encode_message(&message)), Ok(message));
        }
        for request in requests() {
            let bytes = encode_forward(Term(3), &request);
            assert_eq!(decode_forward(&bytes), Ok((Term(3), request)));
        }
    }

    #[test]
    fn cut_bytes_are_refused() {
        for message in messages() {
            let bytes = encode_message(&message);
            for length in 0..bytes.len() {
                assert!(decode_message(&bytes[..length]).is_err(), "{message:?} cut at {length}");
            }
        }
        for request in requests() {
            let bytes = encode_forward(Term(3), &request);
            for length in 0..bytes.len() {
                assert!(decode_forward(&bytes[..length]).is_err(), "{request:?} cut at {length}");
            }
        }
    }
}
