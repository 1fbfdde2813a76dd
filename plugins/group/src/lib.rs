//! Membership: who is there, and what changed since a generation.
//!
//! The znodes of an object, `/groups/workers` say:
//!
//! ```text
//! group                     the generation and counts; goes with the last member
//! history/<generation>-<n>  a Step: one member joined, left or was updated
//! joined-<session>-<name>   that the session has the member; owned by it
//! members/<name>            a Member, owned by its session
//! watcher-<ticket>          a Watcher, owned by its session; sorts after all others
//! ```
//!
//! Comes in: members with metadata, waits, ends of sessions. Goes out: lists, differences, pushes.
//!
//! Promises (README.md has them in full): one member for each name; the generation grows with every
//! change; whoever has the list of one generation and applies the difference has the list of the
//! next; a member goes in the transaction that ends its session.
//!
//! Invariants: every step after the floor is in the history; the whole list fits one reply. Must
//! never: tell more than `SWEEP_MAX` waiting callers in one run.

use quorate_recipe::prelude::*;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// Steps that the history may keep: a difference is made of no more.
const HISTORY_MAX: u32 = 200;
/// Members that one session may have in a group: its end takes them all out in one run.
const SESSION_MEMBERS_MAX: u32 = 60;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 128;
/// Bytes of all members together, so that the list fits one reply and half of a run's fuel.
const GROUP_BYTES_MAX: u64 = 192 << 10;
/// What a member counts besides its name, identity and metadata: to read and write one costs as much as
/// so many bytes.
const MEMBER_FIXED_BYTES: usize = 512;
/// Waiting callers that one run tells.
const SWEEP_MAX: u32 = 150;
/// Bytes that one run tells waiting callers, one reply more or less.
const SWEEP_BYTES_MAX: usize = 128 << 10;
/// Generations from which one run works out what changed.
const SWEEP_GENERATIONS_MAX: u32 = 4;

/// What a mount may be given. It holds for every group of the mount.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Members in one group. Their bytes are bounded besides: 196608, 512 for each member included.
    pub members_max: u32,
    /// Bytes of one member's metadata.
    pub metadata_bytes_max: u32,
    /// Changes that a group remembers, 1 to 200.
    pub history_max: u32,
    /// Callers that may wait for one group to change.
    pub watchers_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            members_max: 300,
            metadata_bytes_max: 1_024,
            history_max: HISTORY_MAX,
            watchers_max: 10_000,
        }
    }
}

/// Who joins.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// One member has it: at most 128 bytes, no slash.
    pub name: String,
    /// Shown to all.
    #[serde(default)]
    pub metadata: String,
}

/// What to change of a member.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// A member of the caller's session.
    pub name: String,
    /// Replaces what was there.
    pub metadata: String,
}

/// Who leaves.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// A member of the caller's session.
    pub name: String,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub metadata: String,
    /// Its session.
    pub session: SessionId,
    /// Who the session's connection proved to be.
    pub identity: String,
    /// The generation in which it joined: a fence.
    pub joined: u64,
    /// The generation in which it was updated last.
    pub updated: u64,
    /// When it joined: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
}

/// Everybody who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Members {
    /// Of this list; 0: nobody is there.
    pub generation: u64,
    /// In order of name.
    pub members: Vec<Member>,
}

/// What to wait for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct AwaitChange {
    /// The generation of the list that the caller has; 0: none, or an empty one.
    #[serde(default)]
    pub after: u64,
    /// Milliseconds to wait; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// What is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// What differs from the caller's list.
    Difference(Difference),
    /// The whole list: what changed since the caller's is not known any more.
    Gap(Members),
}

/// From one list to another: take out who left, then put in who joined and was updated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Difference {
    /// Of the list that results.
    pub generation: u64,
    /// Members that the list before does not have, or has in another session.
    pub joined: Vec<Member>,
    /// Names that are gone. One that is also among the joined has gone and come back.
    pub left: Vec<String>,
    /// Members with other metadata.
    pub updated: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Joined,
    Left,
    Updated,
}

#[derive(Debug, Serialize, Deserialize)]
struct Step {
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    generation: u64,
    /// Every step after this generation is in the history.
    floor: u64,
    steps: u32,
    members: u32,
    /// Of all members together.
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Watcher {
    ticket: Ticket<Change>,
    after: u64,
}

const HEAD: &str = "group";
const HISTORY: &str = "history";
const MEMBERS: &str = "members";
const WATCHERS: &str = "watcher-";
const TIMER: &str = "sweep";

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Group;

/// Who is there, and what changed since a generation.
#[recipe(name = "group", version = "1.0.0", state = 1, config = Config)]
impl Group {
    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        check_config(run)
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, _before: Config) -> Result<()> {
        check_config(run)
    }

