//! One server of an in-memory cluster: a raft replica, a disk whose last writes may not be durable
//! yet, and the applied state. In: calls on the replica followed by `drain`. Out: effects, in the
//! order in which they happened. Acts like the real shell: installs a snapshot only when raft says
//! so, applies only what raft released, and forgets everything but the durable disk at a crash.
//! Never delivers a message or completes a write by itself: that is the driver's choice.

use std::collections::{BTreeMap, VecDeque};

use quorate_raft::{
    Entry, EntryKind, HardState, Index, Membership, Message, Raft, ReadId, ReadRefusal, ReplicaId,
    Settings, SnapshotMark, Start, Term, Write, WriteSequence,
};

/// What travels between servers.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    /// A message of the replica.
    Raft(Message),
    /// A whole snapshot file, sent in the given term.
    Snapshot {
        /// The sender's term.
        term: Term,
        /// The file.
        snapshot: Snapshot,
    },
    /// The answer to a snapshot file: it is installed and durable, or it was refused.
    SnapshotAnswer {
        /// The snapshot's index.
        index: Index,
        /// Whether it is installed.
        installed: bool,
    },
}

/// A snapshot file: its mark and what stands for the state of the machine at that index.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Index, term and membership of the state.
    pub mark: SnapshotMark,
    /// Digest of everything applied up to the mark.
    pub digest: u64,
}

/// Something a server did after an input.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A packet left for a peer.
    Send(ReplicaId, Packet),
    /// A write was handed to the disk and is not durable yet.
    Queue(WriteSequence),
    /// An entry was applied.
    Apply(Entry),
    /// A received snapshot became the state of the machine.
    Install(SnapshotMark),
    /// A read was answered.
    Answer(ReadId, Result<Index, ReadRefusal>),
    /// The role, term or leader changed.
    Role,
    /// A membership came into effect.
    Membership,
}

/// What a server has stored. Everything in `pending` is lost by a crash.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Durable term and vote.
    pub hard_state: HardState,
    /// Acknowledged entries were lost and are not all fetched again.
    pub refetching: bool,
    /// The newest snapshot that the log vouches for.
    pub snapshot: Snapshot,
    /// Durable entries, without gaps. May begin below the snapshot's mark.
    pub entries: Vec<Entry>,
    /// Writes in progress, oldest first.
    pub pending: VecDeque<Write>,
    /// Entries that were durable and that corruption took. Acknowledgements of them may still be
    /// under way, so the check of commit quorums counts them.
    pub lost: Vec<Entry>,
    /// Received snapshot files, durable, that no installation vouches for yet.
    received: BTreeMap<Index, Snapshot>,
}

impl Disk {
    fn new(membership: Membership) -> Self {
        let mark = SnapshotMark { index: Index(0), term: Term(0), membership };
        Self {
            hard_state: HardState { term: Term(0), vote: None },
            refetching: false,
            snapshot: Snapshot { mark, digest: 0 },
            entries: Vec::new(),
            pending: VecDeque::new(),
            lost: Vec::new(),
            received: BTreeMap::new(),
        }
    }

    /// The index of the last durable entry, or of the snapshot.
    pub fn last_index(&self) -> Index {
        let last = self.entries.last().map_or(Index(0), |entry| entry.index);
        last.max(self.snapshot.mark.index)
    }

    /// Whether the entry is durable here now, as an entry or inside the snapshot.
    pub fn stores(&self, index: Index, term: Term) -> bool {
        index <= self.snapshot.mark.index
            || self
                .entries
                .get(self.position(index))
                .is_some_and(|entry| entry.index == index && entry.term == term)
    }

    /// Whether the entry is durable here or was until corruption took it.
    pub fn stored(&self, index: Index, term: Term) -> bool {
        self.stores(index, term)
            || self.lost.iter().any(|entry| entry.index == index && entry.term == term)
    }

    fn position(&self, index: Index) -> usize {
        let first = self.entries.first().map_or(index.0, |entry| entry.index.0);
        usize::try_from(index.0.saturating_sub(first)).expect("a log that fits in memory")
    }

    fn make_durable(&mut self, write: Write) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(mark) = write.installed {
            let file = self.received.remove(&mark.index);
            let snapshot = file.expect("an installation names a snapshot that was received");
            assert_eq!(snapshot.mark, mark, "the installed mark is the received one");
            self.snapshot = snapshot;
            self.entries.clear();
            self.received.clear();
        }
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.index < from);
        }
        for entry in write.entries {
            let expected = match self.entries.last() {
                Some(last) => last.index.0 + 1,
                None => self.snapshot.mark.index.0 + 1,
            };
            assert_eq!(entry.index.0, expected, "the log on disk has no gap and no overlap");
            self.entries.push(entry);
        }
        if write.refetched {
            self.refetching = false;
            self.lost.clear();
        }
    }
}

