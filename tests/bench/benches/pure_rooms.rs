//! What one request costs in each pure room, without disk, network or clock.
//!
//! Comes in: nothing. Goes out: criterion's report. Must never assert on time.

use criterion::{Criterion, criterion_group, criterion_main};
use quorate_machine::{
    ConnectionOrigin, Identity, Machine, NoRecipes, Outstanding, Prepared, Request, Stamp,
};
use quorate_raft::{
    Entry, EntryKind, HardState, Index, Membership, Raft, ReplicaId, Role, Settings, SnapshotMark,
    Start, Term,
};
use quorate_storage::{Log, LogBatch, LogSettings, ServerIdentity};
use quorate_types::request::{CreateMode, ReadLevel};
use quorate_types::{Incarnation, Operation, ServerId, SessionId, ZnodeData, ZnodePath, Zxid};
use quorate_wire::native::{ClientFrame, FrameBuffer, encode_client};
use std::hint::black_box;
use std::sync::Arc;

const DATA_BYTES: usize = 256;

/// A leader's machine with one session.
struct Leader {
    machine: Machine,
    outstanding: Outstanding,
    zxid: Zxid,
    session: SessionId,
    epoch: Zxid,
}

impl Leader {
    fn new() -> Leader {
        let mut leader = Leader {
            machine: Machine::new(),
            outstanding: Outstanding::new(),
            zxid: Zxid(0),
            session: SessionId(0),
            epoch: Zxid(0),
        };
        leader.perform(Request::OpenSession {
            origin: ConnectionOrigin { server: ServerId(1), connection: 1 },
            password: [0; 16],
            timeout_ms: 10_000,
            identity: Identity::named("bench"),
        });
        let opened = leader.machine.sessions();
        leader.session = opened[0].session;
        leader.epoch = opened[0].epoch;
        leader
    }

    /// Prepares and applies one request, as a leader alone would.
    fn perform(&mut self, request: Request) {
        self.zxid = self.zxid.next();
        let stamp = Stamp { zxid: self.zxid, time_ms: self.zxid.0 };
        let prepared = self.outstanding.prepare(&self.machine, &mut NoRecipes, stamp, request);
        let Prepared::Transaction(transaction) = prepared else {
            panic!("a transaction was expected: {prepared:?}");
        };
        black_box(self.machine.apply(self.zxid, &transaction));
        self.outstanding.applied(self.zxid);
    }

    fn request(&mut self, operation: Operation) {
        let sequence = self.zxid.0 + 1;
        self.perform(Request::Client {
            session: self.session,
            epoch: self.epoch,
            sequence,
            oldest_unreplied: sequence,
            acknowledged: Vec::new(),
            identity: Identity::named("bench"),
            operation,
        });
    }
}

fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).expect("the paths here are well formed")
}

fn data() -> ZnodeData {
    vec![b'x'; DATA_BYTES].into()
}

fn create(text: &str, mode: CreateMode) -> Operation {
    Operation::Create { path: path(text), data: data(), mode, acl: None }
}

fn machine(criterion: &mut Criterion) {
    let mut leader = Leader::new();
    leader.request(create("/set", CreateMode::Persistent));
    let set = Operation::SetData { path: path("/set"), data: data(), expected_version: None };
    criterion.bench_function("machine: set, prepare and apply", |bencher| {
        bencher.iter(|| leader.request(set.clone()));
    });
    leader.request(create("/queue", CreateMode::Persistent));
    let sequential = create("/queue/item-", CreateMode::PersistentSequential);
    criterion.bench_function("machine: sequential create, prepare and apply", |bencher| {
        bencher.iter(|| leader.request(sequential.clone()));
    });
}

/// Three replicas whose messages and writes arrive at once.
struct Trio {
    replicas: Vec<Raft>,
    now_ms: u64,
}

