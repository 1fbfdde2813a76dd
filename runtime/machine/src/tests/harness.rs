//! A leader with an overlay, and a follower that verifies every call before it applies it.

use super::scripted::Scripted;
use crate::applied::{Applied, AppliedReply};
use crate::machine::{Machine, Verdict};
use crate::outstanding::Outstanding;
use crate::request::{ConnectionOrigin, Identity, Prepared, RecipeCall, Request, Stamp};
use crate::transaction::Transaction;
use alloc::collections::VecDeque;
use alloc::string::String;
use bytes::Bytes;
use quorate_types::limits::Limits;
use quorate_types::request::CreateMode;
use quorate_types::{
    ComponentDigest, ErrorCode, Operation, Outcome, Refusal, Reply, ServerId, SessionId, Stat,
    ZnodePath, Zxid,
};
use sha2::{Digest, Sha256};

pub(super) const ORIGIN: ConnectionOrigin = ConnectionOrigin { server: ServerId(1), connection: 1 };
pub(super) const PASSWORD: [u8; 16] = [7; 16];

pub(super) fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).unwrap()
}

/// A client's side of a session.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) session: SessionId,
    pub(super) epoch: Zxid,
    pub(super) sequence: u64,
    pub(super) name: String,
}

pub(super) struct Harness {
    pub(super) machine: Machine,
    pub(super) follower: Machine,
    pub(super) outstanding: Outstanding,
    pub(super) executor: Scripted,
    pub(super) queue: VecDeque<(Zxid, Transaction)>,
    pub(super) zxid: Zxid,
    pub(super) time_ms: u64,
}

impl Harness {
    pub(super) fn new() -> Harness {
        let machine = Machine::with_limits(Limits::TESTED);
        Harness {
            follower: machine.clone(),
            machine,
            outstanding: Outstanding::new(),
            executor: Scripted::default(),
            queue: VecDeque::new(),
            zxid: Zxid(0),
            time_ms: 1_000,
        }
    }

    /// Prepares a request; a transaction goes through its bytes into the queue.
    pub(super) fn submit(&mut self, request: Request) -> Prepared {
        let stamp = Stamp { zxid: self.zxid.next(), time_ms: self.time_ms };
        let prepared = self.outstanding.prepare(&self.machine, &mut self.executor, stamp, request);
        if let Prepared::Transaction(transaction) = &prepared {
            self.zxid = stamp.zxid;
            let read = Transaction::decode(&transaction.encode()).unwrap();
            assert_eq!(read, *transaction);
            self.queue.push_back((stamp.zxid, read));
        }
        prepared
    }

    /// Applies the oldest transaction of the queue on both machines.
    pub(super) fn apply_one(&mut self) -> Applied {
        let (zxid, transaction) = self.queue.pop_front().unwrap();
        let verdict = self.follower.verify(&mut self.executor, zxid, &transaction);
        let is_call = transaction.call.is_some();
        let expected = if is_call { Verdict::Agrees } else { Verdict::NotACall };
        assert_eq!(verdict, expected);
        let applied = self.machine.apply(zxid, &transaction);
        assert_eq!(self.follower.apply(zxid, &transaction), applied);
        self.outstanding.applied(zxid);
        self.check();
        applied
    }

    /// The digests follow the state, on both machines and through an image.
    pub(super) fn check(&self) {
        assert_eq!(self.machine.digest(), self.follower.digest());
        let tables = &self.machine.tables;
        assert_eq!(tables.digest(), tables.recomputed_digest());
        if self.queue.is_empty() {
            assert_eq!(self.outstanding.entry_count(), 0);
        }
    }

    /// Prepares and applies at once: what the request's own origin is told, and all else.
    pub(super) fn perform(&mut self, request: Request) -> (Prepared, Applied) {
        let prepared = self.submit(request);
        let mut applied = Applied::default();
        while !self.queue.is_empty() {
            applied = self.apply_one();
        }
        (prepared, applied)
    }

    pub(super) fn open(&mut self, name: &str) -> Client {
        let identity = Identity::named(name);
        let (origin, password, timeout_ms) = (ORIGIN, PASSWORD, 5_000);
        let request = Request::OpenSession { origin, password, timeout_ms, identity };
        let (_, applied) = self.perform(request);
        let grant = applied.connections[0].outcome.clone().unwrap();
        assert_eq!(applied.sessions_opened, [grant.session]);
        let name = name.into();
        Client { session: grant.session, epoch: grant.epoch, sequence: 0, name }
    }

    pub(super) fn close(&mut self, client: &mut Client) -> Applied {
        let (prepared, applied) = self.perform(client.request(Operation::CloseSession));
        assert!(matches!(prepared, Prepared::Transaction(_)), "{prepared:?}");
        applied
    }

    pub(super) fn ask_all(
        &mut self,
        client: &mut Client,
        operation: Operation,
    ) -> (Outcome, Applied) {
        let request = client.request(operation);
        let (prepared, applied) = self.perform(request);
        match prepared {
            Prepared::Answer(outcome) => (outcome, applied),
            Prepared::Transaction(transaction) => {
                let own = AppliedReply {
                    session: client.session,
                    sequence: client.sequence,
                    outcome: transaction.reply.clone().unwrap_or(Ok(Reply::Done)),
                };
                assert!(transaction.reply.is_none() || applied.replies.contains(&own));
                let found = applied.replies.iter().rev().find(|reply| {
                    reply.session == client.session && reply.sequence == client.sequence
                });
                (found.unwrap().outcome.clone(), applied)
            }
            other => unreachable!("{other:?}"),
        }
    }

