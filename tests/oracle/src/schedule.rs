//! What happens to a cluster in one run, drawn from the seed before the run begins, in absolute
//! virtual milliseconds, so that both candidates meet the same.
//!
//! Comes in: a seed and the number of servers. Goes out: the strength of each fault, when links are
//! cut, servers stopped or paused, and the fate of each message and write. Invariant: a fate follows
//! from the seed, the place, the millisecond and how many came before in that millisecond, never
//! from what is sent or who leads. After `STORM_MS` there are no faults.

use std::collections::BTreeSet;

use quorate_scenarios::prng::Prng;
use quorate_scenarios::server::mix;

/// How long faults happen.
pub const STORM_MS: u64 = 40_000;
/// When the clients stop, so that the run can come to rest.
pub const CLIENTS_END_MS: u64 = STORM_MS + 4_000;
/// When the run ends.
pub const END_MS: u64 = CLIENTS_END_MS + 4_000;
/// How long a transport takes to notice that the process at the other end is gone, or back.
pub const NOTICE_MS: u64 = 50;

/// From when to when something lasts; the end is exclusive.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its first millisecond.
    pub since_ms: u64,
    /// The first millisecond after it.
    pub until_ms: u64,
}

impl Span {
    fn holds(&self, now_ms: u64) -> bool {
        (self.since_ms..self.until_ms).contains(&now_ms)
    }
}

/// Links that carry nothing for a while.
#[derive(Clone, Debug)]
struct Cut {
    span: Span,
    /// Sender and receiver.
    links: BTreeSet<(u64, u64)>,
}

/// Everything that a run meets.
#[derive(Clone, Debug)]
pub struct Schedule {
    seed: u64,
    /// How many servers there are.
    pub servers: u64,
    /// Most unanswered appends with entries per peer.
    pub appends_inflight_max: usize,
    /// Time from one proposal of the clients to the next.
    pub slot_ms: u64,
    batch_max: u64,
    payload_bytes: usize,
    loss_permille: u64,
    delay_ms_max: u64,
    /// Whether a message may overtake another on the same link.
    pub reorders: bool,
    disk_ms_max: u64,
    cuts: Vec<Cut>,
    /// Which server is stopped, and started again, when.
    pub stops: Vec<(u64, Span)>,
    pauses: Vec<(u64, Span)>,
}

impl Schedule {
    /// Each seed has other faults, most of them absent, so that rare combinations come up.
    pub fn draw(seed: u64, servers: u64) -> Self {
        let mut prng = Prng::new(mix(seed, servers));
        let mut schedule = Self {
            seed: prng.draw(),
            servers,
            appends_inflight_max: prng.one_of(&[4, 16, 64]),
            slot_ms: prng.one_of(&[5, 20, 50, 200]),
            batch_max: prng.one_of(&[1, 4, 8]),
            payload_bytes: prng.one_of(&[8, 64, 256]),
            loss_permille: prng.one_of(&[0, 0, 5, 20, 100]),
            delay_ms_max: prng.one_of(&[1, 5, 20, 100, 300]),
            reorders: prng.chance(500),
            disk_ms_max: prng.one_of(&[1, 5, 20, 100]),
            cuts: Vec::new(),
            stops: Vec::new(),
            pauses: Vec::new(),
        };
        let cut_every_ms = prng.one_of(&[0, 2_000, 6_000]);
        let spans = draw_spans(&mut prng, cut_every_ms, &[300, 1_500, 6_000]);
        for span in spans {
            let links = draw_links(&mut prng, servers);
            schedule.cuts.push(Cut { span, links });
        }
        let stop_every_ms = prng.one_of(&[0, 0, 6_000, 20_000]);
        schedule.stops = draw_for_each(&mut prng, servers, stop_every_ms, &[50, 1_000, 5_000]);
        let pause_every_ms = prng.one_of(&[0, 0, 6_000, 20_000]);
        schedule.pauses = draw_for_each(&mut prng, servers, pause_every_ms, &[200, 1_500, 4_000]);
        schedule
    }

    /// Whether the link carries nothing at that time.
    pub fn is_cut(&self, from: u64, to: u64, now_ms: u64) -> bool {
        self.cuts.iter().any(|cut| cut.span.holds(now_ms) && cut.links.contains(&(from, to)))
    }

    /// Until when a server that is paused at that time stays so.
    pub fn paused_until(&self, server: u64, now_ms: u64) -> Option<u64> {
        let pause = self.pauses.iter().find(|(id, span)| *id == server && span.holds(now_ms));
        pause.map(|(_, span)| span.until_ms)
    }

