//! One run of one candidate: servers, links, disks and clients in virtual milliseconds, driven by one
//! queue of events.
//!
//! Comes in: a schedule. Goes out: figures, or a sentence that says what broke. Invariant: every
//! server applies the same entries in the same order, a term has one leader, and after the faults
//! all servers hold the same log. Must never look at which candidate it drives.

use std::collections::BTreeMap;

use crate::candidate::{Applied, Candidate, Effects, Input, Place, Sync};
use crate::figures::Figures;
use crate::schedule::{CLIENTS_END_MS, END_MS, NOTICE_MS, Schedule};

/// Far more than any run takes; reaching it means that the servers keep one another busy for ever.
const EVENTS_MAX: u64 = 20_000_000;

enum Event<M> {
    /// Something reaches a server; the number is its run, where only that run is concerned.
    Reach(u64, Option<u64>, Input<M>),
    /// A message arrives; it is lost if the link is cut by now.
    Arrive(u64, u64, M),
    Stop(u64),
    Start(u64),
    /// The transports between a server and its peers notice that its process is gone, or back.
    Notice(u64, bool),
    Clients,
}

/// A server and what the network knows of it.
struct Seat<C> {
    candidate: C,
    /// How often it was started.
    run: u64,
    /// When the last write in progress will be done.
    disk_free_ms: u64,
    syncs: Burst,
    applied: u64,
}

/// Counts what happens within one millisecond.
#[derive(Default)]
struct Burst {
    now_ms: u64,
    count: u64,
}

impl Burst {
    /// How many came before this one in this millisecond.
    fn next(&mut self, now_ms: u64) -> u64 {
        if self.now_ms != now_ms {
            *self = Self { now_ms, count: 0 };
        }
        self.count += 1;
        self.count - 1
    }
}

#[derive(Default)]
struct Link {
    sent: Burst,
    last_arrival_ms: u64,
}

struct Network<'a, C: Candidate> {
    schedule: &'a Schedule,
    now_ms: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event<C::Message>>,
    seats: BTreeMap<u64, Seat<C>>,
    links: BTreeMap<(u64, u64), Link>,
    /// What is committed, from index 1 on.
    log: Vec<Applied>,
    leaders: BTreeMap<u64, u64>,
    figures: Figures,
}

/// Runs one candidate through a schedule.
///
/// # Errors
/// A sentence that says which property broke, and when.
pub fn run<C: Candidate>(schedule: &Schedule) -> Result<Figures, String> {
    let mut network = Network::<C>::new(schedule);
    let outcome = network.run_to_end().and_then(|()| network.check_at_rest());
    let now_ms = network.now_ms;
    outcome.map_err(|message| format!("{message} (at {now_ms} ms; {})", schedule.describe()))?;
    network.figures.committed =
        network.log.iter().filter(|entry| !entry.payload.is_empty()).count() as u64;
    network.figures.elections = network.leaders.len() as u64;
    Ok(network.figures)
}

impl<'a, C: Candidate> Network<'a, C> {
    fn new(schedule: &'a Schedule) -> Self {
        let seat = |id| {
            let place = Place {
                id,
                servers: schedule.servers,
                appends_inflight_max: schedule.appends_inflight_max,
            };
            let candidate = C::new(place);
            Seat { candidate, run: 0, disk_free_ms: 0, syncs: Burst::default(), applied: 0 }
        };
        let mut network = Self {
            schedule,
            now_ms: 0,
            order: 0,
            events: BTreeMap::new(),
            seats: (1..=schedule.servers).map(|id| (id, seat(id))).collect(),
            links: BTreeMap::new(),
            log: Vec::new(),
            leaders: BTreeMap::new(),
            figures: Figures::default(),
        };
        (1..=schedule.servers).for_each(|id| network.schedule_at(0, Event::Start(id)));
        for (id, span) in &schedule.stops {
            network.schedule_at(span.since_ms, Event::Stop(*id));
            network.schedule_at(span.until_ms, Event::Start(*id));
        }
        network.schedule_at(schedule.slot_ms, Event::Clients);
        network
    }

    fn schedule_at(&mut self, at_ms: u64, event: Event<C::Message>) {
        self.order += 1;
        self.events.insert((at_ms, self.order), event);
    }

