//! What one ZooKeeper client says, in quorate's words, and what it is told, in ZooKeeper's.
//!
//! Comes in: the client's frames, and the frames that the replica has for it. Goes out: steps for the
//! replica, as a native client's would be, and bytes for the client. It is run beside the replica, one
//! for each connection. Invariant: replies leave in the order of the requests, whoever answers them;
//! no request is given to the replica twice, for a ZooKeeper client never repeats one: a write whose
//! connection breaks may have been done or not, and the client is told so by the break. Must never
//! judge what the machine judges: versions, ACLs, what is there.

mod ask;
mod reconfig;
mod tell;

#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use ask::{Asked, Step as Turn};
use bytes::Bytes;
use core::fmt;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::{ErrorCode, Outcome, Refusal, Reply, SessionId, Zxid};
use quorate_wire::native::{ClientFrame, PROTOCOL, Resume, ServerFrame};
use quorate_wire::zookeeper::{
    self as wire, ConnectRequest, ConnectResponse, DecodeError, Opcode, Request, RequestHeader,
    Secret, ZooKeeperError, decode_connect_request, decode_request_header, encode_connect_response,
    encode_error, encode_reply, encode_sasl_refusal, xid,
};
use tell::Shape;

/// Bits of a write's number for the writes of one connection. Above them is how many transactions after
/// the session was opened it was attached: numbers of two connections never meet, for each counts from
/// its own transaction, and they stay small where zxids began high, above those of another cluster.
const WRITE_BITS: u32 = 20;
/// Numbers of reads, which the replica forgets with the connection, are above those of all writes.
const FIRST_READ: u64 = 1 << 63;

/// What the replica is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A frame as a native client would send it.
    Frame(ClientFrame),
    /// The client shows a proof of an identity. Whoever checks it says [`Conversation::proved`] or
    /// [`Conversation::unproved`] before the next frame is taken.
    Prove {
        /// How.
        scheme: String,
        /// The proof.
        proof: Bytes,
    },
    /// A step of SASL. Whoever takes it says [`Conversation::challenge`] or
    /// [`Conversation::unproved_by_sasl`] before the next frame is taken.
    Sasl {
        /// Of the request, for the answer.
        xid: i32,
        /// The client's token.
        token: Bytes,
    },
}

/// An identity that a client has proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// How.
    pub scheme: String,
    /// What ACLs call it.
    pub id: String,
    /// What the client is shown of it.
    pub name: String,
}

impl Proved {
    /// An administrator, whom ACLs do not bind: ZooKeeper's scheme `super`.
    #[must_use]
    pub fn administrator() -> Proved {
        Proved { scheme: String::from("super"), id: String::new(), name: String::new() }
    }

    /// Somebody at this IP address.
    #[must_use]
    pub fn address(address: &str) -> Proved {
        let (id, name) = (String::from(address), String::from(address));
        Proved { scheme: String::from("ip"), id, name }
    }
}

/// Why a conversation is over: write what there is to write and close the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed its session.
    Closed,
    /// There is no session for the client, here or anywhere.
    NoSession(Refusal),
    /// The client sent what no ZooKeeper client sends.
    Undecodable(DecodeError),
    /// The client asked for what no client may ask for.
    Improper,
    /// A proof of identity is wrong.
    Unproved,
    /// The client has seen transactions that this cluster has not made: it comes from another.
    FromElsewhere {
        /// What the client has seen.
        seen: Zxid,
        /// The newest here.
        newest: Zxid,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed => f.write_str("the client closed its session"),
            End::NoSession(refusal) => write!(f, "no session: {refusal}"),
            End::Undecodable(error) => write!(f, "the client sent no request: {error}"),
            End::Improper => f.write_str("the client asked for what no client may ask for"),
            End::Unproved => f.write_str("the client could not prove its identity"),
            End::FromElsewhere { seen, newest } => {
                write!(f, "the client has seen transaction {seen}, and the newest here is {newest}")
            }
        }
    }
}

