//! Links between servers: connections that carry lanes in order, break, and are made again.
//!
//! A connection delivers a lane in order and whole, or breaks, as QUIC does; consensus messages may
//! besides be lost, doubled and overtaken, which consensus must bear. What cannot pass is held back
//! until the link is whole again or is given up.

use super::event::Event;
use super::{World, ordered};
use quorate_replica::Input;
use quorate_types::ServerId;
use quorate_wire::peer::{self, PeerFrame};

/// The connection between two servers, by direction: 0 from the lower id to the higher.
#[derive(Default)]
pub(crate) struct Link {
    pub(super) generation: u64,
    pub(super) up: bool,
    /// Nothing passes this way.
    pub(super) cut: [bool; 2],
    held: Vec<(u64, u64, Vec<u8>)>,
    /// When the last bytes arrive, by direction and lane.
    arrivals: [[u64; 4]; 2],
}

impl World {
    pub(super) fn link(&mut self, between: (u64, u64)) -> &mut Link {
        self.links.entry(between).or_default()
    }

    /// Ends the connection between two servers; another one is made soon.
    pub fn break_link(&mut self, between: (u64, u64)) {
        let link = self.link(between);
        link.held.clear();
        if !std::mem::take(&mut link.up) {
            return;
        }
        let generation = link.generation;
        let (a, b) = between;
        for (server, peer) in [(a, b), (b, a)] {
            let peer = ServerId(peer);
            self.input(server, Input::PeerDisconnected { peer, generation });
        }
        self.after(20, Event::Dial { between });
    }

    /// Nothing passes from one to the other any more, or everything does again.
    pub fn cut(&mut self, from: u64, to: u64, cut: bool) {
        let between = ordered(from, to);
        let idle_ms = self.plan.delays.idle_ms;
        let link = self.link(between);
        let direction = usize::from(from > to);
        if std::mem::replace(&mut link.cut[direction], cut) == cut {
            return;
        }
        let generation = link.generation;
        if cut {
            self.at(self.now_ms + idle_ms, Event::LinkIdle { between, generation });
            return;
        }
        let is_whole = link.cut == [false; 2];
        self.at(self.now_ms + 1, Event::Release { between, generation });
        if is_whole {
            self.after(20, Event::Dial { between });
        }
    }

    /// Both ways.
    pub fn cut_both(&mut self, a: u64, b: u64, cut: bool) {
        self.cut(a, b, cut);
        self.cut(b, a, cut);
    }

    /// Everything passes everywhere.
    pub fn heal_links(&mut self) {
        let all: Vec<(u64, u64)> = self.links.keys().copied().collect();
        for (a, b) in all {
            self.cut_both(a, b, false);
            self.after(20, Event::Dial { between: (a, b) });
        }
    }

    pub(super) fn on_link_idle(&mut self, between: (u64, u64), generation: u64) {
        let link = self.link(between);
        if link.generation == generation && link.cut != [false; 2] {
            self.break_link(between);
        }
    }