    /// How long the `nth` message that leaves on a link in this millisecond is under way; `None`
    /// when it is lost.
    pub fn message_fate(&self, from: u64, to: u64, now_ms: u64, nth: u64) -> Option<u64> {
        let mut prng = self.fate(mix(from, to), now_ms, nth);
        if now_ms >= STORM_MS {
            return Some(prng.within(1..4));
        }
        if self.is_cut(from, to, now_ms) || prng.chance(self.loss_permille) {
            return None;
        }
        Some(prng.within(1..self.delay_ms_max + 1))
    }

    /// How long the `nth` sync that a server begins in this millisecond takes.
    pub fn sync_ms(&self, server: u64, now_ms: u64, nth: u64) -> u64 {
        let most_ms = if now_ms >= STORM_MS { 2 } else { self.disk_ms_max };
        self.fate(mix(server, 0), now_ms, nth).within(0..most_ms + 1)
    }

    /// What the clients propose at that time. Every payload of a run is another one.
    pub fn proposals(&self, now_ms: u64) -> Vec<Vec<u8>> {
        let count = self.fate(0, now_ms, 0).within(1..self.batch_max + 1);
        let payload = |number: u64| {
            let mut bytes = vec![0; self.payload_bytes];
            let number = (now_ms * self.batch_max + number).to_le_bytes();
            bytes[..number.len()].copy_from_slice(&number);
            bytes
        };
        (0..count).map(payload).collect()
    }

    /// The source of the jitter of a server that starts at that time.
    pub fn jitter_seed(&self, server: u64, now_ms: u64) -> u64 {
        self.fate(mix(server, 1), now_ms, 0).draw()
    }

    fn fate(&self, place: u64, now_ms: u64, nth: u64) -> Prng {
        Prng::new(mix(mix(self.seed, place), mix(now_ms, nth)))
    }

    /// The faults in one line.
    pub fn describe(&self) -> String {
        let order = if self.reorders { "any order" } else { "in order" };
        format!(
            "loss {}/1000, delay to {} ms {order}, disk to {} ms, {} cuts, {} stops, {} pauses, \
             {} in flight, up to {} entries every {} ms",
            self.loss_permille,
            self.delay_ms_max,
            self.disk_ms_max,
            self.cuts.len(),
            self.stops.len(),
            self.pauses.len(),
            self.appends_inflight_max,
            self.batch_max,
            self.slot_ms
        )
    }
}

/// Spans one after the other within the storm, on average `every_ms` apart; none if that is 0.
fn draw_spans(prng: &mut Prng, every_ms: u64, lasting_ms_max: &[u64]) -> Vec<Span> {
    let mut spans = Vec::new();
    if every_ms == 0 {
        return spans;
    }
    let mut since_ms = prng.within(1..2 * every_ms);
    while since_ms < STORM_MS {
        let most_ms = prng.one_of(lasting_ms_max);
        let until_ms = (since_ms + prng.within(most_ms / 4..most_ms)).min(STORM_MS);
        spans.push(Span { since_ms, until_ms });
        since_ms = until_ms + prng.within(1..2 * every_ms);
    }
    spans
}

fn draw_for_each(
    prng: &mut Prng,
    servers: u64,
    every_ms: u64,
    lasting_ms_max: &[u64],
) -> Vec<(u64, Span)> {
    let mut all = Vec::new();
    for server in 1..=servers {
        let spans = draw_spans(prng, every_ms, lasting_ms_max);
        all.extend(spans.into_iter().map(|span| (server, span)));
    }
    all
}

/// One kind of partition: a server apart from the others, wholly or in one direction; two groups;
/// or one link in one direction.
fn draw_links(prng: &mut Prng, servers: u64) -> BTreeSet<(u64, u64)> {
    let ids = 1..=servers;
    let one = prng.within(1..servers + 1);
    let other = 1 + (one - 1 + prng.within(1..servers)) % servers;
    let outward = ids.clone().map(|id| (one, id));
    let inward = ids.clone().map(|id| (id, one));
    match prng.within(0..5) {
        0 => outward.chain(inward).collect(),
        1 => outward.collect(),
        2 => inward.collect(),
        3 => BTreeSet::from([(one, other)]),
        _ => {
            let side: Vec<bool> = (0..=servers).map(|_| prng.chance(500)).collect();
            let apart = |from: u64, to: u64| side[from as usize] != side[to as usize];
            let links = ids.clone().flat_map(|from| ids.clone().map(move |to| (from, to)));
            links.filter(|(from, to)| apart(*from, *to)).collect()
        }
    }
}
