//! Leader election: one leader, candidates in line, a value that the leader proclaims.
//!
//! The znodes of an object, `/elections/scheduler` say:
//!
//! ```text
//! called-<name>      where the candidate of that name is in line; owned by its session
//! changed            the change that observers are being told of, while some are not told yet
//! leader             the Leader, owned by its session
//! line-<ticket>      a Candidate, owned by its session; sorts by arrival
//! observer-<ticket>  an Observer, owned by its session; sorts by arrival
//! ```
//!
//! Comes in: candidates, what leaders proclaim, resignations; ends of sessions and of waits. Goes
//! out: terms, pushed to those whose turn it is; changes, pushed to those who observe.
//!
//! Promises (README.md has them in full): at most one leader; candidates lead in order of arrival
//! unless a leader names who is next; terms grow; whoever observes hears of the last state.
//!
//! Invariants: candidates are in line only while there is a leader, or while the timer `pass-on` is
//! set. A term is the zxid of its beginning, a revision that of the last change, and no zxid comes
//! back: equal revisions are the same state.
//! Must never: let a session lead that has ended or is ending.

mod messages;

pub use messages::{
    Campaign, Leader, Observe, Page, Place, Proclaim, Resign, Revision, Standing, Term, Transfer,
};
use quorate_recipe::TicketId;
use quorate_recipe::prelude::*;

/// What a mount may be given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// So many candidates find room in line, however many callers observe.
    pub candidates_max: u32,
    /// So many callers may observe; a candidate in line takes the room of two of them.
    pub observers_max: u32,
    /// Bytes of a candidate's value; at most 131072.
    pub value_bytes_max: u32,
    /// Observers that one transaction answers, at most 300 and half a mebibyte; the next ones answer
    /// the others.
    pub answered_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            candidates_max: 1_000,
            observers_max: 10_000,
            value_bytes_max: 4_096,
            answered_max: 200,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Candidate {
    ticket: Ticket<Term>,
    session: SessionId,
    identity: String,
    name: String,
    value: Blob,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Observer {
    ticket: Ticket<Standing>,
    /// The transaction that parked it.
    since: u64,
}

/// Whoever waits. One type for both, because one scan may meet both.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Waiting {
    InLine(Candidate),
    Observing(Observer),
}

const CHANGED: &str = "changed";
const LEADER: &str = "leader";
const LINE: &str = "line-";
const OBSERVERS: &str = "observer-";

/// Answers the observers that are left.
const ANSWER: &str = "answer";
/// Goes on looking for a candidate whose session lives.
const PASS_ON: &str = "pass-on";

/// Candidates of one ending session that one run passes over.
const PASSED_OVER_MAX: u32 = 8;
const PAGE_MAX: u32 = 100;
/// Bytes of candidates, their values among them, that one page reads: half of what a run may.
const PAGE_READ_BYTES_MAX: u32 = 2 << 20;
const NAME_BYTES_MAX: usize = 200;
const VALUE_BYTES_MAX: u32 = 128 << 10;
/// Answering is two changes each, and one run makes at most a thousand.
const ANSWERED_MAX: u32 = 300;
/// Bytes of all the values that one run sends to observers.
const ANSWERED_BYTES_MAX: u32 = 512 << 10;

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Election;

/// Leader election with terms, proclaimed values and gapless observation.
#[recipe(name = "election", version = "1.0.0", state = 1, config = Config)]
impl Election {
    /// Leads, or waits in line to lead. Refused `led` if it may not wait.
    #[command]
    pub fn campaign(call: &Call, wanted: Campaign) -> Result<Reply<Term>> {
        let config = call.config::<Config>()?;
        check_value(&config, &wanted.value)?;
        let name = wanted.name.unwrap_or_else(|| call.session().to_string());
        check_name(&name)?;
        let leader = call.get::<Leader>(LEADER)?;
        if leader.as_ref().is_some_and(|leader| leader.name == name) || is_called(call, &name) {
            let message = format!("{name:?} leads or is in line already; take another name");
            return Err(Failure::new("already-candidate", message));
        }
        let (session, identity) = (call.session(), call.identity().to_owned());
        if leader.is_none() && !is_line(call)? {
            return Ok(lead(call, (session, identity), name, wanted.value)?.into());
        }
        if wanted.wait_ms == Some(0) {
            let message = "another candidate leads or is to lead; wait, or try later";
            return Err(Failure::new("led", message).with_detail(&leader));
        }
        let room = u64::from(config.observers_max) + 2 * u64::from(config.candidates_max);
        if u64::from(crowd(call)?) >= room {
            let message = "too many candidates are in line; try later";
            return Err(Failure::new("line-full", message));
        }
        let ticket = call.park(wanted.wait_ms);
        let place = line_name(&ticket.key());
        call.create_owned(&called_name(&name), &place, session)?;
        let candidate = Candidate { ticket, session, identity, name, value: wanted.value };
        call.create_owned(&place, &Waiting::InLine(candidate), session)?;
        Ok(Reply::Parked(ticket))
    }

