//! The one table of limits: everything that could grow has a row here.
//!
//! Each row has its unit in its name, the value used in production and the extreme that tests
//! draw. Invariant: a limit that changes what a transaction does is checked by the leader before
//! the transaction is made, never while one is applied.

macro_rules! limits {
    ($( $(#[$doc:meta])* $name:ident: $kind:ty = $production:expr, tested $tested:expr; )*) => {
        /// A value for every limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits { $( $(#[$doc])* pub $name: $kind, )* }

        impl Limits {
            /// What servers run with.
            pub const PRODUCTION: Limits = Limits { $( $name: $production, )* };
            /// As small as still works: what tests draw to reach every limit soon.
            pub const TESTED: Limits = Limits { $( $name: $tested, )* };
        }
    };
}

const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;

limits! {
    /// Data of one znode. ZooKeeper's `jute.maxbuffer` default.
    znode_data_bytes_max: u32 = MIB - 1, tested 512;
    /// Operations in one multi.
    multi_operations_max: u32 = 1_024, tested 4;
    /// One frame from a client; holds a multi of a few full znodes.
    client_frame_bytes_max: u32 = 4 * MIB, tested 64 * KIB;
    /// One frame between servers; holds a batch of entries.
    peer_frame_bytes_max: u32 = 16 * MIB, tested 256 * KIB;
    /// One transaction in the log.
    transaction_bytes_max: u32 = 8 * MIB, tested 128 * KIB;
    /// Requests of one session that have no reply yet, parked calls included.
    session_outstanding_max: u32 = 4_096, tested 16;
    /// Sessions in the cluster.
    sessions_max: u32 = 1_000_000, tested 1_000;
    /// Shortest session timeout granted. Twice ZooKeeper's default tick of 2 s would be 4 s; heartbeats
    /// here cost less.
    session_timeout_ms_min: u32 = 1_000, tested 100;
    /// Longest session timeout granted. ZooKeeper: 20 ticks.
    session_timeout_ms_max: u32 = 600_000, tested 60_000;
    /// Connections of clients to one server.
    connections_max: u32 = 10_000, tested 100;
    /// Watches of one connection.
    connection_watches_max: u32 = 100_000, tested 100;
    /// Znode events that a server remembers for watches that are resumed.
    history_events_max: u32 = 65_536, tested 64;
    /// Bytes of the paths and data of these events, 128 more for each. A replay takes less than
    /// twice as many, in one frame.
    history_bytes_max: u32 = 8 * MIB, tested 16 * KIB;
    /// Frames waiting for a slow client before its connection is closed.
    connection_backlog_frames_max: u32 = 16_384, tested 256;
    /// Requests that the leader has proposed and not yet applied.
    proposals_outstanding_max: u32 = 16_384, tested 64;
    /// Names in one children reply.
    children_reply_max: u32 = 100_000, tested 50;
    /// Bytes of one component.
    component_bytes_max: u32 = 4 * MIB, tested 256 * KIB;
    /// Bytes of one uploaded chunk of a component.
    component_chunk_bytes_max: u32 = 256 * KIB, tested 4 * KIB;
    /// Components in the catalogue, and uploads not yet finished.
    components_max: u32 = 256, tested 8;
    /// Keys by which a server lets signed components in; each is tried.
    recipe_signers_max: u32 = 16, tested 2;
    /// Mounts.
    mounts_max: u32 = 10_000, tested 16;
    /// Fuel of one recipe call; 1 to 4 ms of plain code, 50 ms of code made to be slow.
    recipe_fuel_max: u64 = 10_000_000, tested 1_000_000;
    /// Fuel of the event handlers of one mount within one transaction; about a second. The end of a
    /// session runs one for every object where it owns something.
    recipe_event_fuel_max: u64 = 200_000_000, tested 20_000_000;
    /// Fuel of recipe runs after which a replica turns to its peers and the disk before it runs more.
    replica_round_fuel_max: u64 = 20_000_000, tested 2_000_000;
    /// Linear memory of one recipe call.
    recipe_memory_bytes_max: u32 = 16 * MIB, tested 2 * MIB;
    /// Changes of one recipe call.
    recipe_changes_max: u32 = 1_000, tested 50;
    /// Bytes that one recipe call writes.
    recipe_written_bytes_max: u32 = MIB, tested 64 * KIB;
    /// Bytes that the reads of one recipe call return.
    recipe_read_bytes_max: u32 = 4 * MIB, tested 256 * KIB;
    /// Bytes of one recipe reply.
    recipe_reply_bytes_max: u32 = 256 * KIB, tested 8 * KIB;
    /// Bytes of log text of one recipe call.
    recipe_log_bytes_max: u32 = 64 * KIB, tested 4 * KIB;
    /// Tickets parked or completed by one recipe call. A ticket's ordinal has 16 bits.
    recipe_tickets_max: u32 = 1_000, tested 20;
    /// Timers of one object of a mount.
    object_timers_max: u32 = 10_000, tested 1_000;
    /// Traps in a row after which a mount is suspended.
    mount_faults_max: u32 = 100, tested 5;
    /// Entries in one append message.
    append_entries_max: u32 = 1_024, tested 2;
    /// Bytes of entries in one append message.
    append_bytes_max: u32 = MIB, tested 4 * KIB;
    /// Append messages on their way to one follower.
    appends_inflight_max: u32 = 64, tested 2;
    /// Whether what passes a hard limit of a subtree's quota is refused. ZooKeeper's `enforceQuota`.
    enforces_quotas: bool = false, tested true;
    /// Members, those removed included: their ids stay on record.
    members_max: u32 = 1_024, tested 64;
    /// Bytes of one address of a member, host and port.
    member_address_bytes_max: u32 = 262, tested 64;
    /// Entries that a learner may lack when it is promoted.
    promotion_lag_entries_max: u32 = 1_000, tested 20;
    /// Bytes of log kept behind a snapshot, so that a follower that lags a little needs none.
    log_bytes_behind_snapshot: u32 = 8 * MIB, tested 16 * KIB;
    /// Bytes of applied log after which a snapshot is taken.
    snapshot_log_bytes: u32 = 64 * MIB, tested 32 * KIB;
    /// Bytes of one snapshot chunk.
    snapshot_chunk_bytes: u32 = 256 * KIB, tested KIB;
    /// Bytes of one segment of the log.
    log_segment_bytes: u32 = 16 * MIB, tested 16 * KIB;
}

const _: () = assert!(
    Limits::PRODUCTION.znode_data_bytes_max < Limits::PRODUCTION.client_frame_bytes_max
        && Limits::PRODUCTION.transaction_bytes_max < Limits::PRODUCTION.peer_frame_bytes_max
        && Limits::TESTED.transaction_bytes_max < Limits::TESTED.peer_frame_bytes_max
        && Limits::PRODUCTION.recipe_tickets_max < 1 << 16
);