    fn run_to_end(&mut self) -> Result<(), String> {
        for _ in 0..EVENTS_MAX {
            let event = self.events.first_key_value().map(|(key, _)| *key);
            let (tick_ms, id) = self.next_tick();
            let at_ms = event.map_or(u64::MAX, |(at_ms, _)| at_ms);
            let next_ms = at_ms.min(tick_ms);
            if next_ms > END_MS {
                self.now_ms = END_MS;
                return Ok(());
            }
            self.now_ms = next_ms;
            match event {
                Some(key) if at_ms <= tick_ms => {
                    let event = self.events.remove(&key).expect("the first event");
                    self.happen(event)?;
                }
                _ => self.give(id, Input::Tick)?,
            }
        }
        Err("the cluster never comes to rest".to_owned())
    }

    /// The first tick due; a paused server's waits until it wakes up.
    fn next_tick(&self) -> (u64, u64) {
        let due = |(id, seat): (&u64, &Seat<C>)| {
            let due_ms = seat.candidate.next_tick_ms().max(self.now_ms);
            (self.schedule.paused_until(*id, due_ms).unwrap_or(due_ms), *id)
        };
        self.seats.iter().map(due).min().expect("a cluster has servers")
    }

    fn happen(&mut self, event: Event<C::Message>) -> Result<(), String> {
        match event {
            Event::Reach(id, run, input) => self.reach(id, run, input),
            Event::Arrive(from, to, message) => self.arrive(from, to, message),
            Event::Stop(id) => self.stop(id),
            Event::Start(id) => self.start(id),
            Event::Notice(id, up) => self.notice(id, up),
            Event::Clients => self.clients(),
        }
    }

    fn seat(&mut self, id: u64) -> &mut Seat<C> {
        self.seats.get_mut(&id).expect("a server of this cluster")
    }

    fn reach(&mut self, id: u64, run: Option<u64>, input: Input<C::Message>) -> Result<(), String> {
        let seat = self.seat(id);
        if !seat.candidate.runs() || run.is_some_and(|run| run != seat.run) {
            return Ok(());
        }
        if let Some(until_ms) = self.schedule.paused_until(id, self.now_ms) {
            self.schedule_at(until_ms, Event::Reach(id, run, input));
            return Ok(());
        }
        self.give(id, input)
    }

    fn arrive(&mut self, from: u64, to: u64, message: C::Message) -> Result<(), String> {
        if self.schedule.is_cut(from, to, self.now_ms) {
            return Ok(());
        }
        self.reach(to, None, Input::Receive(from, message))
    }

    fn stop(&mut self, id: u64) -> Result<(), String> {
        self.seat(id).candidate.stop();
        self.schedule_at(self.now_ms + NOTICE_MS, Event::Notice(id, false));
        Ok(())
    }

    fn start(&mut self, id: u64) -> Result<(), String> {
        if let Some(until_ms) = self.schedule.paused_until(id, self.now_ms) {
            self.schedule_at(until_ms, Event::Start(id));
            return Ok(());
        }
        let now_ms = self.now_ms;
        let seat = self.seat(id);
        if seat.candidate.runs() {
            return Ok(());
        }
        seat.run += 1;
        seat.disk_free_ms = now_ms;
        seat.applied = 0;
        let seed = self.schedule.jitter_seed(id, now_ms);
        self.give(id, Input::Start(seed))?;
        self.schedule_at(now_ms + NOTICE_MS, Event::Notice(id, true));
        Ok(())
    }

    /// Nobody notices anything across a cut link.
    fn notice(&mut self, id: u64, up: bool) -> Result<(), String> {
        if self.seat(id).candidate.runs() != up {
            return Ok(());
        }
        let connection = |peer| if up { Input::Connected(peer) } else { Input::Disconnected(peer) };
        for peer in (1..=self.schedule.servers).filter(|peer| *peer != id) {
            let (now_ms, schedule) = (self.now_ms, self.schedule);
            if schedule.is_cut(id, peer, now_ms) || schedule.is_cut(peer, id, now_ms) {
                continue;
            }
            self.reach(peer, None, connection(id))?;
            self.reach(id, None, connection(peer))?;
        }
        Ok(())
    }