    /// What was held back passes, in order.
    pub(super) fn on_release(&mut self, between: (u64, u64), generation: u64) {
        let link = self.link(between);
        if link.generation != generation {
            return;
        }
        let cut = link.cut;
        let held = std::mem::take(&mut link.held);
        let (passes, stays): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(from, to, _)| !cut[usize::from(from > to)]);
        link.held = stays;
        for (from, to, bytes) in passes {
            self.deliver_peer_bytes((from, to), generation, &bytes);
        }
    }

    pub(super) fn on_dial(&mut self, between: (u64, u64)) {
        let (a, b) = between;
        let generation = self.next_generation;
        let fit = [a, b].iter().all(|id| self.is_up(*id) && !self.servers[id].paused);
        let peers = self.are_peers(between);
        let link = self.link(between);
        if link.up || link.cut != [false; 2] || !peers {
            return;
        }
        if !fit {
            if self.is_up(a) && self.is_up(b) {
                self.after(100, Event::Dial { between });
            }
            return;
        }
        let link = self.link(between);
        *link = Link { generation, up: true, ..Link::default() };
        self.next_generation += 1;
        for (server, peer) in [(a, b), (b, a)] {
            // The first may end the other's process.
            if !self.is_up(peer) {
                continue;
            }
            let incarnation = self.replica(peer).identity().incarnation;
            let peer = ServerId(peer);
            self.input(server, Input::PeerConnected { peer, generation, incarnation });
        }
    }

    pub(super) fn send_to_peer(&mut self, from: u64, to: u64, frame: &PeerFrame) {
        let Some(generation) = self.servers[&from].generations.get(&to).copied() else {
            let text = format!("server {from} sends to {to}, which it has let go: {frame:?}");
            self.fail("boundary", text);
            return;
        };
        let Some(link) = self.links.get(&ordered(from, to)) else { return };
        if !link.up || generation != link.generation {
            return;
        }
        self.counts.messages += 1;
        let bytes = peer::encode(frame);
        self.sum.add(&[from, to]);
        self.sum.add_bytes(&bytes);
        let is_consensus = matches!(frame, PeerFrame::Raft(_));
        if is_consensus && self.strikes(self.message_faults.loss) {
            self.counts.lost += 1;
            return;
        }
        let copies = 1 + u64::from(is_consensus && self.strikes(self.message_faults.duplicate));
        self.counts.doubled += copies - 1;
        for _ in 0..copies {
            let at_ms = self.arrival_ms((from, to), lane(frame), is_consensus);
            let bytes = bytes.clone();
            self.at(at_ms, Event::PeerBytes { from, to, generation, bytes });
        }
    }

    /// Whether a fault with this chance in a thousand happens now.
    fn strikes(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.choices.below(1_000) < per_mille
    }

    fn arrival_ms(&mut self, (from, to): (u64, u64), lane: usize, is_consensus: bool) -> u64 {
        let mut delay_ms = 1 + self.choices.below(self.plan.delays.link_ms);
        let slow = self.message_faults.delay;
        if self.strikes(slow) {
            delay_ms += self.choices.below(self.plan.timings.election_ms.1 / 2 + 1);
        }
        let overtakes = is_consensus && self.strikes(self.message_faults.reorder);
        self.counts.overtaken += u64::from(overtakes);
        if overtakes {
            return self.now_ms + delay_ms + self.choices.below(self.plan.timings.heartbeat_ms * 2);
        }
        let arrives_ms = self.now_ms + delay_ms;
        let link = self.link(ordered(from, to));
        let arrival = &mut link.arrivals[usize::from(from > to)][lane];
        *arrival = arrives_ms.max(*arrival);
        *arrival
    }

    pub(super) fn on_peer_bytes(
        &mut self,
        (from, to): (u64, u64),
        generation: u64,
        bytes: Vec<u8>,
    ) {
        let link = self.link(ordered(from, to));
        if !link.up || link.generation != generation {
            return;
        }
        let waits = link.held.iter().any(|(sender, ..)| *sender == from);
        if waits || link.cut[usize::from(from > to)] {
            link.held.push((from, to, bytes));
            return;
        }
        self.deliver_peer_bytes((from, to), generation, &bytes);
    }

    fn deliver_peer_bytes(&mut self, (from, to): (u64, u64), generation: u64, bytes: &[u8]) {
        let link = self.link(ordered(from, to));
        if !link.up || link.generation != generation {
            return;
        }
        let mut buffer = peer::FrameBuffer::new();
        buffer.push(bytes);
        let limit = self.plan.limits.peer_frame_bytes_max;
        let frame = buffer.next_peer(limit).expect("peers speak properly").expect("a whole frame");
        let peer = ServerId(from);
        self.input(to, Input::PeerFrame { peer, generation, frame });
    }
}

/// The streams that the real shell has between two servers.
fn lane(frame: &PeerFrame) -> usize {
    match frame {
        PeerFrame::Raft(message) if quorate_replica::is_append(message) => 1,
        PeerFrame::Forward { .. } | PeerFrame::ForwardAnswer { .. } => 2,
        PeerFrame::ForwardLost { .. } => 2,
        PeerFrame::SnapshotChunk { .. } => 3,
        _ => 0,
    }
}
