//! The other servers: who is connected, what their frames mean.
//!
//! Comes in: decoded frames of members, by certificate. Goes out: consensus messages, forwarded
//! requests, touches. Invariant: a frame counts only on the peer's newest connection; a frame that
//! breaks the protocol closes that connection and nothing else.

use crate::Replica;
use crate::boundary::Action;
use crate::codec;
use crate::membership::removal_words;
use crate::replica_of;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_machine::{Change, RecipeExecutor, Transaction};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::EntryKind;
use quorate_types::{Incarnation, ServerId, SessionId};
use quorate_wire::peer::PeerFrame;

/// A connected peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) generation: u64,
    pub(crate) incarnation: Incarnation,
}

impl<E: RecipeExecutor> Replica<E> {
    pub(crate) fn on_peer_connected(
        &mut self,
        peer: ServerId,
        generation: u64,
        incarnation: Incarnation,
    ) {
        if let Some(older) = self.peers.get(&peer).copied() {
            self.on_peer_disconnected(peer, older.generation);
        }
        if self.recorded_incarnation(peer).is_some_and(|recorded| recorded != incarnation) {
            self.refuse_incarnation(peer);
            return;
        }
        if self.is_removed(peer) {
            let reason = removal_words(peer);
            self.actions.push_back(Action::ClosePeer { peer, reason });
            return;
        }
        self.peers.insert(peer, Peer { generation, incarnation });
        self.raft.peer_connected(replica_of(peer));
        self.snapshots.forget_peer(peer);
        self.record_incarnation(peer, incarnation);
        self.tell_members(peer);
        self.tell_compiled(peer);
        self.give_again(peer);
    }

