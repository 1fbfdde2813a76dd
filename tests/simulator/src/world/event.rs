//! What is on its way in the world.
//!
//! Data only. A `run` names one life of a server's process and a `life` one of a client's: what was
//! meant for an earlier one is void.

use quorate_machine::Machine;
use quorate_replica::SnapshotMark;
use quorate_storage::DiskOperation;
use quorate_types::ComponentDigest;
use std::collections::VecDeque;

pub(crate) enum Event {
    Wake {
        server: u64,
        run: u64,
        at_ms: u64,
    },
    /// The frames that came together are handled.
    Gathered {
        server: u64,
        run: u64,
    },
    Resume {
        server: u64,
        run: u64,
    },
    Disk {
        server: u64,
        run: u64,
    },
    SaveSnapshot {
        server: u64,
        run: u64,
        save: Box<SnapshotSave>,
    },
    LoadSnapshot {
        server: u64,
        run: u64,
        file: String,
        index: u64,
    },
    Compile {
        server: u64,
        run: u64,
        digest: ComponentDigest,
    },
    PeerBytes {
        from: u64,
        to: u64,
        generation: u64,
        bytes: Vec<u8>,
    },
    Dial {
        between: (u64, u64),
    },
    LinkIdle {
        between: (u64, u64),
        generation: u64,
    },
    Release {
        between: (u64, u64),
        generation: u64,
    },
    ClientWake {
        client: usize,
        life: u32,
        at_ms: u64,
    },
    ClientSpeaks {
        client: usize,
        life: u32,
    },
    ToServer {
        connection: u64,
        what: Carried,
    },
    ToClient {
        connection: u64,
        what: Carried,
    },
    ConnectionIdle {
        connection: u64,
    },
    /// The task of a ZooKeeper client's connection looks at what has come.
    Door {
        connection: u64,
    },
}

/// A snapshot on its way to the disk.
#[expect(clippy::large_enum_variant, reason = "events hold it in a box")]
pub(crate) enum SnapshotSave {
    /// To be encoded.
    State { mark: SnapshotMark, machine: Machine },
    /// Encoded; these steps are left.
    Steps { index: u64, steps: VecDeque<DiskOperation> },
}

/// What a client's connection carries.
#[derive(Clone)]
pub(crate) enum Carried {
    /// The handshake, there or back.
    Opened,
    Bytes(Vec<u8>),
    Closed,
}

impl Event {
    /// A number for each kind, for the sum over a run.
    pub(crate) fn kind(&self) -> u64 {
        match self {
            Event::Wake { server, .. } => 0x100 + server,
            Event::Gathered { server, .. } => 0x200 + server,
            Event::Resume { server, .. } => 0x300 + server,
            Event::Disk { server, .. } => 0x400 + server,
            Event::SaveSnapshot { server, .. } => 0x500 + server,
            Event::LoadSnapshot { server, .. } => 0x600 + server,
            Event::Compile { server, .. } => 0x700 + server,
            Event::PeerBytes { from, to, .. } => 0x800 + from * 16 + to,
            Event::Dial { between } => 0x900 + between.0 * 16 + between.1,
            Event::LinkIdle { between, .. } => 0xa00 + between.0 * 16 + between.1,
            Event::ClientWake { client, .. } => 0xb00 + *client as u64,
            Event::ClientSpeaks { client, .. } => 0xc00 + *client as u64,
            Event::ToServer { .. } => 0xd00,
            Event::ToClient { .. } => 0xe00,
            Event::ConnectionIdle { .. } => 0xf00,
            Event::Release { .. } => 0x1000,
            Event::Door { .. } => 0x1100,
        }
    }
}