    /// Shows another value from now on. Refused `not-leader` unless the caller's session leads in
    /// this term.
    #[command]
    pub fn proclaim(call: &Call, proclaimed: Proclaim) -> Result<Revision> {
        check_value(&call.config()?, &proclaimed.value)?;
        let leader = own_term(call, proclaimed.term)?;
        let revision = call.zxid();
        call.set(LEADER, &Leader { revision, value: proclaimed.value, ..leader })?;
        answer_observers(call, revision)?;
        Ok(Revision { revision })
    }

    /// Ends the caller's term: the first in line leads. Refused `not-leader` unless the caller's
    /// session leads in this term.
    #[command]
    pub fn resign(call: &Call, resigned: Resign) -> Result<()> {
        own_term(call, resigned.term)?;
        pass_on(call)
    }

    /// Ends the caller's term: the candidate of that name leads, wherever it is in line. Refused
    /// `not-leader` unless the caller's session leads in this term; `no-candidate`.
    #[command]
    pub fn transfer(call: &Call, transferred: Transfer) -> Result<Term> {
        own_term(call, transferred.term)?;
        let no_candidate = || {
            let message = format!("no candidate {:?} is in line", transferred.to);
            Failure::new("no-candidate", message)
        };
        check_name(&transferred.to).map_err(|_| no_candidate())?;
        let place = call.get::<String>(&called_name(&transferred.to))?.ok_or_else(no_candidate)?;
        let Some(Waiting::InLine(candidate)) = call.get(&place)? else {
            return Err(no_candidate());
        };
        call.delete(LEADER)?;
        promote(call, &place, candidate)?.ok_or_else(no_candidate)
    }

    /// Waits until the leader or its value is another one than the caller has seen, and gives how
    /// the election stands then. Refused `unchanged` if it may not wait.
    #[command]
    pub fn observe(call: &Call, seen: Observe) -> Result<Reply<Standing>> {
        let standing = standing(call)?;
        if seen.after != Some(standing.revision) {
            return Ok(standing.into());
        }
        if seen.wait_ms == Some(0) {
            return Err(Failure::new("unchanged", "nothing has changed since this revision"));
        }
        if crowd(call)? >= call.config::<Config>()?.observers_max {
            let message = "too many callers observe or are in line; try later";
            return Err(Failure::new("observers-full", message));
        }
        let ticket = call.park(seen.wait_ms);
        let observer = Waiting::Observing(Observer { ticket, since: call.zxid() });
        call.create_owned(&observer_name(&ticket.key()), &observer, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    /// Who leads.
    #[query]
    pub fn leader(call: &Call) -> Result<Standing> {
        standing(call)
    }

    /// Who is in line, the next leader first.
    #[query]
    pub fn candidates(call: &Call, page: Page) -> Result<Vec<Place>> {
        let after = page.after.map(|place| line_name(&TicketId(place).key()));
        let value_bytes_max = call.config::<Config>()?.value_bytes_max;
        let fitting = (PAGE_READ_BYTES_MAX / value_bytes_max.saturating_add(1_024)).max(1);
        let limit = page.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX).min(fitting);
        if !call.exists("") {
            return Ok(Vec::new());
        }
        let waiting = call.scan("", Some(after.as_deref().unwrap_or(LINE)), limit)?;
        let place = |(_, waiting)| match waiting {
            Waiting::InLine(Candidate { ticket, name, session, identity, .. }) => {
                Some(Place { place: ticket.id().0, name, session, identity })
            }
            Waiting::Observing(_) => None,
        };
        Ok(waiting.into_iter().map_while(place).collect())
    }

    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        check_config(&run.config()?)
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, _before: Config) -> Result<()> {
        check_config(&run.config()?)
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        match run.get::<Leader>(LEADER)? {
            Some(leader) if leader.session == session => pass_on(run),
            // Its places in line go with the session; nobody behind them is next.
            _ => Ok(()),
        }
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        let key = ended.ticket.key();
        if let Some(Waiting::InLine(candidate)) = run.get(&line_name(&key))? {
            return leave_line(run, &line_name(&key), &candidate);
        }
        run.delete(&observer_name(&key)).map(drop)
    }

    #[on(timer)]
    fn timer(run: &Run, name: &str) -> Result<()> {
        if name == PASS_ON {
            return if run.exists(LEADER) { Ok(()) } else { promote_first(run) };
        }
        match run.get(CHANGED)? {
            Some(changed) => answer_observers(run, changed),
            None => Ok(()),
        }
    }
}

fn line_name(key: &str) -> String {
    format!("{LINE}{key}")
}

fn observer_name(key: &str) -> String {
    format!("{OBSERVERS}{key}")
}

fn called_name(name: &str) -> String {
    format!("called-{name}")
}

fn is_called(run: &Run, name: &str) -> bool {
    run.exists(&called_name(name))
}