    /// Joins under a name, until it leaves or its session ends; gives the generation. Refused
    /// `name-taken` (with the member), `too-many-members`, `too-large`, `bad-name`.
    #[command]
    pub fn join(call: &Call, wanted: Join) -> Result<u64> {
        check_name(&wanted.name)?;
        let mut roll = Roll::open(call)?;
        if let Some(member) = call.get::<Member>(&member_name(&wanted.name))? {
            let words = format!("session {} has the name", member.session);
            return Err(Failure::new("name-taken", words).with_detail(&member));
        }
        let generation = call.zxid();
        roll.put_in(&Member {
            name: wanted.name,
            metadata: wanted.metadata,
            session: call.session(),
            identity: call.identity().into(),
            joined: generation,
            updated: generation,
            since_ms: call.now_ms(),
        })?;
        roll.finish()?;
        Ok(generation)
    }

    /// Replaces a member's metadata; gives the generation. Refused `not-member` unless the caller's
    /// session has the member, `too-large`.
    #[command]
    pub fn update(call: &Call, wanted: Update) -> Result<u64> {
        let mut roll = Roll::open(call)?;
        let member = own_member(call, &wanted.name)?;
        let updated = call.zxid();
        roll.replace(&member, &Member { metadata: wanted.metadata, updated, ..member.clone() })?;
        roll.finish()?;
        Ok(updated)
    }

    /// Leaves; gives the generation. Refused `not-member` unless the caller's session has the member.
    #[command]
    pub fn leave(call: &Call, wanted: Leave) -> Result<u64> {
        let mut roll = Roll::open(call)?;
        roll.take_out(&own_member(call, &wanted.name)?)?;
        roll.finish()?;
        Ok(call.zxid())
    }

    /// Everybody who is there, and the generation of the list.
    #[query]
    pub fn members(call: &Call) -> Result<Members> {
        all_members(call, call.get(HEAD)?)
    }

