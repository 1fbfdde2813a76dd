//! A double barrier: all enter together, all leave together, again and again.
//!
//! The znodes of an object, `/double-barriers/training` say:
//!
//! ```text
//! member-<number>    a Place, owned by the member's session; sorts by arrival
//! round              the Round: how many are needed, in, and out again
//! ```
//!
//! Comes in: members that enter and leave; ends of sessions and of waits. Goes out: the word that all
//! are in, or all are out, or that the round broke; pushed to those who wait for it.
//!
//! Promises (README.md has them in full): nobody is in before all are, nobody is out before all are;
//! never more than the parties agreed on; every member that hears of the end of a round hears the
//! same; rounds have growing numbers and leave nothing to the next.
//!
//! Invariants: `entered` and `left` count members of this round, of which those that left may be gone
//! with their sessions; every parked call is a member's, of this round. A broken round has no members.
//! A generation is the zxid of the first enter, a member's number that of its own.
//! Must never: count a member whose session has ended as one that will come or leave.

use quorate_recipe::TicketId;
use quorate_recipe::prelude::*;

/// One run answers all members of a round, so there cannot be more.
const PARTIES_MAX: u32 = 256;

/// What a mount may be given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Parties that a round may have; at most 256.
    pub parties_max: u32,
    /// Whether the next one to enter begins a new round after one that broke; else it takes a
    /// `reset`.
    pub resets_itself: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { parties_max: PARTIES_MAX, resets_itself: false }
    }
}

/// How many have to come, and how long to wait for them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Enter {
    /// The parties of the round: all members say the same number.
    pub parties: u32,
    /// Milliseconds to wait; none: for ever; 0: only if the caller is the last one.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// All are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Entered {
    /// The number of the round; later rounds have greater ones.
    pub generation: u64,
    /// The caller's place in it, to leave with.
    pub member: u64,
}

/// Who leaves, and how long to wait for the others.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// The caller's place in the round.
    pub member: u64,
    /// Milliseconds to wait; none: for ever; 0: only if the caller is the last one.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// All are out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Generation {
    /// The number of the round.
    pub generation: u64,
}

/// Which round to end.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// Only this one; none: whichever it is.
    #[serde(default)]
    pub generation: Option<u64>,
}

/// How far a round has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Members enter; not all are in.
    Gathering,
    /// All are in; not all are out.
    Inside,
    /// It ended before its time, and nobody has reset it.
    Broken,
}

/// A round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Round {
    /// Its number.
    pub generation: u64,
    /// How many have to come.
    pub parties: u32,
    /// How far it has come.
    pub phase: Phase,
    /// How many have entered.
    pub entered: u32,
    /// How many of them have left.
    pub left: u32,
    /// Why it broke.
    pub broken: Option<String>,
}

/// A member of the round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Member {
    /// Its number.
    pub member: u64,
    /// Its session.
    pub session: SessionId,
    /// Who the session's connection proved to be.
    pub identity: String,
    /// Whether it waits for the others to leave.
    pub has_left: bool,
}

/// The round and who is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct State {
    /// None: nobody is here.
    pub round: Option<Round>,
    /// In order of arrival.
    pub members: Vec<Member>,
}

/// What is kept of a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    member: Member,
    /// The call that waits, or waited last.
    ticket: Option<TicketId>,
}

const MEMBERS: &str = "member-";
const ROUND: &str = "round";

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct DoubleBarrier;

