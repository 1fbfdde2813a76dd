//! What crosses the edge of a replica: inputs with the time in, actions out.
//!
//! Data only: no callback, channel or future. The shell of a server and the simulator perform the
//! same actions. Invariant: an action describes everything needed to perform it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_machine::{Identity, Machine};
use quorate_raft::SnapshotMark;
use quorate_storage::DiskOperation;
use quorate_types::{ComponentDigest, Incarnation, MemberAddress, ServerId};
use quorate_wire::native::{ClientFrame, ServerFrame};
use quorate_wire::peer::PeerFrame;

/// The time of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back; only differences mean anything.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970 by this machine; may jump.
    pub wall_ms: u64,
}

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client's connection passed its handshake.
    ConnectionOpened {
        /// Never used before by this server, not even before a restart.
        connection: u64,
        /// Who the connection proved to be.
        identity: Identity,
        /// Fresh random bytes, for the password of a session.
        entropy: [u8; 16],
    },
    /// A client sent a frame.
    ClientFrame {
        /// On which connection.
        connection: u64,
        /// Decoded.
        frame: ClientFrame,
    },
    /// A client's connection proved one more identity. What it asks for from now on is asked under
    /// it too.
    ConnectionProved {
        /// Which connection.
        connection: u64,
        /// How.
        scheme: String,
        /// The identity under that scheme.
        id: String,
    },
    /// A client's connection is gone.
    ConnectionClosed {
        /// Which.
        connection: u64,
    },
    /// The connection to a peer passed its handshake.
    PeerConnected {
        /// Which member, by its certificate.
        peer: ServerId,
        /// Grows with every connection to this peer.
        generation: u64,
        /// The data directory the peer runs on.
        incarnation: Incarnation,
    },
    /// A peer sent a frame.
    PeerFrame {
        /// Which member.
        peer: ServerId,
        /// On which of its connections.
        generation: u64,
        /// Decoded.
        frame: PeerFrame,
    },
    /// The connection to a peer is gone.
    PeerDisconnected {
        /// Which member.
        peer: ServerId,
        /// Which of its connections.
        generation: u64,
    },
    /// Every operation of a batch was performed and is durable.
    DiskDone {
        /// Which.
        batch: u64,
    },
    /// A snapshot asked for was written and is durable.
    SnapshotSaved {
        /// Index of its mark.
        index: u64,
    },
    /// A snapshot file asked for was read; `None`: it is not there or not whole.
    SnapshotLoaded {
        /// Index of its mark.
        index: u64,
        /// The file.
        file: Option<Arc<[u8]>>,
    },
    /// The executor now knows whether this component can run.
    ComponentCompiled {
        /// Which.
        digest: ComponentDigest,
    },
    /// Time has passed.
    Tick,
    /// Hand over and stop.
    Shutdown,
}

impl Input {
    /// Whether it may be handled together with others, see `Replica::handle_together`.
    #[must_use]
    pub fn is_gathered(&self) -> bool {
        matches!(
            self,
            Input::ClientFrame { .. }
                | Input::ConnectionProved { .. }
                | Input::PeerFrame { .. }
                | Input::DiskDone { .. }
        )
    }
}

/// Something to do outside.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a frame to a client.
    SendClient {
        /// On which connection.
        connection: u64,
        /// To be encoded.
        frame: ServerFrame,
    },
    /// Close a client's connection after what was sent before.
    CloseConnection {
        /// Which.
        connection: u64,
    },
    /// Send a frame to a peer, on the connection of the newest [`Input::PeerConnected`] that was
    /// handled and on no later one; lost if that is gone. Never follows a [`Action::ClosePeer`] or
    /// an [`Input::PeerDisconnected`] of that connection: a refused peer is told nothing.
    SendPeer {
        /// Which member.
        peer: ServerId,
        /// To be encoded.
        frame: PeerFrame,
    },
    /// Tell the operator of something that may become wrong.
    Warn {
        /// What.
        text: String,
    },
    /// Close the connection to a peer.
    ClosePeer {
        /// Which member.
        peer: ServerId,
        /// For the operator.
        reason: String,
    },
    /// Where the members are, this server included. Dial and accept these and nobody else; close
    /// connections to others. Comes with the start, and whenever it changes.
    PeersChanged {
        /// By server.
        members: BTreeMap<ServerId, MemberAddress>,
    },
    /// Perform these in order, after all batches before, then say [`Input::DiskDone`].
    Disk {
        /// Its number.
        batch: u64,
        /// In order.
        operations: Vec<DiskOperation>,
    },
    /// Encode and write a snapshot file off this thread, then say [`Input::SnapshotSaved`].
    SaveSnapshot {
        /// What it is a snapshot of.
        mark: SnapshotMark,
        /// The state: shares its pages with the replica's.
        machine: Machine,
    },
    /// Read a snapshot file, then say [`Input::SnapshotLoaded`].
    LoadSnapshot {
        /// Name of the file.
        file: String,
        /// Index of its mark.
        index: u64,
    },
    /// Compile a component off this thread, then say [`Input::ComponentCompiled`].
    CompileComponent {
        /// Its name in the catalogue.
        digest: ComponentDigest,
        /// The component.
        bytes: Bytes,
    },
    /// Forget a compiled component.
    RemoveComponent {
        /// Which.
        digest: ComponentDigest,
    },
    /// Tell the operator.
    Alarm {
        /// What is wrong and what to do.
        text: String,
    },
    /// Everything was handed over: the process may end.
    ShutdownComplete,
}