    /// What is known of a member's data directory: also from entries that are not applied yet, for
    /// after a start nothing may be, and a wiped server's vote would count by then.
    fn recorded_incarnation(&self, peer: ServerId) -> Option<Incarnation> {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::WipedServerAccepted) {
            return None;
        }
        let applied = self.machine.member(peer).and_then(|member| member.incarnation);
        applied.or_else(|| {
            let unapplied = self.applied.next()..=self.raft.last_index();
            let commands = self
                .raft
                .entries(unapplied)
                .filter(|entry| entry.kind == EntryKind::Command)
                .filter_map(|entry| Transaction::decode(&entry.payload).ok());
            let changes = commands.flat_map(|transaction| transaction.changes);
            changes
                .filter_map(|change| match change {
                    Change::RecordMember { server, incarnation } if server == peer => {
                        Some(incarnation)
                    }
                    _ => None,
                })
                .last()
        })
    }

    fn refuse_incarnation(&mut self, peer: ServerId) {
        let reason = format!(
            "server {peer} runs on another data directory than the one it joined with: it may \
             have forgotten votes and entries. Restore its disk, or remove it and add a \
             server under a new id"
        );
        self.raise_alarm(format!("incarnation {peer}"), reason.clone());
        self.actions.push_back(Action::ClosePeer { peer, reason });
    }

    /// Entries were applied: a connected peer may turn out to be another than the one on record.
    pub(crate) fn check_incarnations(&mut self) {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::WipedServerAccepted) {
            return;
        }
        let wrong = self.peers.iter().find(|(server, peer)| {
            let member = self.machine.member(**server);
            let recorded = member.and_then(|member| member.incarnation);
            recorded.is_some_and(|recorded| recorded != peer.incarnation)
        });
        if let Some((server, peer)) = wrong.map(|(server, peer)| (*server, *peer)) {
            self.on_peer_disconnected(server, peer.generation);
            self.refuse_incarnation(server);
        }
    }

    pub(crate) fn on_peer_disconnected(&mut self, peer: ServerId, generation: u64) {
        if self.peers.get(&peer).is_some_and(|known| known.generation == generation) {
            self.peers.remove(&peer);
            self.compiled_by.remove(&peer);
            self.snapshots.forget_peer(peer);
            self.raft.peer_disconnected(replica_of(peer));
            if let Some(leading) = &mut self.leading {
                // The peer brings them again, in order.
                leading.queue.retain(|(source, _)| !source.is_peer(peer));
            }
        }
    }

    pub(crate) fn on_peer_frame(&mut self, peer: ServerId, generation: u64, frame: PeerFrame) {
        if self.peers.get(&peer).is_none_or(|known| known.generation != generation) {
            return;
        }
        match frame {
            PeerFrame::Hello { .. } => self.close_peer(peer, String::from("a second hello")),
            PeerFrame::Raft(bytes) => self.on_raft_message(peer, &bytes),
            PeerFrame::Forward { id, request } => self.on_forward(peer, id, &request),
            PeerFrame::ForwardAnswer { id, after, outcome } => {
                self.on_forward_answer(id, after, outcome);
            }
            // The request stays with its submission, which goes to the next leader.
            PeerFrame::ForwardLost { id: _ } => {}
            PeerFrame::Touch { sessions } => self.on_touches(&sessions),
            PeerFrame::Members { applied, members } => self.on_members_told(applied, members),
            PeerFrame::Compiled { components } => self.on_compiled_told(peer, components),
            PeerFrame::SnapshotChunk { term, index, offset, total, bytes } => {
                let part = crate::snapshot_transfer::Part { term, index, offset, total };
                self.on_snapshot_part(peer, part, &bytes);
            }
            PeerFrame::SnapshotAck { index, received, refused } => {
                self.on_snapshot_ack(peer, index, received, refused);
            }
        }
    }

    /// The only way to a peer. Who is not connected or was refused is told nothing: what consensus
    /// or a transfer has for it counts as lost on the way.
    pub(crate) fn send_peer(&mut self, peer: ServerId, frame: PeerFrame) {
        if self.peers.contains_key(&peer) {
            self.actions.push_back(Action::SendPeer { peer, frame });
        }
    }

    fn on_raft_message(&mut self, peer: ServerId, bytes: &[u8]) {
        let received = match codec::decode_message(bytes) {
            Ok(message) => self
                .raft
                .receive(self.now.monotonic_ms, replica_of(peer), message)
                .map_err(|violation| format!("a consensus message: {violation:?}")),
            Err(error) => Err(format!("a consensus message: {error}")),
        };
        if let Err(reason) = received {
            self.close_peer(peer, reason);
        }
    }

    /// Ends the connection of a peer that broke the protocol.
    pub(crate) fn close_peer(&mut self, peer: ServerId, reason: String) {
        if let Some(known) = self.peers.get(&peer).copied() {
            self.on_peer_disconnected(peer, known.generation);
            self.actions.push_back(Action::ClosePeer { peer, reason });
        }
    }

    fn on_touches(&mut self, sessions: &[SessionId]) {
        let now_ms = self.now.monotonic_ms;
        if let Some(leading) = &mut self.leading {
            for session in sessions {
                leading.sessions.touch(*session, now_ms);
            }
        }
    }

    /// Tells the leader who was heard of, once per heartbeat interval. True: the interval is over.
    pub(crate) fn send_touches(&mut self) -> bool {
        let now_ms = self.now.monotonic_ms;
        if now_ms < self.touches_sent_ms + self.settings.heartbeat_interval_ms {
            return false;
        }
        self.touches_sent_ms = now_ms;
        let Some(leader) = self.leader() else { return true };
        let reached = leader == self.settings.identity.server || self.peers.contains_key(&leader);
        if !reached {
            return true;
        }
        let sessions: Vec<SessionId> = core::mem::take(&mut self.touched).into_iter().collect();
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::TouchesNotForwarded) && leader != self.settings.identity.server {
            return true;
        }
        if leader == self.settings.identity.server {
            self.on_touches(&sessions);
        } else if !sessions.is_empty() {
            let frame = PeerFrame::Touch { sessions };
            self.send_peer(leader, frame);
        }
        true
    }
}