/// The applied state, as little of it as tests need.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The last applied entry.
    pub applied: Index,
    /// Its term.
    pub term: Term,
    /// Digest of all applied entries.
    pub digest: u64,
    /// The newest applied membership.
    pub membership: Membership,
}

impl Machine {
    fn load(snapshot: &Snapshot) -> Self {
        Self {
            applied: snapshot.mark.index,
            term: snapshot.mark.term,
            digest: snapshot.digest,
            membership: snapshot.mark.membership.clone(),
        }
    }

    fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index.0, self.applied.0 + 1, "entries are applied in order");
        self.applied = entry.index;
        self.term = entry.term;
        self.digest = mix(self.digest, digest_of(entry));
        if entry.kind == EntryKind::Membership {
            self.membership =
                Membership::decode(&entry.payload).expect("a membership entry holds a membership");
        }
    }
}

/// A digest of an entry: equal digests mean equal entries for all that tests care about.
pub fn digest_of(entry: &Entry) -> u64 {
    let kind = match entry.kind {
        EntryKind::Empty => 1,
        EntryKind::Command => 2,
        EntryKind::Membership => 3,
    };
    let start = mix(mix(entry.index.0, entry.term.0), kind);
    entry.payload.iter().fold(start, |digest, byte| mix(digest, u64::from(*byte)))
}

