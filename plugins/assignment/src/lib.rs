//! Partitions dealt out among members: cooperative, sticky, balanced, fenced.
//!
//! The znodes of an object, `/assignments/orders` say:
//!
//! ```text
//! assignment       the generation; goes when there is neither of the others
//! member-<name>    a Member with what it has, owned by its session
//! partitions       what there is to deal out
//! ```
//!
//! Comes in: partitions, members, acknowledgements, ends of sessions. Goes out: who has what, pushed
//! to those whom a change concerns.
//!
//! Promises (README.md has them in full): at any zxid a partition is in the hands of one member at
//! most; it passes on only after its holder has acknowledged giving it up, has left, or its session has
//! ended; every grant of a partition has a greater fence than those before.
//!
//! Invariants: as `balance` has them. Must never: grant to a session that has ended or is ending, or
//! take an acknowledgement of another generation than the member's own.

mod balance;
mod sorted;

use balance::{Hands, balance};
use quorate_recipe::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Members of one object: each change may concern them all, in one run.
const MEMBERS_MAX: u32 = 64;
/// Partitions of one object.
const PARTITIONS_MAX: u32 = 160;
/// Bytes of a name of a member or a partition.
const NAME_BYTES_MAX: usize = 64;

/// What a mount may be given. It holds for every object of the mount.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Members of one object, at most 64.
    pub members_max: u32,
    /// Partitions of one object, at most 160.
    pub partitions_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { members_max: MEMBERS_MAX, partitions_max: PARTITIONS_MAX }
    }
}

/// What there is to deal out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "kebab-case")]
pub enum Partitions {
    /// So many: they are called `0`, `1`, and so on. 0: none any more.
    Count(u32),
    /// These.
    Names(#[serde(deserialize_with = "sorted::set")] BTreeSet<String>),
}

/// What to deal out from now on.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Define {
    /// Replaces what there was: what is not among them is revoked.
    pub partitions: Partitions,
}

/// Which member: it belongs to the session that joined under the name.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct MemberName {
    /// At most 64 bytes, no slash.
    pub name: String,
}

/// What a member has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Assignment {
    /// In which it came to have this. Acknowledge with it.
    pub generation: u64,
    /// Partitions to work on, each with its fence: send that with every write on the partition's
    /// behalf, and let the place written to refuse a smaller one than it has seen.
    pub granted: BTreeMap<String, u64>,
    /// Partitions to stop working on, and then to acknowledge.
    pub revoking: BTreeSet<String>,
}

/// Partitions that are given up.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    /// The member that had them.
    pub name: String,
    /// The generation of the assignment that asked for it.
    pub generation: u64,
    /// Some or all of those being revoked.
    pub partitions: BTreeSet<String>,
}

/// What to wait for.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct AwaitAssignment {
    /// A member of the caller's session.
    pub name: String,
    /// The generation that the caller knows.
    pub after: u64,
    /// Milliseconds to wait; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// One member and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// Its session.
    pub session: SessionId,
    /// Who the session's connection proved to be.
    pub identity: String,
    /// What it has.
    pub assignment: Assignment,
}

/// Who has what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Assignments {
    /// Of the last change; 0: there is neither member nor partition.
    pub generation: u64,
    /// In order of name.
    pub members: Vec<Share>,
    /// Partitions that nobody has.
    pub free: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    session: SessionId,
    identity: String,
    joined: u64,
    generation: u64,
    #[serde(deserialize_with = "sorted::map")]
    granted: BTreeMap<String, u64>,
    #[serde(deserialize_with = "sorted::map")]
    revoking: BTreeMap<String, u64>,
    /// The call that waits for a change. It may have ended.
    waiting: Option<Ticket<Assignment>>,
}

const HEAD: &str = "assignment";
const PARTITIONS: &str = "partitions";
const MEMBERS: &str = "member-";

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Assigner;