    /// Waits until the list is another than the caller's, and gives what changed. Refused `unchanged`
    /// if it may not wait, `too-many-watchers`.
    #[command]
    pub fn await_change(call: &Call, wanted: AwaitChange) -> Result<Reply<Change>> {
        let head = call.get::<Head>(HEAD)?;
        if head.map_or(0, |head| head.generation) != wanted.after {
            return Ok(change_since(call, head, wanted.after)?.into());
        }
        if wanted.wait_ms == Some(0) {
            return Err(Failure::new("unchanged", "the list is the one you have"));
        }
        // The head, two folders, and who joined.
        let others = head.map_or(0, |head| 3 + head.members);
        let watchers = call.count("")?.saturating_sub(others);
        if watchers >= call.config::<Config>()?.watchers_max {
            let words = "too many callers wait for this group to change";
            return Err(Failure::new("too-many-watchers", words));
        }
        let ticket = call.park(wanted.wait_ms);
        let watcher = Watcher { ticket, after: wanted.after };
        call.create_owned(&watcher_name(&ticket.key()), &watcher, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    #[on(timer)]
    fn timer(run: &Run, _name: &str) -> Result<()> {
        sweep(run, run.get(HEAD)?)
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        let names = names_of(run, session)?;
        if names.is_empty() {
            return Ok(());
        }
        let mut roll = Roll::open(run)?;
        for name in names {
            if let Some(member) = run.get::<Member>(&member_name(&name))? {
                roll.take_out(&member)?;
            }
        }
        roll.finish()
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&watcher_name(&ended.ticket.key())).map(drop)
    }
}

fn member_name(name: &str) -> String {
    format!("{MEMBERS}/{name}")
}

fn joined_prefix(session: SessionId) -> String {
    format!("joined-{:020}-", session.0)
}

fn watcher_name(key: &str) -> String {
    format!("{WATCHERS}{key}")
}

fn check_config(run: &Run) -> Result<()> {
    let config = run.config::<Config>()?;
    if !(1..=HISTORY_MAX).contains(&config.history_max) {
        return Err(Failure::new("bad-config", "history_max is from 1 to 200"));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let is_bad = |letter: char| letter == '/' || letter.is_control();
    let is_dots = matches!(name, "." | "..");
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(is_bad) || is_dots {
        let words = format!(
            "a name has 1 to {NAME_BYTES_MAX} bytes, none of them a slash, and is not dots alone"
        );
        return Err(Failure::new("bad-name", words));
    }
    Ok(())
}

fn own_member(call: &Call, name: &str) -> Result<Member> {
    check_name(name)?;
    let member = call.get::<Member>(&member_name(name))?;
    member.filter(|member| member.session == call.session()).ok_or_else(|| {
        let words = format!("your session has no member {name:?} in this group");
        Failure::new("not-member", words)
    })
}

/// The names of the members that a session has.
fn names_of(run: &Run, session: SessionId) -> Result<Vec<String>> {
    let prefix = joined_prefix(session);
    let found = run.scan::<IgnoredAny>("", Some(&prefix), SESSION_MEMBERS_MAX)?;
    Ok(found.iter().map_while(|(name, _)| name.strip_prefix(&prefix).map(str::to_owned)).collect())
}

fn all_members(run: &Run, head: Option<Head>) -> Result<Members> {
    let Some(head) = head else { return Ok(Members::default()) };
    let members = run.scan::<Member>(MEMBERS, None, u32::MAX)?;
    let members = members.into_iter().map(|(_, member)| member).collect();
    Ok(Members { generation: head.generation, members })
}

/// What changed since a generation that is not the present one.
fn change_since(run: &Run, head: Option<Head>, after: u64) -> Result<Change> {
    let Some(head) = head.filter(|head| (head.floor..head.generation).contains(&after)) else {
        return all_members(run, head).map(Change::Gap);
    };
    // A step's name has a hyphen after its generation, and `~` comes after every digit.
    let from = format!("{after:020}-~");
    let mut kinds: BTreeMap<String, Vec<Kind>> = BTreeMap::new();
    for (_, step) in run.scan::<Step>(HISTORY, Some(&from), head.steps)? {
        kinds.entry(step.name).or_default().push(step.kind);
    }
    let mut difference = Difference { generation: head.generation, ..Difference::default() };
    for (name, kinds) in kinds {
        let was_there = kinds[0] != Kind::Joined;
        let has_left = kinds.contains(&Kind::Left);
        let member = run.get::<Member>(&member_name(&name))?;
        if was_there && has_left {
            difference.left.push(name);
        }
        match member {
            Some(member) if was_there && !has_left => difference.updated.push(member),
            Some(member) => difference.joined.push(member),
            None => {}
        }
    }
    Ok(Change::Difference(difference))
}

/// Members of a group that one run changes: all that happens in a transaction is one generation.
struct Roll<'a> {
    run: &'a Run,
    config: Config,
    head: Head,
    /// Steps taken in this run.
    taken: u32,
}

impl<'a> Roll<'a> {
    fn open(run: &'a Run) -> Result<Roll<'a>> {
        let config = run.config()?;
        let Some(head) = run.get::<Head>(HEAD)? else {
            run.create(HISTORY, &())?;
            run.create(MEMBERS, &())?;
            // Whatever was before, it left nobody.
            let floor = run.zxid().saturating_sub(1);
            let head = Head { generation: 0, floor, steps: 0, members: 0, bytes: 0 };
            return Ok(Roll { run, config, head, taken: 0 });
        };
        let mut roll = Roll { run, config, head, taken: 0 };
        if run.count(MEMBERS)? != head.members {
            roll.recount()?;
        }
        Ok(roll)
    }

    /// Members have gone with sessions whose end was not told: the mount was suspended. The history
    /// does not know of them, so whoever asks for a difference is told of a gap.
    fn recount(&mut self) -> Result<()> {
        let all = all_members(self.run, Some(self.head))?.members;
        self.head.members = self.run.count(MEMBERS)?;
        self.head.bytes = all.iter().map(bytes_of).sum();
        self.head.generation = self.run.zxid();
        self.head.floor = self.head.generation;
        Ok(())
    }

    fn remember(&mut self, member: &Member, kind: Kind) -> Result<()> {
        self.head.generation = self.run.zxid();
        let name = format!("{HISTORY}/{:020}-{:04}", self.head.generation, self.taken);
        self.taken += 1;
        self.head.steps += 1;
        self.run.create(&name, &Step { name: member.name.clone(), kind })?;
        while self.head.steps > self.config.history_max {
            let Some((name, _)) = self.run.first::<IgnoredAny>(HISTORY)? else { break };
            let generation = name.split('-').next().and_then(|digits| digits.parse().ok());
            let floor = generation.unwrap_or(self.head.generation);
            self.head.floor = self.head.floor.max(floor);
            self.run.delete(&format!("{HISTORY}/{name}"))?;
            self.head.steps -= 1;
        }
        Ok(())
    }

    fn check_size(&self, member: &Member) -> Result<()> {
        if member.metadata.len() > self.config.metadata_bytes_max as usize {
            let words =
                format!("a member's metadata has at most {} bytes", self.config.metadata_bytes_max);
            return Err(Failure::new("too-large", words));
        }
        if self.head.bytes + bytes_of(member) > GROUP_BYTES_MAX {
            return Err(Failure::new("too-large", "the list of members would not fit one reply"));
        }
        Ok(())
    }

    fn put_in(&mut self, member: &Member) -> Result<()> {
        if self.head.members >= self.config.members_max {
            let words = format!("a group has at most {} members", self.config.members_max);
            return Err(Failure::new("too-many-members", words));
        }
        if names_of(self.run, member.session)?.len() >= SESSION_MEMBERS_MAX as usize {
            let words = format!("a session has at most {SESSION_MEMBERS_MAX} members in one group");
            return Err(Failure::new("too-many-members", words));
        }
        self.check_size(member)?;
        self.head.members += 1;
        self.head.bytes += bytes_of(member);
        self.run.create_owned(&member_name(&member.name), member, member.session)?;
        let joined_name = format!("{}{}", joined_prefix(member.session), member.name);
        self.run.create_owned(&joined_name, &(), member.session)?;
        self.remember(member, Kind::Joined)
    }

    fn replace(&mut self, before: &Member, after: &Member) -> Result<()> {
        self.head.bytes -= bytes_of(before);
        self.check_size(after)?;
        self.head.bytes += bytes_of(after);
        self.run.set(&member_name(&after.name), after)?;
        self.remember(after, Kind::Updated)
    }

    fn take_out(&mut self, member: &Member) -> Result<()> {
        self.head.members -= 1;
        self.head.bytes -= bytes_of(member);
        self.run.delete(&member_name(&member.name))?;
        self.run.delete(&format!("{}{}", joined_prefix(member.session), member.name))?;
        self.remember(member, Kind::Left)
    }

    /// Tells those who wait, and writes the head, or takes it away with the last member.
    fn finish(self) -> Result<()> {
        sweep(self.run, Some(self.head))?;
        if self.head.members > 0 {
            return self.run.put(HEAD, &self.head);
        }
        for (name, _) in self.run.scan::<IgnoredAny>(HISTORY, None, self.head.steps)? {
            self.run.delete(&format!("{HISTORY}/{name}"))?;
        }
        for name in [HISTORY, MEMBERS, HEAD] {
            self.run.delete(name)?;
        }
        Ok(())
    }
}

fn bytes_of(member: &Member) -> u64 {
    let texts = [&member.name, &member.metadata, &member.identity];
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    (bytes + MEMBER_FIXED_BYTES) as u64
}

fn size_of(change: &Change) -> usize {
    let members = |members: &[Member]| members.iter().map(bytes_of).sum::<u64>();
    let bytes = match change {
        Change::Gap(all) => members(&all.members),
        Change::Difference(difference) => {
            let left: usize = difference.left.iter().map(String::len).sum();
            left as u64 + members(&difference.joined) + members(&difference.updated)
        }
    };
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Tells those who wait what changed since their generation; a bounded number, and the rest a
/// millisecond later.
fn sweep(run: &Run, head: Option<Head>) -> Result<()> {
    let generation = head.map_or(0, |head| head.generation);
    let watchers = run.scan::<Watcher>("", Some(WATCHERS), SWEEP_MAX)?;
    let is_more = watchers.len() == SWEEP_MAX as usize;
    let mut known: Option<(u64, Change)> = None;
    let (mut bytes, mut generations) = (0, 0);
    for (name, watcher) in watchers {
        // It came after the change, and so did all those behind it.
        if watcher.after == generation {
            return Ok(());
        }
        if bytes >= SWEEP_BYTES_MAX || generations > SWEEP_GENERATIONS_MAX {
            run.set_timer(TIMER, run.now_ms());
            return Ok(());
        }
        let change = match known.take() {
            Some((after, change)) if after == watcher.after => change,
            _ => {
                generations += 1;
                change_since(run, head, watcher.after)?
            }
        };
        bytes += size_of(&change);
        run.delete(&name)?;
        run.complete(watcher.ticket, &change)?;
        known = Some((watcher.after, change));
    }
    if is_more {
        run.set_timer(TIMER, run.now_ms());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