/// Mixes two numbers into one (the finalizer of splitmix64).
pub fn mix(left: u64, right: u64) -> u64 {
    let mut value = left.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(right);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A server.
pub struct Server {
    /// Who it is and its limits.
    pub settings: Settings,
    /// The running replica; `None` while the server is down.
    pub raft: Option<Raft>,
    /// Its disk.
    pub disk: Disk,
    /// Its applied state.
    pub machine: Machine,
    /// While set, committed entries stay unapplied.
    pub applying_paused: bool,
    released: Index,
    installing: Option<ReplicaId>,
}

impl Server {
    /// A new server with an empty disk, started.
    pub fn new(settings: Settings, membership: Membership, now_ms: u64) -> Self {
        let disk = Disk::new(membership);
        let machine = Machine::load(&disk.snapshot);
        let raft = None;
        let released = Index(0);
        let mut server = Self {
            settings,
            raft,
            disk,
            machine,
            applying_paused: false,
            released,
            installing: None,
        };
        server.start(now_ms);
        server
    }

    /// Starts the replica from what is durable.
    pub fn start(&mut self, now_ms: u64) {
        assert!(self.raft.is_none(), "a running server is started again");
        self.machine = Machine::load(&self.disk.snapshot);
        self.released = self.machine.applied;
        self.disk.received.clear();
        // A tail kept from before the snapshot that no longer reaches it is of no use to anybody.
        if self.disk.entries.last().is_some_and(|last| last.index < self.disk.snapshot.mark.index) {
            self.disk.entries.clear();
        }
        let start = Start {
            hard_state: self.disk.hard_state,
            snapshot: self.disk.snapshot.mark.clone(),
            entries: self.disk.entries.clone(),
            refetching: self.disk.refetching,
        };
        self.raft = Some(Raft::new(self.settings.clone(), start, now_ms));
    }

    /// Stops the server at once. The first `surviving` writes in progress reach the disk.
    pub fn crash(&mut self, surviving: usize) {
        self.raft = None;
        self.installing = None;
        for _ in 0..surviving {
            if let Some(write) = self.disk.pending.pop_front() {
                self.disk.make_durable(write);
            }
        }
        self.disk.pending.clear();
    }

    /// Takes the durable entries from `from` on away, as corruption of acknowledged data does.
    /// The server must be down.
    pub fn corrupt(&mut self, from: Index) {
        assert!(self.raft.is_none(), "only a stopped server finds its log damaged");
        let keep = self.disk.position(from).min(self.disk.entries.len());
        let taken = self.disk.entries.split_off(keep);
        self.disk.lost.extend(taken);
        self.disk.refetching = true;
    }

    /// Gives a stopped server the log and term of a history that nobody has to play: one entry per
    /// term listed, from index 1 on.
    pub fn preset(&mut self, term: Term, terms: &[u64]) {
        assert!(self.raft.is_none(), "only a stopped server gets another history");
        self.disk.hard_state = HardState { term, vote: None };
        self.disk.entries = (1..)
            .zip(terms)
            .map(|(index, term)| Entry {
                index: Index(index),
                term: Term(*term),
                kind: EntryKind::Command,
                payload: format!("{index}of{term}").into_bytes().into(),
            })
            .collect();
    }

    /// Its name.
    pub fn id(&self) -> ReplicaId {
        self.settings.id
    }

    /// The running replica.
    ///
    /// # Errors
    /// When the server is down.
    pub fn running(&mut self) -> Result<&mut Raft, String> {
        let id = self.id();
        self.raft.as_mut().ok_or_else(|| format!("{id} is down"))
    }

    /// Completes the oldest write in progress. Returns it, or `None` when the disk is idle.
    pub fn complete_write(&mut self) -> Option<(Write, Vec<Effect>)> {
        let write = self.disk.pending.pop_front()?;
        self.disk.make_durable(write.clone());
        let raft = self.raft.as_mut()?;
        raft.durable(write.sequence);
        let mut effects = self.drain();
        if let Some(mark) = &write.installed
            && let Some(from) = self.installing.take()
        {
            let answer = Packet::SnapshotAnswer { index: mark.index, installed: true };
            effects.push(Effect::Send(from, answer));
        }
        Some((write, effects))
    }

    /// Takes a packet from a peer.
    ///
    /// # Errors
    /// When the replica calls the message illegal: the caller should close that connection.
    pub fn receive(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        packet: Packet,
    ) -> Result<Vec<Effect>, String> {
        let Some(raft) = self.raft.as_mut() else { return Ok(Vec::new()) };
        let mut answer = None;
        match packet {
            Packet::Raft(message) => {
                raft.receive(now_ms, from, message)
                    .map_err(|violation| format!("{violation:?}"))?;
            }
            Packet::Snapshot { term, snapshot } => {
                let index = snapshot.mark.index;
                if self.installing.is_some() {
                    answer = Some(Packet::SnapshotAnswer { index, installed: false });
                } else if raft.install_snapshot(now_ms, from, term, snapshot.mark.clone()) {
                    self.disk.received.insert(index, snapshot);
                    self.installing = Some(from);
                } else {
                    answer = Some(Packet::SnapshotAnswer { index, installed: false });
                }
            }
            Packet::SnapshotAnswer { index, installed } => {
                raft.snapshot_sent(from, if installed { Ok(index) } else { Err(()) });
            }
        }
        let mut effects = self.drain();
        effects.extend(answer.map(|packet| Effect::Send(from, packet)));
        Ok(effects)
    }

    /// Takes a snapshot of the applied state, makes it durable at once, and drops the entries below
    /// the newest `keep` applied ones.
    ///
    /// # Errors
    /// When the server is down.
    pub fn compact(&mut self, keep: u64) -> Result<Vec<Effect>, String> {
        self.running()?;
        let machine = &self.machine;
        let mark = SnapshotMark {
            index: machine.applied,
            term: machine.term,
            membership: machine.membership.clone(),
        };
        if mark.index <= self.disk.snapshot.mark.index {
            return Ok(Vec::new());
        }
        let keep_from = Index((mark.index.0 + 1).saturating_sub(keep));
        self.disk.snapshot = Snapshot { mark: mark.clone(), digest: machine.digest };
        self.disk.entries.retain(|entry| entry.index >= keep_from);
        self.running()?.compacted(mark, keep_from);
        Ok(self.drain())
    }

    /// Takes everything the replica has put out, applies what it released, and tells the caller.
    pub fn drain(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(raft) = self.raft.as_mut() {
            let output = raft.take_output();
            let term = raft.term();
            if output.role_changed {
                effects.push(Effect::Role);
            }
            if output.membership_changed {
                effects.push(Effect::Membership);
            }
            if let Some(write) = output.write {
                effects.push(Effect::Queue(write.sequence));
                self.disk.pending.push_back(write);
            }
            for (to, message) in output.messages {
                effects.push(Effect::Send(to, Packet::Raft(message)));
            }
            for to in output.snapshot_wanted {
                let snapshot = self.disk.snapshot.clone();
                effects.push(Effect::Send(to, Packet::Snapshot { term, snapshot }));
            }
            if let Some(mark) = output.installed {
                self.machine = Machine::load(&self.disk.snapshot);
                assert_eq!(self.machine.applied, mark.index, "installed what is durable");
                self.released = self.released.max(mark.index);
                effects.push(Effect::Install(mark));
            }
            for (id, answer) in output.reads {
                effects.push(Effect::Answer(id, answer));
            }
            self.released = self.released.max(output.apply_to.unwrap_or(Index(0)));
            if !self.apply_released(&mut effects) {
                break;
            }
        }
        effects
    }

    fn apply_released(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(raft) = self.raft.as_mut() else { return false };
        if self.applying_paused || self.released <= self.machine.applied {
            return false;
        }
        while self.machine.applied < self.released {
            let index = Index(self.machine.applied.0 + 1);
            let entry = raft.entry(index).expect("a released entry is in memory").clone();
            self.machine.apply(&entry);
            effects.push(Effect::Apply(entry));
        }
        raft.applied(self.machine.applied);
        true
    }
}