/// A cyclic barrier to enter and to leave together; it breaks for all or for none.
#[recipe(name = "double-barrier", version = "1.0.0", state = 1, config = Config)]
impl DoubleBarrier {
    /// Enters, and waits until all parties have. Refused `full` if all are in already, `other-parties`
    /// if the others wait for another number, `incomplete` if it may not wait, `broken`.
    #[command]
    pub fn enter(call: &Call, wanted: Enter) -> Result<Reply<Entered>> {
        let mut round = joinable_round(call, wanted.parties)?;
        let is_last = round.entered + 1 == round.parties;
        if !is_last && wanted.wait_ms == Some(0) {
            // A round that nobody has entered is none.
            let there_is = (round.entered > 0).then_some(&round);
            return Err(incomplete("not all parties have come", there_is));
        }
        round.entered += 1;
        let ticket = (!is_last).then(|| call.park::<Entered>(wanted.wait_ms));
        let (session, identity) = (call.session(), call.identity().into());
        let number = call.zxid();
        let member = Member { member: number, session, identity, has_left: false };
        if is_last {
            round.phase = Phase::Inside;
            for (_, other) in places(call)? {
                let member = other.member.member;
                answer(call, &other, &Entered { generation: round.generation, member })?;
            }
        }
        let place = Place { member, ticket: ticket.map(Ticket::id) };
        call.create_owned(&place_name(number), &place, session)?;
        call.put(ROUND, &round)?;
        let entered = Entered { generation: round.generation, member: number };
        Ok(ticket.map_or(Reply::Done(entered), Reply::Parked))
    }

    /// Leaves, and waits until all have left. Refused `not-a-member` unless the caller's session entered
    /// this round under that number and has not left it; `incomplete` if it may not wait; `broken`.
    #[command]
    pub fn leave(call: &Call, wanted: Leave) -> Result<Reply<Generation>> {
        let (mut round, member) = own_member(call, wanted.member)?;
        let generation = round.generation;
        if round.left + 1 == round.parties {
            for (name, other) in places(call)? {
                call.delete(&name)?;
                if other.member.has_left {
                    answer(call, &other, &Generation { generation })?;
                }
            }
            call.delete(ROUND)?;
            return Ok(Generation { generation }.into());
        }
        if wanted.wait_ms == Some(0) {
            return Err(incomplete("not all parties have left", Some(&round)));
        }
        round.left += 1;
        let ticket = call.park(wanted.wait_ms);
        let member = Member { has_left: true, ..member };
        let place = Place { member, ticket: Some(ticket.id()) };
        call.set(&place_name(wanted.member), &place)?;
        call.set(ROUND, &round)?;
        Ok(Reply::Parked(ticket))
    }

    /// Ends the round, whatever its phase; whoever waits is refused `broken`. The next one to enter
    /// begins a new round. Refused `other-generation` if it is not the round given.
    #[command]
    pub fn reset(call: &Call, wanted: Reset) -> Result<()> {
        let Some(round) = call.get::<Round>(ROUND)? else { return Ok(()) };
        if wanted.generation.is_some_and(|generation| generation != round.generation) {
            let message = format!("the round is {}, not the one given", round.generation);
            return Err(Failure::new("other-generation", message).with_detail(&round));
        }
        dismiss(call, places(call)?, &broken(&round, "it was reset"))?;
        call.delete(ROUND).map(drop)
    }

    /// The round, and who is in it.
    #[query]
    pub fn state(call: &Call) -> Result<State> {
        let round = call.get::<Round>(ROUND)?;
        let places = if round.is_some() { places(call)? } else { Vec::new() };
        let members = places.into_iter().map(|(_, place)| place.member).collect();
        Ok(State { round, members })
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
        let is_missed = |member: &Member| member.session == session && !member.has_left;
        let places = places(run)?;
        if places.iter().any(|(_, place)| is_missed(&place.member)) {
            return break_round(run, places, "the session of a member has ended");
        }
        // It had left: the others need nothing more of it.
        Ok(())
    }

    #[on(ticket_expired)]
    fn ticket_expired(run: &Run, _ended: EndedTicket) -> Result<()> {
        break_round(run, places(run)?, "the wait of a member was over")
    }

    #[on(ticket_cancelled)]
    fn ticket_cancelled(run: &Run, _ended: EndedTicket) -> Result<()> {
        break_round(run, places(run)?, "a member gave up waiting")
    }
}