impl Trio {
    fn new() -> Trio {
        let ids = [1, 2, 3].map(ReplicaId);
        let snapshot =
            SnapshotMark { index: Index(0), term: Term(0), membership: Membership::of_voters(ids) };
        let start = Start {
            hard_state: HardState::default(),
            snapshot,
            entries: Vec::new(),
            refetching: false,
        };
        let replicas: Vec<Raft> =
            ids.iter().map(|id| Raft::new(Settings::new(*id, id.0), start.clone(), 0)).collect();
        let mut trio = Trio { replicas, now_ms: 0 };
        while !trio.replicas.iter().any(|replica| replica.role() == Role::Leader) {
            trio.now_ms += 10;
            for replica in &mut trio.replicas {
                replica.tick(trio.now_ms);
            }
            trio.settle();
        }
        trio
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for position in 0..self.replicas.len() {
                quiet &= !self.drain(position);
            }
            if quiet {
                return;
            }
        }
    }

    fn drain(&mut self, position: usize) -> bool {
        let from = self.replicas[position].id();
        let output = self.replicas[position].take_output();
        let moved = output.write.is_some() || !output.messages.is_empty();
        if let Some(write) = output.write {
            self.replicas[position].durable(write.sequence);
        }
        if let Some(index) = output.apply_to {
            self.replicas[position].applied(index);
        }
        for (to, message) in output.messages {
            let receiver = self.replicas.iter_mut().find(|replica| replica.id() == to);
            let receiver = receiver.expect("only members are written to");
            receiver.receive(self.now_ms, from, message).expect("honest peers break no rule");
        }
        moved
    }

    fn commit(&mut self, payload: &Arc<[u8]>) {
        let leader = self.replicas.iter_mut().find(|replica| replica.role() == Role::Leader);
        let leader = leader.expect("one leads");
        let term = leader.term();
        leader.propose(vec![Arc::clone(payload)], term).expect("the leader takes proposals");
        self.settle();
    }
}

fn raft(criterion: &mut Criterion) {
    let mut trio = Trio::new();
    let payload: Arc<[u8]> = Arc::from(vec![b'x'; DATA_BYTES]);
    criterion.bench_function("raft: propose to applied on three replicas", |bencher| {
        bencher.iter(|| trio.commit(&payload));
    });
}

fn storage(criterion: &mut Criterion) {
    let identity = ServerIdentity { cluster: 1, server: ServerId(1), incarnation: Incarnation(1) };
    let membership = Membership::of_voters([ReplicaId(1)]);
    let settings = LogSettings { segment_bytes: 16 << 20 };
    let (mut log, _) = Log::create(settings, identity, &membership);
    let mut index = 0;
    let payload: Arc<[u8]> = Arc::from(vec![b'x'; DATA_BYTES]);
    criterion.bench_function("storage: frame one entry", |bencher| {
        bencher.iter(|| {
            index += 1;
            let entry = Entry {
                index: Index(index),
                term: Term(1),
                kind: EntryKind::Command,
                payload: Arc::clone(&payload),
            };
            let entries = [entry];
            let first = HardState { term: Term(1), vote: None };
            let hard_state = (index == 1).then_some(first);
            let batch = LogBatch { hard_state, entries: &entries, ..LogBatch::default() };
            black_box(log.append(&batch))
        });
    });
}

fn wire(criterion: &mut Criterion) {
    let frame = ClientFrame::Request {
        sequence: 1,
        oldest_unreplied: 1,
        acknowledged: Vec::new(),
        level: ReadLevel::Linearizable,
        operation: create("/a/b", CreateMode::Persistent),
    };
    criterion.bench_function("wire: encode and decode a request", |bencher| {
        bencher.iter(|| {
            let mut buffer = FrameBuffer::new();
            buffer.push(&encode_client(black_box(&frame)));
            black_box(buffer.next_client(1 << 20)).expect("the frame is well formed")
        });
    });
}

criterion_group!(benches, machine, raft, storage, wire);
criterion_main!(benches);