/// Deals partitions out among members, so that each is in one hand and little moves.
#[recipe(name = "assignment", version = "1.0.0", state = 1, config = Config)]
impl Assigner {
    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        check_config(run)
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, _before: Config) -> Result<()> {
        check_config(run)
    }

    /// Says what there is to deal out; gives the generation. Refused `too-many-partitions`,
    /// `bad-name`.
    #[command]
    pub fn define(call: &Call, wanted: Define) -> Result<u64> {
        let partitions_max = call.config::<Config>()?.partitions_max;
        let count = match &wanted.partitions {
            Partitions::Count(count) => *count as usize,
            Partitions::Names(names) => {
                names.iter().try_for_each(|name| check_name(name))?;
                names.len()
            }
        };
        if count > partitions_max as usize {
            let words = format!("there are at most {partitions_max} partitions");
            return Err(Failure::new("too-many-partitions", words));
        }
        match count {
            0 => drop(call.delete(PARTITIONS)?),
            _ => call.put(PARTITIONS, &wanted.partitions)?,
        }
        Table::open(call)?.deal()
    }

    /// Joins under a name, until it leaves or its session ends; gives what it has. Refused
    /// `name-taken`, `too-many-members`, `bad-name`.
    #[command]
    pub fn join(call: &Call, wanted: MemberName) -> Result<Assignment> {
        check_name(&wanted.name)?;
        let mut table = Table::open(call)?;
        let members_max = call.config::<Config>()?.members_max;
        if let Some(member) = table.members.get(&wanted.name) {
            let words = format!("session {} has the name", member.session);
            return Err(Failure::new("name-taken", words).with_detail(&member.session));
        }
        if table.members.len() >= members_max as usize {
            let words = format!("there are at most {members_max} members");
            return Err(Failure::new("too-many-members", words));
        }
        let member = Member {
            session: call.session(),
            identity: call.identity().into(),
            joined: call.zxid(),
            generation: call.zxid(),
            granted: BTreeMap::new(),
            revoking: BTreeMap::new(),
            waiting: None,
        };
        table.members.insert(wanted.name.clone(), member);
        table.deal()?;
        let member = call.get::<Member>(&member_name(&wanted.name))?;
        Ok(member.map(|member| member.told()).unwrap_or_default())
    }

    /// Leaves: the member has stopped working on all it had. Refused `not-member` unless the caller's
    /// session has the member.
    #[command]
    pub fn leave(call: &Call, wanted: MemberName) -> Result<u64> {
        own_member(call, &wanted.name)?;
        let mut table = Table::open(call)?;
        table.take_out(&wanted.name)?;
        table.deal()
    }

    /// Gives up partitions that are being revoked; gives what the member has then. Refused
    /// `stale-generation` (with what it has), `not-revoked`, `not-member`.
    #[command]
    pub fn acknowledge(call: &Call, given_up: Acknowledge) -> Result<Assignment> {
        let mut member = own_member(call, &given_up.name)?;
        if member.generation != given_up.generation {
            let words = format!("the member's generation is {}", member.generation);
            return Err(Failure::new("stale-generation", words).with_detail(&member.told()));
        }
        if given_up.partitions.is_empty() {
            return Ok(member.told());
        }
        for partition in &given_up.partitions {
            if member.revoking.remove(partition).is_none() {
                let words = format!("partition {partition:?} is not being revoked");
                return Err(Failure::new("not-revoked", words).with_detail(&member.told()));
            }
        }
        let mut table = Table::open(call)?;
        table.members.insert(given_up.name.clone(), member);
        table.deal()?;
        Ok(own_member(call, &given_up.name)?.told())
    }

    /// Waits until what the member has is another than the caller knows. Refused `unchanged` if it
    /// may not wait, `not-member`; `replaced` when a later call waits for the same member.
    #[command]
    pub fn await_assignment(call: &Call, wanted: AwaitAssignment) -> Result<Reply<Assignment>> {
        let mut member = own_member(call, &wanted.name)?;
        if member.generation != wanted.after {
            return Ok(member.told().into());
        }
        if wanted.wait_ms == Some(0) {
            return Err(Failure::new("unchanged", "the member has what you know"));
        }
        if let Some(waiting) = member.waiting {
            let words = "another call waits for this member";
            call.refuse(waiting.id(), Failure::new("replaced", words));
        }
        let ticket = call.park(wanted.wait_ms);
        member.waiting = Some(ticket);
        call.set(&member_name(&wanted.name), &member)?;
        Ok(Reply::Parked(ticket))
    }

    /// What one member has; null if there is no such member.
    #[query]
    pub fn assignment(call: &Call, wanted: MemberName) -> Result<Option<Assignment>> {
        check_name(&wanted.name)?;
        Ok(call.get::<Member>(&member_name(&wanted.name))?.map(|member| member.told()))
    }

    /// Who has what, and what nobody has.
    #[query]
    pub fn assignments(call: &Call) -> Result<Assignments> {
        let Some(generation) = call.get(HEAD)? else { return Ok(Assignments::default()) };
        let table = Table::open(call)?;
        let mut free = table.partitions;
        let mut members = Vec::with_capacity(table.members.len());
        for (name, member) in table.members {
            for held in member.granted.keys().chain(member.revoking.keys()) {
                free.remove(held);
            }
            let assignment = member.told();
            let Member { session, identity, .. } = member;
            members.push(Share { name, session, identity, assignment });
        }
        Ok(Assignments { generation, members, free })
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        let mut table = Table::open(run)?;
        let of_session = table.members.iter().filter(|(_, member)| member.session == session);
        let names: Vec<String> = of_session.map(|(name, _)| name.clone()).collect();
        for name in &names {
            table.take_out(name)?;
        }
        table.deal().map(drop)
    }
}