/// Whether anybody is in line.
fn is_line(run: &Run) -> Result<bool> {
    let first = run.first_after::<Waiting>("", LINE)?;
    Ok(matches!(first, Some((_, Waiting::InLine(_)))))
}

/// Znodes of those who wait: one of an observer, two of a candidate.
fn crowd(run: &Run) -> Result<u32> {
    let beside = u32::from(run.exists(LEADER)) + u32::from(run.exists(CHANGED));
    Ok(run.count("")?.saturating_sub(beside))
}

fn check_config(config: &Config) -> Result<()> {
    if config.value_bytes_max <= VALUE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("value_bytes_max is at most {VALUE_BYTES_MAX}");
    Err(Failure::new("bad-config", message))
}

fn check_value(config: &Config, value: &Blob) -> Result<()> {
    if value.0.len() <= config.value_bytes_max as usize {
        return Ok(());
    }
    let message = format!("a value has at most {} bytes here", config.value_bytes_max);
    Err(Failure::new("value-too-large", message))
}

fn check_name(name: &str) -> Result<()> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    if fits && !name.contains(|letter: char| letter == '/' || letter.is_control()) {
        return Ok(());
    }
    let message = format!("a name has 1 to {NAME_BYTES_MAX} bytes, and neither / nor controls");
    Err(Failure::new("bad-name", message))
}

fn standing(run: &Run) -> Result<Standing> {
    let leader = run.get::<Leader>(LEADER)?;
    Ok(Standing { revision: leader.as_ref().map_or(0, |leader| leader.revision), leader })
}

/// The leader, if it is the caller's session in this term.
fn own_term(call: &Call, term: u64) -> Result<Leader> {
    match call.get::<Leader>(LEADER)? {
        Some(leader) if leader.session == call.session() && leader.term == term => Ok(leader),
        leader => {
            let message = "you do not lead in this term; campaign again";
            Err(Failure::new("not-leader", message).with_detail(&leader))
        }
    }
}

fn lead(
    run: &Run,
    (session, identity): (SessionId, String),
    name: String,
    value: Blob,
) -> Result<Term> {
    let (term, since_ms) = (run.zxid(), run.now_ms());
    let leader = Leader { name, session, identity, term, revision: term, value, since_ms };
    run.create_owned(LEADER, &leader, session)?;
    answer_observers(run, term)?;
    Ok(Term { term })
}

fn leave_line(run: &Run, place: &str, candidate: &Candidate) -> Result<()> {
    run.delete(place)?;
    run.delete(&called_name(&candidate.name)).map(drop)
}

/// Makes a candidate in line the leader; none: its caller has gone.
fn promote(run: &Run, place: &str, candidate: Candidate) -> Result<Option<Term>> {
    leave_line(run, place, &candidate)?;
    if !run.complete(candidate.ticket, &Term { term: run.zxid() })? {
        return Ok(None);
    }
    let of = (candidate.session, candidate.identity);
    lead(run, of, candidate.name, candidate.value).map(Some)
}

/// Ends the term of the leader; the first in line leads.
fn pass_on(run: &Run) -> Result<()> {
    run.delete(LEADER)?;
    promote_first(run)?;
    if run.exists(LEADER) { Ok(()) } else { answer_observers(run, run.zxid()) }
}

/// Makes the first candidate in line whose session lives the leader. Those of an ending session go
/// with it; if there are many, a later run finds them gone.
fn promote_first(run: &Run) -> Result<()> {
    let first = run.scan::<Waiting>("", Some(LINE), PASSED_OVER_MAX)?;
    let is_all = first.len() < PASSED_OVER_MAX as usize;
    for (place, waiting) in first {
        let Waiting::InLine(candidate) = waiting else { return Ok(()) };
        if run.is_live(candidate.session) && promote(run, &place, candidate)?.is_some() {
            return Ok(());
        }
    }
    if !is_all {
        run.set_timer(PASS_ON, run.now_ms());
    }
    Ok(())
}

/// Tells those who began to observe before the change how the election stands: as many as one run
/// may; a timer sees to the others.
fn answer_observers(run: &Run, changed: u64) -> Result<()> {
    let standing = standing(run)?;
    let value_bytes = standing.leader.as_ref().map_or(0, |leader| leader.value.0.len());
    let fitting = ANSWERED_BYTES_MAX / u32::try_from(value_bytes + 1_024).unwrap_or(u32::MAX);
    let most = run.config::<Config>()?.answered_max.min(ANSWERED_MAX).min(fitting).max(1);
    let observers = run.scan::<Waiting>("", Some(OBSERVERS), most)?;
    let mut are_left = observers.len() == most as usize;
    for (name, waiting) in observers {
        let Waiting::Observing(observer) = waiting else { continue };
        if observer.since >= changed {
            are_left = false;
            break;
        }
        run.delete(&name)?;
        run.complete(observer.ticket, &standing)?;
    }
    if are_left {
        run.put(CHANGED, &changed)?;
        run.set_timer(ANSWER, run.now_ms());
    } else if run.delete(CHANGED)? {
        run.cancel_timer(ANSWER);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
