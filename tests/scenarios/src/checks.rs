//! The properties that hold after every step of a cluster, whatever the network and disks do.
//! In: the servers, the one that took a step, and the effects of that step. Out: `Ok`, or a
//! sentence that says which property broke. Keeps a record of everything the cluster ever
//! committed; nothing here may look at what a server believes about other servers.

use std::collections::{BTreeMap, BTreeSet};

use quorate_raft::{
    AppendOutcome, AppendReply, Index, Membership, Message, Raft, ReadId, ReplicaId, Role, Term,
    Vote, VoteReply, WriteSequence,
};

use crate::server::{Effect, Packet, Server, digest_of};

/// The servers of a cluster.
pub type Servers = BTreeMap<ReplicaId, Server>;

#[derive(Clone, Debug)]
struct Committed {
    /// The entry's term.
    term: Term,
    /// The term in which it was committed; leaders of later terms have the entry.
    committed_in: Term,
    digest: u64,
    /// Digest of the applied state at this index, once some server applied it.
    state: Option<u64>,
}

/// What a server showed after its last step.
#[derive(Clone, Debug, Default)]
struct Seen {
    term: Term,
    vote: Option<ReplicaId>,
    committed: Index,
    applied: Index,
    compacted: Index,
    leader_in: Option<Term>,
    membership: Option<Membership>,
}

/// The record that the properties are checked against.
#[derive(Default)]
pub struct Checks {
    leaders: BTreeMap<Term, ReplicaId>,
    /// Log matching by induction: an entry always follows the same term and holds the same bytes.
    entries: BTreeMap<(Index, Term), (u64, Term)>,
    committed: Vec<Committed>,
    seen: BTreeMap<ReplicaId, Seen>,
    reads: BTreeMap<(ReplicaId, ReadId), Index>,
    /// Votes that left a server, across its lives.
    votes: BTreeMap<(ReplicaId, Term), ReplicaId>,
}

impl Checks {
    /// The highest index that is known to be committed.
    pub fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// The term of a committed entry.
    pub fn committed_term(&self, index: Index) -> Option<Term> {
        let position = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.committed.get(position).map(|committed| committed.term)
    }