    /// Asks for what is refused: the refusal is on record and changes nothing.
    pub(super) fn ask_refused(&mut self, client: &mut Client, operation: Operation) -> Outcome {
        let (prepared, _) = self.perform(client.request(operation));
        let Prepared::Transaction(transaction) = prepared else { unreachable!("{prepared:?}") };
        assert_eq!(transaction.changes, []);
        transaction.reply.unwrap()
    }

    pub(super) fn ask(&mut self, client: &mut Client, operation: Operation) -> Outcome {
        self.ask_all(client, operation).0
    }

    pub(super) fn call(&mut self, client: &mut Client, object: &str, operation: &str) -> Outcome {
        self.ask(client, call(object, operation, &[]))
    }

    pub(super) fn query(&mut self, object: &str, operation: &str) -> Outcome {
        let identity = Identity::named("reader");
        let object = path(object);
        let session = SessionId(1);
        let call =
            RecipeCall { object: &object, operation, arguments: &[], session, identity: &identity };
        self.machine.query(&mut self.executor, call)
    }

    pub(super) fn fire_due(&mut self) -> (Prepared, Applied) {
        self.perform(Request::FireDue)
    }

    pub(super) fn stat(&self, text: &str) -> Option<Stat> {
        let operation = Operation::Exists { path: path(text), watch: false };
        match self.machine.read(&Identity::named("reader"), &operation) {
            Ok(Reply::Exists(stat)) => stat,
            other => unreachable!("{other:?}"),
        }
    }

    pub(super) fn children(&self, text: &str) -> alloc::vec::Vec<String> {
        let (after, limit, watch) = (None, None, false);
        let operation = Operation::Children { path: path(text), after, limit, watch };
        match self.machine.read(&Identity::named("reader"), &operation) {
            Ok(Reply::Children(names, false, _)) => names,
            other => unreachable!("{other:?}"),
        }
    }

    /// Uploads and installs a component; the seed's lowest bit is its state version.
    pub(super) fn install(&mut self, client: &mut Client, seed: u8) -> ComponentDigest {
        let digest = component(seed).0;
        assert_eq!(self.ask(client, upload(seed)), Ok(Reply::Uploaded(8)));
        let installed = self.ask(client, Operation::InstallRecipe { digest, signature: None });
        assert!(matches!(installed, Ok(Reply::Installed(_))), "{installed:?}");
        digest
    }

    pub(super) fn mount(&mut self, client: &mut Client, text: &str, open: bool) -> ComponentDigest {
        let digest = self.install(client, 0);
        assert_eq!(self.ask(client, mount(text, digest, open)), Ok(Reply::Done));
        digest
    }
}

impl Client {
    /// The next request of the session; everything before it is acknowledged only when told.
    pub(super) fn request(&mut self, operation: Operation) -> Request {
        self.sequence += 1;
        self.repeat(operation)
    }

    /// The last request again.
    pub(super) fn repeat(&self, operation: Operation) -> Request {
        Request::Client {
            session: self.session,
            epoch: self.epoch,
            sequence: self.sequence,
            oldest_unreplied: 0,
            acknowledged: alloc::vec![],
            identity: Identity::named(self.name.clone()),
            operation,
        }
    }
}

/// A component whose digest begins with a byte of the parity of `seed`, and its bytes.
pub(super) fn component(seed: u8) -> (ComponentDigest, [u8; 8]) {
    let mut number = u64::from(seed) << 32;
    loop {
        let bytes = number.to_be_bytes();
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        if digest[0] & 1 == seed & 1 {
            return (ComponentDigest(digest), bytes);
        }
        number += 1;
    }
}

pub(super) fn upload(seed: u8) -> Operation {
    let (digest, bytes) = component(seed);
    let bytes = Bytes::copy_from_slice(&bytes);
    Operation::UploadComponent { digest, total_bytes: 8, offset: 0, bytes, signature: None }
}

pub(super) fn mount(text: &str, digest: ComponentDigest, open: bool) -> Operation {
    let config = Bytes::from_static(b"\xa0");
    Operation::Mount { path: path(text), digest, config, open, fuel: None }
}

pub(super) fn call(object: &str, operation: &str, arguments: &[u8]) -> Operation {
    Operation::Call {
        object: path(object),
        operation: operation.into(),
        arguments: Bytes::copy_from_slice(arguments),
    }
}

pub(super) fn create(text: &str, mode: CreateMode) -> Operation {
    Operation::Create { path: path(text), data: "x".into(), mode, acl: None }
}

pub(super) fn delete(text: &str) -> Operation {
    Operation::Delete { path: path(text), expected_version: None }
}

pub(super) fn set(text: &str, data: &'static [u8], expected_version: Option<i32>) -> Operation {
    Operation::SetData { path: path(text), data: data.into(), expected_version }
}

pub(super) fn code(outcome: &Outcome) -> Option<ErrorCode> {
    outcome.as_ref().err().map(|refusal: &Refusal| refusal.code)
}