impl core::error::Error for End {}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> End {
        End::Undecodable(error)
    }
}

/// A request whose reply has not left.
#[derive(Debug)]
struct Pending {
    xid: i32,
    shape: Shape,
    /// Of the request.
    bytes: usize,
    /// Its number within the session; `None`: it was answered here.
    sequence: Option<u64>,
    outcome: Option<(Zxid, Outcome)>,
}

/// A session as its connection knows it.
#[derive(Clone, Copy, Debug)]
struct Attached {
    next_write: u64,
    next_read: u64,
    /// The first write whose reply has not left, or the next one. Replies leave in order.
    oldest_write: u64,
    /// Whether the server only reads.
    reads_only: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing came yet.
    Opened,
    /// A session is asked for. `knows_reading`: the client has said whether a server that only reads will
    /// do, and the answer tells it whether this one does.
    Connecting {
        seen: Zxid,
        knows_reading: bool,
    },
    Attached(Attached),
    Over,
}

/// One connection of a ZooKeeper client.
#[derive(Debug)]
pub struct Conversation {
    state: State,
    pending: VecDeque<Pending>,
    /// Bytes of the requests in `pending`.
    pending_bytes: usize,
    /// The newest transaction that the client was told of.
    zxid: Zxid,
    /// The newest transaction that a reply has named. Clients take each reply's as the newest that they
    /// have seen: one that went back would let another server show them an older tree.
    replied: Zxid,
    /// Proved identities, in the order they were proved.
    proved: Vec<Proved>,
    /// Whether members may be changed by `reconfig`.
    reconfigures: bool,
    /// Events that wait for a reply.
    #[cfg(feature = "planted-bugs")]
    late: Vec<quorate_types::request::WatchEvent>,
}

impl Conversation {
    /// With a client that its connection proves to be these, its address among them. `reconfigures`:
    /// whether members may be changed by `reconfig`, by whoever may write `/zookeeper/config`.
    #[must_use]
    pub fn new(proved: Vec<Proved>, reconfigures: bool) -> Conversation {
        Conversation {
            state: State::Opened,
            pending: VecDeque::new(),
            pending_bytes: 0,
            zxid: Zxid(0),
            replied: Zxid(0),
            proved,
            reconfigures,
            #[cfg(feature = "planted-bugs")]
            late: Vec::new(),
        }
    }

    /// Requests without a reply.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether a frame may be taken: not while the handshake waits for its answer or a `sync` for its
    /// own, nor while there are so many requests, or so many bytes of them, without a reply. Whoever
    /// reads from the client waits. A write taken while a `sync` waits could be done before it, and
    /// reads between the two would show it: in ZooKeeper a client's requests are done in their order.
    #[must_use]
    pub fn takes_frames(&self, requests_max: usize, bytes_max: usize) -> bool {
        let is_connecting = matches!(self.state, State::Connecting { .. });
        let newest = self.pending.back().map(|pending| &pending.shape);
        let is_syncing = matches!(newest, Some(Shape::Given(_)));
        #[cfg(feature = "planted-bugs")]
        let is_syncing = is_syncing && !is_planted(PlantedBug::SyncOvertaken);
        !is_connecting
            && !is_syncing
            && self.pending.len() < requests_max
            && self.pending_bytes < bytes_max
    }

    /// Takes a frame of the client, without its length.
    ///
    /// # Errors
    /// The conversation is over.
    pub fn on_frame(&mut self, frame: &Bytes, out: &mut Vec<u8>) -> Result<Option<Step>, End> {
        match &mut self.state {
            State::Opened => self.on_connect(decode_connect_request(frame)?).map(Some),
            // Not taken before its time: see `takes_frames`.
            State::Connecting { .. } => Err(self.end(End::Improper)),
            State::Attached(_) => self.on_request(frame, out),
            State::Over => Err(End::Closed),
        }
    }