fn check_config(config: &Config) -> Result<()> {
    if (1..=PARTIES_MAX).contains(&config.parties_max) {
        return Ok(());
    }
    Err(Failure::new("bad-config", format!("parties_max is from 1 to {PARTIES_MAX}")))
}

fn place_name(number: u64) -> String {
    format!("{MEMBERS}{number:020}")
}

/// The members of the round, in order of arrival.
fn places(run: &Run) -> Result<Vec<(String, Place)>> {
    // Behind the members there is the round: so many members and no more are asked for.
    let all = run.count("")?.saturating_sub(u32::from(run.exists(ROUND)));
    run.scan("", Some(MEMBERS), all)
}

fn answer<R: Serialize>(run: &Run, place: &Place, reply: &R) -> Result<()> {
    if let Some(ticket) = place.ticket {
        run.complete(Ticket::from_id(ticket), reply)?;
    }
    Ok(())
}

fn broken(round: &Round, why: &str) -> Failure {
    Failure::new("broken", format!("round {} broke: {why}", round.generation)).with_detail(round)
}

fn incomplete(message: &str, round: Option<&Round>) -> Failure {
    Failure::new("incomplete", message).with_detail(&round)
}

/// The round that the caller may enter: the one that gathers, or a new one.
fn joinable_round(call: &Call, parties: u32) -> Result<Round> {
    let Some(round) = call.get::<Round>(ROUND)? else {
        let parties_max = call.config::<Config>()?.parties_max;
        if !(1..=parties_max).contains(&parties) {
            let message = format!("a round has from 1 to {parties_max} parties");
            return Err(Failure::new("bad-parties", message));
        }
        let (generation, phase) = (call.zxid(), Phase::Gathering);
        return Ok(Round { generation, parties, phase, entered: 0, left: 0, broken: None });
    };
    match round.phase {
        Phase::Broken => Err(broken(&round, round.broken.as_deref().unwrap_or_default())),
        Phase::Inside => {
            let message = "all parties of this round are in; wait until they have left";
            Err(Failure::new("full", message).with_detail(&round))
        }
        Phase::Gathering if round.parties != parties => {
            let message = format!("the others wait for {} parties", round.parties);
            Err(Failure::new("other-parties", message).with_detail(&round))
        }
        Phase::Gathering => Ok(round),
    }
}

/// The round that the caller is inside, and what it is there.
fn own_member(call: &Call, number: u64) -> Result<(Round, Member)> {
    let round = call.get::<Round>(ROUND)?;
    if let Some(round) = &round
        && round.phase == Phase::Broken
    {
        return Err(broken(round, round.broken.as_deref().unwrap_or_default()));
    }
    let place = call.get::<Place>(&place_name(number))?;
    let own = place.map(|place| place.member);
    let own = own.filter(|member| member.session == call.session() && !member.has_left);
    match (round, own) {
        (Some(round), Some(member)) if round.phase == Phase::Inside => Ok((round, member)),
        (round, _) => {
            let message = "you are not inside: the round broke, was reset, or you have left it";
            Err(Failure::new("not-a-member", message).with_detail(&round))
        }
    }
}

/// Refuses whoever waits, and forgets who was in the round.
fn dismiss(run: &Run, places: Vec<(String, Place)>, broken: &Failure) -> Result<()> {
    for (name, place) in places {
        run.delete(&name)?;
        if let Some(ticket) = place.ticket {
            run.refuse(ticket, broken.clone());
        }
    }
    Ok(())
}

fn break_round(run: &Run, places: Vec<(String, Place)>, why: &str) -> Result<()> {
    let Some(round) = run.get::<Round>(ROUND)? else { return Ok(()) };
    let round = Round { phase: Phase::Broken, broken: Some(why.into()), ..round };
    dismiss(run, places, &broken(&round, why))?;
    if run.config::<Config>()?.resets_itself {
        return run.delete(ROUND).map(drop);
    }
    run.set(ROUND, &round).map(drop)
}

#[cfg(test)]
mod tests;