    /// The clients find the newest leader that is awake, or nobody; then what they wanted to propose
    /// in this slot is dropped.
    fn clients(&mut self) -> Result<(), String> {
        if self.now_ms >= CLIENTS_END_MS {
            return Ok(());
        }
        self.schedule_at(self.now_ms + self.schedule.slot_ms, Event::Clients);
        let awake = |id: &u64| self.schedule.paused_until(*id, self.now_ms).is_none();
        let leads = |(id, seat): (&u64, &Seat<C>)| Some((seat.candidate.leads_in()?, *id));
        let leaders = self.seats.iter().filter(|(id, _)| awake(id)).filter_map(leads);
        self.figures.slots += 1;
        match leaders.max() {
            Some((_, id)) => self.give(id, Input::Propose(self.schedule.proposals(self.now_ms))),
            None => {
                self.figures.slots_leaderless += 1;
                Ok(())
            }
        }
    }

    fn give(&mut self, id: u64, input: Input<C::Message>) -> Result<(), String> {
        let now_ms = self.now_ms;
        let offered = if let Input::Propose(payloads) = &input { payloads.len() as u64 } else { 0 };
        let effects = self.seat(id).candidate.take(now_ms, input)?;
        if effects.proposed {
            self.figures.proposed += offered;
        }
        if let Some(term) = self.seat(id).candidate.leads_in() {
            let leader = *self.leaders.entry(term).or_insert(id);
            if leader != id {
                return Err(format!("{leader} and {id} both lead term {term}"));
            }
        }
        self.perform(id, effects)
    }

    fn perform(&mut self, id: u64, effects: Effects<C::Message>) -> Result<(), String> {
        for entry in effects.applied {
            self.note_applied(id, entry)?;
        }
        for sync in effects.writes {
            self.begin_write(id, sync);
        }
        for (to, message) in effects.messages {
            self.send(id, to, message);
        }
        Ok(())
    }

    fn note_applied(&mut self, id: u64, entry: Applied) -> Result<(), String> {
        let seat = self.seat(id);
        seat.applied += 1;
        if entry.index != seat.applied {
            return Err(format!("{id} applies {} after {}", entry.index, seat.applied - 1));
        }
        let position = usize::try_from(entry.index - 1).expect("a log in memory");
        match self.log.get(position) {
            Some(known) if *known == entry => {}
            Some(known) => {
                let (index, ours, other) = (entry.index, entry.term, known.term);
                return Err(format!("{id} applies {index} of term {ours}, others of {other}"));
            }
            None => self.log.push(entry),
        }
        Ok(())
    }

    /// A disk does one write after the other.
    fn begin_write(&mut self, id: u64, sync: Sync) {
        let now_ms = self.now_ms;
        let schedule = self.schedule;
        let seat = self.seat(id);
        let done_ms = match sync {
            Sync::Needed => now_ms + schedule.sync_ms(id, now_ms, seat.syncs.next(now_ms)),
            Sync::Unneeded => now_ms,
        };
        seat.disk_free_ms = seat.disk_free_ms.max(done_ms);
        let (done_ms, run) = (seat.disk_free_ms, seat.run);
        self.schedule_at(done_ms, Event::Reach(id, Some(run), Input::WriteDone));
    }

    fn send(&mut self, from: u64, to: u64, message: C::Message) {
        self.figures.count(C::kind(&message));
        let link = self.links.entry((from, to)).or_default();
        let nth = link.sent.next(self.now_ms);
        let fate = self.schedule.message_fate(from, to, self.now_ms, nth);
        let Some(delay_ms) = fate else { return };
        let mut arrival_ms = self.now_ms + delay_ms;
        if !self.schedule.reorders {
            arrival_ms = arrival_ms.max(link.last_arrival_ms);
        }
        link.last_arrival_ms = arrival_ms;
        self.schedule_at(arrival_ms, Event::Arrive(from, to, message));
    }

    fn check_at_rest(&self) -> Result<(), String> {
        let all = self.log.len() as u64;
        if let Some((id, seat)) = self.seats.iter().find(|(_, seat)| seat.applied != all) {
            let applied = seat.applied;
            return Err(format!("{id} has applied {applied} of {all} entries after the faults"));
        }
        let terms = self.seats.values().filter_map(|seat| seat.candidate.leads_in()).count();
        if terms == 1 { Ok(()) } else { Err(format!("{terms} servers lead after the faults")) }
    }
}