    fn on_connect(&mut self, request: ConnectRequest) -> Result<Step, End> {
        let seen = Zxid(u64::try_from(request.last_zxid_seen).unwrap_or(0));
        self.state = State::Connecting { seen, knows_reading: request.read_only.is_some() };
        let password = request.password.0.unwrap_or_default();
        let resume = (request.session_id != 0).then(|| Resume {
            session: SessionId(request.session_id.cast_unsigned()),
            // One of another length is nobody's.
            password: <[u8; 16]>::try_from(&password[..]).unwrap_or_default(),
        });
        let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0);
        Ok(Step::Frame(ClientFrame::Connect {
            protocol: PROTOCOL,
            resume,
            timeout_ms,
            last_seen: seen,
            read_only: request.read_only.unwrap_or(false),
        }))
    }

    fn on_request(&mut self, frame: &Bytes, out: &mut Vec<u8>) -> Result<Option<Step>, End> {
        let (RequestHeader { xid, opcode }, mut reader) = decode_request_header(frame)?;
        let turn = match Request::read(opcode, &mut reader) {
            _ if self.only_reads() && ask::is_write(opcode) => ask::refused(ErrorCode::ReadOnly),
            Ok(request) => ask::turn(request, self.reconfigures),
            // As in ZooKeeper, which reads these before it gives a request its place in line.
            Err(error) if opcode == Opcode::Auth.number() => return Err(error.into()),
            Err(_) => ask::unreadable(),
        };
        match turn {
            Turn::Ask(asked) => Ok(Some(self.ask((xid, frame.len()), *asked))),
            Turn::Answer(shape, outcome) => {
                self.answer_here((xid, frame.len()), shape, outcome, out);
                Ok(None)
            }
            #[cfg(feature = "planted-bugs")]
            Turn::Heartbeat if is_planted(PlantedBug::PingKeptFromReplica) => {
                encode_reply(out, xid::PING, tell::number_of(self.zxid), &wire::Reply::Empty);
                Ok(None)
            }
            Turn::Heartbeat => Ok(Some(Step::Frame(ClientFrame::Heartbeat))),
            Turn::Prove { scheme, proof } => Ok(Some(Step::Prove { scheme, proof })),
            Turn::Sasl { token } => Ok(Some(Step::Sasl { xid, token })),
            Turn::WhoAmI => {
                let shown = |proved: &Proved| (proved.scheme.clone(), proved.name.clone());
                let shape = Shape::WhoAmI(self.proved.iter().map(shown).collect());
                self.answer_here((xid, frame.len()), shape, Ok(Reply::Done), out);
                Ok(None)
            }
            Turn::Improper => {
                encode_error(out, xid, tell::number_of(self.zxid), ZooKeeperError::Unimplemented);
                Err(self.end(End::Improper))
            }
        }
    }

    fn only_reads(&self) -> bool {
        matches!(self.state, State::Attached(Attached { reads_only: true, .. }))
    }

    /// What needs no replica is answered at its turn too.
    fn answer_here(
        &mut self,
        (xid, bytes): (i32, usize),
        shape: Shape,
        outcome: Outcome,
        out: &mut Vec<u8>,
    ) {
        let outcome = Some((self.zxid, outcome));
        self.line_up(Pending { xid, shape, bytes, sequence: None, outcome });
        self.tell_ready(out);
    }

    fn line_up(&mut self, pending: Pending) {
        self.pending_bytes += pending.bytes;
        self.pending.push_back(pending);
    }

    fn end(&mut self, end: End) -> End {
        self.state = State::Over;
        end
    }

    /// Gives a request its number and its place in line.
    fn ask(&mut self, (xid, bytes): (i32, usize), asked: Asked) -> Step {
        let Asked { level, operation, shape } = asked;
        let State::Attached(attached) = &mut self.state else {
            unreachable!("only an attached session asks")
        };
        let counter =
            if operation.is_write() { &mut attached.next_write } else { &mut attached.next_read };
        let sequence = *counter;
        *counter += 1;
        let oldest_unreplied = attached.oldest_write;
        #[cfg(feature = "planted-bugs")]
        let oldest_unreplied = match is_planted(PlantedBug::DoorAcknowledgesTooEarly) {
            true => attached.next_write - u64::from(operation.is_write()),
            false => oldest_unreplied,
        };
        let asked = Pending { xid, shape, bytes, sequence: Some(sequence), outcome: None };
        self.line_up(asked);
        Step::Frame(ClientFrame::Request {
            sequence,
            oldest_unreplied,
            acknowledged: Vec::new(),
            level,
            operation,
        })
    }

    /// Whether the frames taken are requests within a session.
    #[must_use]
    pub fn has_session(&self) -> bool {
        matches!(self.state, State::Attached(_))
    }

    /// Who the client has proved to be.
    #[must_use]
    pub fn identities(&self) -> &[Proved] {
        &self.proved
    }

    /// The proof asked about is good, for these identities.
    pub fn proved(&mut self, identities: &[Proved], out: &mut Vec<u8>) {
        self.note_proved(identities);
        encode_reply(out, xid::AUTH, 0, &wire::Reply::Empty);
    }

    /// The answer to a step of SASL, which may have proved identities.
    pub fn challenge(&mut self, xid: i32, token: Bytes, identities: &[Proved], out: &mut Vec<u8>) {
        self.note_proved(identities);
        encode_reply(out, xid, 0, &wire::Reply::Sasl(Secret(Some(token))));
    }

    fn note_proved(&mut self, identities: &[Proved]) {
        for identity in identities {
            if !self.proved.contains(identity) {
                self.proved.push(identity.clone());
            }
        }
    }

    /// The proof asked about is not good.
    pub fn unproved(&mut self, out: &mut Vec<u8>) -> End {
        encode_error(out, xid::AUTH, 0, ZooKeeperError::AuthFailed);
        self.end(End::Unproved)
    }

    /// The step of SASL asked about is not good. `xid`: of the request.
    pub fn unproved_by_sasl(&mut self, xid: i32, out: &mut Vec<u8>) -> End {
        encode_sasl_refusal(out, xid);
        self.end(End::Unproved)
    }

    /// Takes a frame that the replica has for this client.
    ///
    /// # Errors
    /// The conversation is over.
    pub fn on_server(&mut self, frame: ServerFrame, out: &mut Vec<u8>) -> Result<(), End> {
        match frame {
            ServerFrame::Connected { session, password, timeout_ms, zxid, read_only, .. } => {
                self.on_connected((session, password, timeout_ms), zxid, read_only, out)
            }
            ServerFrame::Refused(refusal) => Err(self.on_refused(refusal, out)),
            ServerFrame::Reply { sequence, zxid, outcome } => {
                self.on_reply(sequence, zxid, outcome, out)
            }
            ServerFrame::Watch(event) => {
                self.zxid = self.zxid.max(event.zxid);
                #[cfg(feature = "planted-bugs")]
                if is_planted(PlantedBug::NotificationAfterReply) && !self.pending.is_empty() {
                    self.late.push(event);
                    return Ok(());
                }
                tell::event(&event, out);
                Ok(())
            }
            ServerFrame::Heartbeat { zxid } => {
                self.zxid = self.zxid.max(zxid);
                encode_reply(out, xid::PING, tell::number_of(zxid), &wire::Reply::Empty);
                Ok(())
            }
            ServerFrame::Goodbye(refusal) => Err(self.end(End::NoSession(refusal))),
        }
    }

    fn on_connected(
        &mut self,
        (session, password, timeout_ms): (SessionId, [u8; 16], u32),
        zxid: Zxid,
        reads_only: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        let State::Connecting { seen, knows_reading } = self.state else { return Ok(()) };
        if seen > zxid {
            // ZooKeeper's rule: no answer, so that the client tries other servers.
            return Err(self.end(End::FromElsewhere { seen, newest: zxid }));
        }
        self.zxid = zxid;
        // A session's id is the transaction that opened it.
        let next_write = (zxid.0.saturating_sub(session.0) << WRITE_BITS) + 1;
        #[cfg(feature = "planted-bugs")]
        let next_write =
            if is_planted(PlantedBug::NumbersOfAttachmentsMeet) { 1 } else { next_write };
        self.state = State::Attached(Attached {
            next_write,
            next_read: FIRST_READ,
            oldest_write: next_write,
            reads_only,
        });
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
            session_id: session.0.cast_signed(),
            password: Secret(Some(Bytes::copy_from_slice(&password))),
            read_only: knows_reading.then_some(reads_only),
        };
        encode_connect_response(out, &response);
        Ok(())
    }

    /// A session that is gone is said to be gone; for anything else the client tries other servers.
    fn on_refused(&mut self, refusal: Refusal, out: &mut Vec<u8>) -> End {
        let is_gone = matches!(refusal.code, ErrorCode::SessionExpired | ErrorCode::SessionRefused);
        #[cfg(feature = "planted-bugs")]
        let is_gone = is_gone || is_planted(PlantedBug::EveryRefusalEndsSession);
        if let State::Connecting { knows_reading, .. } = self.state
            && is_gone
        {
            let response = ConnectResponse {
                protocol_version: 0,
                timeout_ms: 0,
                session_id: 0,
                password: Secret(Some(Bytes::from_static(&[0; 16]))),
                read_only: knows_reading.then_some(false),
            };
            encode_connect_response(out, &response);
        }
        self.end(End::NoSession(refusal))
    }

    fn on_reply(
        &mut self,
        sequence: u64,
        zxid: Zxid,
        outcome: Outcome,
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        self.zxid = self.zxid.max(zxid);
        // Whether a write was done is not known: ZooKeeper closes, and clients expect it.
        if let Err(refusal) = &outcome
            && refusal.code.is_transient()
            && refusal.code != ErrorCode::Overloaded
        {
            return Err(self.end(End::NoSession(refusal.clone())));
        }
        let waiting = |pending: &&mut Pending| pending.sequence == Some(sequence);
        if let Some(pending) = self.pending.iter_mut().find(waiting) {
            pending.outcome = Some((zxid, outcome));
        }
        self.tell_ready(out);
        if matches!(self.state, State::Over) { Err(End::Closed) } else { Ok(()) }
    }

    /// Tells the client what stands at the head of the line and is answered.
    fn tell_ready(&mut self, out: &mut Vec<u8>) {
        while let Some(ready) = self.next_ready() {
            let Pending { xid, shape, bytes, sequence, outcome: Some((zxid, outcome)) } = ready
            else {
                return;
            };
            self.pending_bytes -= bytes;
            if let (State::Attached(attached), Some(write @ 1..FIRST_READ)) =
                (&mut self.state, sequence)
            {
                attached.oldest_write = write + 1;
            }
            // What was answered here waited for its turn, and others were told newer things meanwhile.
            let is_older = sequence.is_none();
            #[cfg(feature = "planted-bugs")]
            let is_older = is_older && !is_planted(PlantedBug::OwnAnswerNamesOlder);
            let zxid = if is_older { zxid.max(self.replied) } else { zxid };
            #[cfg(feature = "planted-bugs")]
            let zxid = match sequence {
                Some(FIRST_READ..) if is_planted(PlantedBug::ReadNamesReplyBefore) => {
                    zxid.min(self.replied.max(Zxid(1)))
                }
                _ => zxid,
            };
            self.replied = self.replied.max(zxid);
            let closes = matches!(shape, Shape::Closed) && outcome.is_ok();
            tell::reply(out, (xid, zxid), &shape, &outcome);
            #[cfg(feature = "planted-bugs")]
            self.late.drain(..).for_each(|event| tell::event(&event, out));
            if closes {
                self.state = State::Over;
            }
        }
    }

    /// The request whose reply leaves next, if it may leave now.
    fn next_ready(&mut self) -> Option<Pending> {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::ReplyOutOfTurn) {
            let place = self.pending.iter().position(|pending| pending.outcome.is_some())?;
            return self.pending.remove(place);
        }
        self.pending.pop_front_if(|pending| pending.outcome.is_some())
    }
}