/// An [`Assignment`] that is only to be sent.
#[derive(Serialize)]
struct Shown<'a> {
    generation: u64,
    granted: &'a BTreeMap<String, u64>,
    revoking: Vec<&'a String>,
}

impl Member {
    fn shown(&self) -> Shown<'_> {
        let revoking = self.revoking.keys().collect();
        Shown { generation: self.generation, granted: &self.granted, revoking }
    }

    fn told(&self) -> Assignment {
        Assignment {
            generation: self.generation,
            granted: self.granted.clone(),
            revoking: self.revoking.keys().cloned().collect(),
        }
    }
}

fn member_name(name: &str) -> String {
    format!("{MEMBERS}{name}")
}

fn check_config(run: &Run) -> Result<()> {
    let config = run.config::<Config>()?;
    if config.members_max > MEMBERS_MAX || config.partitions_max > PARTITIONS_MAX {
        let words = "members_max is at most 64, partitions_max at most 160";
        return Err(Failure::new("bad-config", words));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let is_bad = |letter: char| letter == '/' || letter.is_control();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(is_bad) {
        let words = format!("a name has 1 to {NAME_BYTES_MAX} bytes, none of them a slash");
        return Err(Failure::new("bad-name", words));
    }
    Ok(())
}

fn own_member(call: &Call, name: &str) -> Result<Member> {
    check_name(name)?;
    let member = call.get::<Member>(&member_name(name))?;
    member.filter(|member| member.session == call.session()).ok_or_else(|| {
        Failure::new("not-member", format!("your session has no member {name:?} here"))
    })
}

fn partitions_of(run: &Run) -> Result<BTreeSet<String>> {
    Ok(match run.get::<Partitions>(PARTITIONS)? {
        None => BTreeSet::new(),
        Some(Partitions::Names(names)) => names,
        Some(Partitions::Count(count)) => (0..count).map(|at| at.to_string()).collect(),
    })
}

/// Everything there is of one object: bounded, so that one run may see all of it.
struct Table<'a> {
    run: &'a Run,
    partitions: BTreeSet<String>,
    /// As they shall be.
    members: BTreeMap<String, Member>,
    /// As they are stored.
    stored: BTreeMap<String, Member>,
}

impl<'a> Table<'a> {
    fn open(run: &'a Run) -> Result<Table<'a>> {
        let partitions = partitions_of(run)?;
        // Counted, not remembered: whatever ends a session, its members are not among the children.
        let others = u32::from(run.exists(HEAD)) + u32::from(!partitions.is_empty());
        let count = run.count("")?.saturating_sub(others);
        let mut stored = BTreeMap::new();
        for (name, member) in run.scan::<Member>("", Some(MEMBERS), count)? {
            stored.insert(name[MEMBERS.len()..].to_owned(), member);
        }
        Ok(Table { run, partitions, members: stored.clone(), stored })
    }

    /// A member that is gone has nothing in its hands.
    fn take_out(&mut self, name: &str) -> Result<()> {
        if let Some(member) = self.members.remove(name) {
            self.run.delete(&member_name(name))?;
            if let Some(waiting) = member.waiting {
                let words = "the member has left";
                self.run.refuse(waiting.id(), Failure::new("not-member", words));
            }
        }
        Ok(())
    }

    /// Balances, writes what has changed and tells whom it concerns; gives the generation.
    fn deal(mut self) -> Result<u64> {
        let generation = self.run.zxid();
        let mut seats: Vec<(&mut Member, Hands)> = self
            .members
            .values_mut()
            .map(|member| {
                let granted = std::mem::take(&mut member.granted);
                let revoking = std::mem::take(&mut member.revoking);
                (member, Hands { granted, revoking })
            })
            .collect();
        seats.sort_by_key(|(member, _)| member.joined);
        let mut hands: Vec<&mut Hands> = seats.iter_mut().map(|(_, hands)| hands).collect();
        balance(&mut hands, &self.partitions, generation);
        for (member, hands) in seats {
            member.granted = hands.granted;
            member.revoking = hands.revoking;
        }
        self.write(generation)
    }

    fn write(self, generation: u64) -> Result<u64> {
        let is_empty = self.members.is_empty() && self.partitions.is_empty();
        for (name, mut member) in self.members {
            let stored = self.stored.get(&name);
            if stored == Some(&member) {
                continue;
            }
            member.generation = generation;
            let waiting = member.waiting.take();
            match stored {
                Some(_) => drop(self.run.set(&member_name(&name), &member)?),
                None => self.run.create_owned(&member_name(&name), &member, member.session)?,
            }
            if let Some(waiting) = waiting {
                self.run.complete(Ticket::from_id(waiting.id()), &member.shown())?;
            }
        }
        match is_empty {
            true => drop(self.run.delete(HEAD)?),
            false => self.run.put(HEAD, &generation)?,
        }
        Ok(generation)
    }
}

#[cfg(test)]
mod tests;