    /// How many terms had a leader.
    pub fn leaders(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Reads that wait for an answer.
    pub fn reads_waiting(&self) -> Vec<(ReplicaId, ReadId)> {
        self.reads.keys().copied().collect()
    }

    /// A read begins now.
    pub fn read_begins(&mut self, server: ReplicaId, read: ReadId) {
        self.reads.insert((server, read), self.committed());
    }

    /// A server stopped: what it had in memory is gone, its reads are forgotten.
    pub fn server_stopped(&mut self, server: ReplicaId) {
        self.reads.retain(|(reader, _), _| *reader != server);
        if let Some(seen) = self.seen.get_mut(&server) {
            // The term and vote that were not durable may be lost; votes that left are recorded.
            *seen = Seen { membership: seen.membership.clone(), ..Seen::default() };
        }
    }

    /// Checks every property after `server` took a step.
    ///
    /// # Errors
    /// A sentence naming the property that does not hold.
    pub fn after_step(
        &mut self,
        servers: &Servers,
        server: ReplicaId,
        effects: &[Effect],
    ) -> Result<(), String> {
        let stepped = &servers[&server];
        let Some(raft) = stepped.raft.as_ref() else { return Ok(()) };
        for effect in effects {
            match effect {
                Effect::Queue(sequence) => self.check_log_matching(stepped, raft, *sequence)?,
                Effect::Send(to, Packet::Raft(message)) => {
                    self.check_promise(stepped, raft, *to, message)?;
                }
                Effect::Answer(read, answer) => self.check_read(server, *read, answer)?,
                Effect::Apply(_) | Effect::Install(_) => {}
                Effect::Send(..) | Effect::Role | Effect::Membership => {}
            }
        }
        self.check_commit(servers, stepped, raft)?;
        self.check_one_leader(stepped, raft)?;
        self.check_state(stepped)?;
        self.check_never_backwards(stepped, raft)
    }

    /// Raft, State Machine Safety and Leader Completeness; the commit rule of section 5.4.2.
    fn check_commit(
        &mut self,
        servers: &Servers,
        stepped: &Server,
        raft: &Raft,
    ) -> Result<(), String> {
        let id = stepped.id();
        let before = self.seen.get(&id).map_or(Index(0), |seen| seen.committed);
        let first_new = self.committed().0 + 1;
        for index in (before.0 + 1..=raft.committed().0).map(Index) {
            let entry = raft.entry(index);
            if index.0 < first_new {
                let known = &self.committed[position(index)];
                if let Some(entry) = entry
                    && (entry.term != known.term || digest_of(entry) != known.digest)
                {
                    return Err(format!(
                        "{id} commits {index} of term {} but term {} was committed there",
                        entry.term, known.term
                    ));
                }
                continue;
            }
            let Some(entry) = entry else {
                return Err(format!("{id} says {index} is committed but nobody committed it"));
            };
            self.check_durable_quorum(servers, stepped, raft, entry.index)?;
            self.committed.push(Committed {
                term: entry.term,
                committed_in: raft.term(),
                digest: digest_of(entry),
                state: None,
            });
        }
        if raft.committed().0 >= first_new {
            self.check_new_commit(servers, raft)?;
        }
        Ok(())
    }

    fn check_new_commit(&self, servers: &Servers, raft: &Raft) -> Result<(), String> {
        let newest = self.committed();
        let term = self.committed[position(newest)].term;
        if term != raft.term() {
            let (id, current) = (raft.id(), raft.term());
            return Err(format!("{id} in term {current} commits {newest} of term {term} alone"));
        }
        for other in servers.values() {
            let Some(leader) = other.raft.as_ref() else { continue };
            if leader.role() == Role::Leader
                && leader.term() > raft.term()
                && !has_entry(other, leader, newest, term)
            {
                let id = other.id();
                return Err(format!("{id} leads a later term without committed entry {newest}"));
            }
        }
        Ok(())
    }

    /// An entry is committed only when a quorum holds it durably, crashed servers included.
    fn check_durable_quorum(
        &self,
        servers: &Servers,
        stepped: &Server,
        raft: &Raft,
        index: Index,
    ) -> Result<(), String> {
        let Some(term) = raft.term_at(index) else {
            return Err(format!("{} commits {index} that it does not have", stepped.id()));
        };
        let holders: BTreeSet<ReplicaId> = servers
            .values()
            .filter(|server| server.disk.stored(index, term))
            .map(Server::id)
            .collect();
        // The membership may change in the very step that commits it.
        let before = self.seen.get(&stepped.id()).and_then(|seen| seen.membership.as_ref());
        let enough = before.is_some_and(|membership| is_quorum(membership, &holders))
            || is_quorum(raft.membership(), &holders);
        if enough {
            return Ok(());
        }
        Err(format!("{} commits {index} which is durable only at {holders:?}", stepped.id()))
    }

    fn check_one_leader(&mut self, stepped: &Server, raft: &Raft) -> Result<(), String> {
        let (id, term) = (stepped.id(), raft.term());
        if raft.role() != Role::Leader {
            return Ok(());
        }
        let first = *self.leaders.entry(term).or_insert(id);
        if first != id {
            return Err(format!("{id} and {first} both lead term {term}"));
        }
        if self.seen.get(&id).and_then(|seen| seen.leader_in) == Some(term) {
            return Ok(());
        }
        for (place, committed) in self.committed.iter().enumerate() {
            let index = Index(place as u64 + 1);
            if committed.committed_in < term && !has_entry(stepped, raft, index, committed.term) {
                return Err(format!("{id} leads term {term} without committed entry {index}"));
            }
        }
        Ok(())
    }

    fn check_log_matching(
        &mut self,
        stepped: &Server,
        raft: &Raft,
        sequence: WriteSequence,
    ) -> Result<(), String> {
        let write = stepped.disk.pending.iter().find(|write| write.sequence == sequence);
        let Some(write) = write else { return Ok(()) };
        for entry in &write.entries {
            let Some(previous) = raft.term_at(Index(entry.index.0 - 1)) else { continue };
            let value = (digest_of(entry), previous);
            let known = *self.entries.entry((entry.index, entry.term)).or_insert(value);
            if known != value {
                return Err(format!(
                    "{}: entry {} of term {} differs from the one seen before",
                    stepped.id(),
                    entry.index,
                    entry.term
                ));
            }
        }
        Ok(())
    }

    /// What leaves a server rests on durable writes: acknowledged entries and votes.
    fn check_promise(
        &mut self,
        stepped: &Server,
        raft: &Raft,
        to: ReplicaId,
        message: &Message,
    ) -> Result<(), String> {
        let id = stepped.id();
        match message {
            Message::AppendReply(AppendReply {
                outcome: AppendOutcome::Accepted { matched },
                ..
            }) => {
                // While a snapshot is being installed memory does not know the terms before it.
                let term = raft.term_at(*matched).or(self.committed_term(*matched));
                let durable = *matched == Index(0)
                    || term.map_or(*matched <= stepped.disk.last_index(), |term| {
                        stepped.disk.stores(*matched, term)
                    });
                if durable {
                    return Ok(());
                }
                Err(format!("{id} acknowledges {matched} of {term:?} before it is durable"))
            }
            Message::VoteReply(VoteReply { term, granted: true }) => {
                self.check_vote(stepped, *term, to)
            }
            Message::Vote(Vote { term, .. }) => self.check_vote(stepped, *term, id),
            _ => Ok(()),
        }
    }

    fn check_vote(
        &mut self,
        stepped: &Server,
        term: Term,
        candidate: ReplicaId,
    ) -> Result<(), String> {
        let id = stepped.id();
        let durable = stepped.disk.hard_state;
        let is_durable =
            durable.term > term || (durable.term == term && durable.vote == Some(candidate));
        if !is_durable {
            return Err(format!("{id} votes for {candidate} in {term} before that is durable"));
        }
        let first = *self.votes.entry((id, term)).or_insert(candidate);
        if first == candidate {
            return Ok(());
        }
        Err(format!("{id} votes for {first} and {candidate} in term {term}"))
    }

    fn check_read(
        &mut self,
        server: ReplicaId,
        read: ReadId,
        answer: &Result<Index, quorate_raft::ReadRefusal>,
    ) -> Result<(), String> {
        let Some(floor) = self.reads.remove(&(server, read)) else {
            return Err(format!("{server} answers read {read} twice or unasked"));
        };
        match answer {
            Ok(index) if *index < floor => Err(format!(
                "{server} reads at {index} but {floor} was committed when read {read} began"
            )),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Equal index, equal state; compacted <= applied <= durable.
    fn check_state(&mut self, stepped: &Server) -> Result<(), String> {
        let (id, machine) = (stepped.id(), &stepped.machine);
        let compacted = stepped.disk.snapshot.mark.index;
        let durable = stepped.disk.last_index();
        if compacted > machine.applied || machine.applied > durable {
            return Err(format!(
                "{id}: compacted {compacted} <= applied {} <= durable {durable} does not hold",
                machine.applied
            ));
        }
        if machine.applied == Index(0) {
            return Ok(());
        }
        let Some(committed) = self.committed.get_mut(position(machine.applied)) else {
            return Err(format!("{id} applied {} which is not committed", machine.applied));
        };
        let first = *committed.state.get_or_insert(machine.digest);
        if first == machine.digest {
            return Ok(());
        }
        Err(format!("{id} has another state than others at {}", machine.applied))
    }

    fn check_never_backwards(&mut self, stepped: &Server, raft: &Raft) -> Result<(), String> {
        let id = stepped.id();
        let now = Seen {
            term: raft.term(),
            vote: raft.vote(),
            committed: raft.committed(),
            applied: stepped.machine.applied,
            compacted: stepped.disk.snapshot.mark.index,
            leader_in: (raft.role() == Role::Leader).then_some(raft.term()),
            membership: Some(raft.membership().clone()),
        };
        let before = self.seen.insert(id, now.clone()).unwrap_or_default();
        let backwards = now.term < before.term
            || now.term < stepped.disk.hard_state.term
            || now.committed < before.committed
            || now.applied < before.applied
            || now.compacted < before.compacted
            || (now.term == before.term && before.vote.is_some() && now.vote != before.vote);
        if backwards {
            return Err(format!("{id} went back from {before:?} to {now:?}"));
        }
        Ok(())
    }
}

fn position(index: Index) -> usize {
    usize::try_from(index.0 - 1).expect("a log that fits in memory")
}

fn has_entry(server: &Server, raft: &Raft, index: Index, term: Term) -> bool {
    index <= server.disk.snapshot.mark.index || raft.term_at(index) == Some(term)
}

/// Whether `holders` are a majority of the voters, and of the outgoing voters if there are any.
fn is_quorum(membership: &Membership, holders: &BTreeSet<ReplicaId>) -> bool {
    let majority = |voters: &BTreeSet<ReplicaId>| {
        voters.is_empty() || voters.intersection(holders).count() > voters.len() / 2
    };
    !membership.voters.is_empty()
        && majority(&membership.voters)
        && majority(&membership.voters_outgoing)
}
