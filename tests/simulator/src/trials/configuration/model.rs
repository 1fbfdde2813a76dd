//! A document as its callers know it.
//!
//! Comes in: commands with their replies, answered waits, what members were told to run. Goes out:
//! how things stand, as of every transaction, and the first contradiction.

use super::super::waits::Waits;
use super::super::{Answered, LoggedCall, RecipeEntry, Result, Timeline, Told};
use super::words::{
    AwaitChange, Candidate, Change, Config, Define, Definition, Fate, Remove, RollOut, Rollback,
    Set, Stage, Status, Text, Widen,
};
use quorate_types::Zxid;
use std::collections::{BTreeMap, BTreeSet};

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shown {
    pub(super) status: Status,
    pub(super) kept: BTreeMap<u64, Text>,
    pub(super) definition: Option<Definition>,
    pub(super) waiting: u64,
}

impl Shown {
    fn fits(&self, text: &str) -> bool {
        self.definition.as_ref().is_none_or(|definition| definition.fits(text))
    }

    /// Whether what is current and rolled out fits a definition.
    fn present_fits(&self, definition: &Definition) -> bool {
        let staged = self.status.roll_out.as_ref().map(|roll_out| roll_out.version);
        let present = std::iter::once(self.status.current).chain(staged);
        present
            .filter_map(|version| self.kept.get(&version))
            .all(|text| definition.fits(&text.document))
    }
}

/// Where members stand among a hundred, in each roll-out, as far as it has shown.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// By version and member: the least and the greatest place that fit everything told.
    places: BTreeMap<(u64, String), (u8, u8)>,
}

impl Reach {
    fn place(&self, version: u64, member: &str) -> (u8, u8) {
        self.places.get(&(version, member.to_owned())).copied().unwrap_or((0, 99))
    }

    /// The versions that a member may have to run as things stand.
    fn versions(&self, status: &Status, member: Option<&str>) -> Vec<u64> {
        let (Some(roll_out), Some(member)) = (&status.roll_out, member) else {
            return vec![status.current];
        };
        if roll_out.members.contains(member) {
            return vec![roll_out.version];
        }
        let (least, most) = self.place(roll_out.version, member);
        match roll_out.percentage {
            percentage if most < percentage => vec![roll_out.version],
            percentage if least >= percentage => vec![status.current],
            _ => vec![status.current, roll_out.version],
        }
    }

    /// A member was told to run this version, as things stood.
    ///
    /// # Errors
    /// When that contradicts how things stood, or what it was told before.
    pub(super) fn learn(&mut self, status: &Status, member: Option<&str>, version: u64) -> Result {
        if !self.versions(status, member).contains(&version) {
            return Err(format!("{member:?} shall run {version}, and things are {status:?}"));
        }
        let (Some(roll_out), Some(member)) = (&status.roll_out, member) else { return Ok(()) };
        if roll_out.members.contains(member) {
            return Ok(());
        }
        let (least, most) = self.place(roll_out.version, member);
        let place = if version == roll_out.version {
            (least, most.min(roll_out.percentage.saturating_sub(1)))
        } else {
            (least.max(roll_out.percentage), most)
        };
        self.places.insert((roll_out.version, member.to_owned()), place);
        Ok(())
    }
}

/// What a caller waits for.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    version: u64,
    member: Option<String>,
}

/// A document of which everything is known.
#[derive(Debug, Default)]
pub(super) struct Document {
    now: Shown,
    pub(super) reach: Reach,
    pub(super) waits: Waits<Watch>,
    pub(super) shown: Timeline<Shown>,
}

impl Document {
    pub(super) fn note(&mut self, zxid: Zxid) {
        self.now.waiting = self.waits.len();
        if self.shown.at(zxid) != Some(&self.now) {
            self.shown.note(zxid, self.now.clone());
        }
    }

    /// Paths that are left of it.
    pub(super) fn left(&self, name: &str) -> Vec<String> {
        let mut left = BTreeSet::new();
        if self.now.definition.is_some() {
            left.insert(format!("{name}/definition"));
        }
        for version in self.now.kept.keys() {
            left.insert(format!("{name}/history/{version:020}"));
            left.insert(format!("{name}/texts/{version:020}"));
        }
        if self.now.status.current != 0 {
            left.extend(["head", "history", "texts"].map(|below| format!("{name}/{below}")));
        }
        if !left.is_empty() {
            left.insert(name.to_owned());
        }
        left.into_iter().collect()
    }

    /// Whoever shall run another version than they have is told so at once, and nobody else.
    pub(super) fn check_answers(&mut self, answers: &[&Answered]) -> Result {
        for answered in answers {
            let Watch { version, member } = self.waits.end(answered.ticket)?;
            let Some(Change { version: told }) = answered.reply()? else { continue };
            self.reach.learn(&self.now.status, member.as_deref(), told)?;
            if told == version {
                return Err(format!("{answered:?} is told what it has"));
            }
        }
        for (ticket, Watch { version, member }) in self.waits.iter() {
            self.reach.learn(&self.now.status, member.as_deref(), *version).map_err(|text| {
                format!("{ticket:?} is not told, and waits at {version}: {text}")
            })?;
        }
        Ok(())
    }

    pub(super) fn called(
        &mut self,
        config: &Config,
        entry: &RecipeEntry<'_>,
        call: &LoggedCall<'_>,
        identity: String,
    ) -> Result {
        let time_ms = entry.time_ms;
        let new = New { zxid: entry.zxid, time_ms, identity };
        match call.operation {
            "set" => {
                let Set { document, if_version, note } = call.arguments()?;
                self.check_free(if_version)?;
                self.now.status.current =
                    self.add(config, call, new, (document, note), Fate::Set)?;
                self.prune(config, None);
            }
            "rollback" => {
                let Rollback { to, if_version, note } = call.arguments()?;
                self.check_free(if_version)?;
                let Some(text) = self.now.kept.get(&to) else {
                    return Err(format!("rolls back to {to}, kept are {:?}", self.now.kept));
                };
                let (document, fate) = (text.document.clone(), Fate::RolledBackTo(to));
                self.now.status.current = self.add(config, call, new, (document, note), fate)?;
                self.prune(config, None);
            }
            "stage" => self.stage(config, call, new)?,
            "widen" => {
                let Widen { version, percentage, members } = call.arguments()?;
                let roll_out = self.roll_out(version)?;
                if percentage > 100 {
                    return Err(format!("{percentage} of a hundred run {version}"));
                }
                roll_out.percentage = percentage;
                roll_out.members = members;
            }
            "promote" | "abort" => {
                let Candidate { version } = call.arguments()?;
                self.roll_out(version)?;
                self.now.status.roll_out = None;
                let mut fate = Fate::Aborted;
                if call.operation == "promote" {
                    self.now.status.current = version;
                    fate = Fate::Promoted;
                }
                let text = self.now.kept.get_mut(&version).ok_or("what is rolled out is gone")?;
                text.fate = fate;
            }
            "await-change" => self.wait(config, time_ms, call)?,
            "define" => {
                let Define { definition } = call.arguments()?;
                if definition.is_some() {
                    self.check_free(None)?;
                }
                if let Some(definition) = &definition
                    && !(definition.is_proper() && self.now.present_fits(definition))
                {
                    return Err(format!("{definition:?} is set, there are {:?}", self.now));
                }
                self.now.definition = definition;
            }
            "remove" => {
                self.check_free(call.arguments::<Remove>()?.if_version)?;
                if self.now.status.current == 0 {
                    return Err("there is nothing to remove".into());
                }
                self.now = Shown::default();
            }
            other => return Err(format!("the configuration has no command {other}")),
        }
        Ok(())
    }

    /// Nothing is rolled out, and the current version is the one expected.
    fn check_free(&self, if_version: Option<u64>) -> Result {
        let status = &self.now.status;
        let is_other = if_version.is_some_and(|version| version != status.current);
        if is_other || status.roll_out.is_some() {
            return Err(format!("done for version {if_version:?}, things are {status:?}"));
        }
        Ok(())
    }

    fn roll_out(&mut self, version: u64) -> Result<&mut RollOut> {
        let status = format!("{:?}", self.now.status);
        let roll_out = self.now.status.roll_out.as_mut();
        roll_out
            .filter(|roll_out| roll_out.version == version)
            .ok_or_else(|| format!("{version} is not rolled out, things are {status}"))
    }

    fn stage(&mut self, config: &Config, call: &LoggedCall<'_>, new: New) -> Result {
        let Stage { document, if_version, percentage, members, note } = call.arguments()?;
        self.check_free(if_version)?;
        if self.now.status.current == 0 || percentage > 100 {
            return Err(format!("staged for {percentage}, things are {:?}", self.now.status));
        }
        let since_ms = new.time_ms;
        let version = self.add(config, call, new, (document, note), Fate::Staged)?;
        self.now.status.roll_out = Some(RollOut { version, percentage, members, since_ms });
        self.prune(config, Some(self.now.status.current));
        Ok(())
    }

    /// Keeps a new version; gives its number.
    fn add(
        &mut self,
        config: &Config,
        call: &LoggedCall<'_>,
        New { zxid: Zxid(version), time_ms, identity }: New,
        (document, note): (String, String),
        fate: Fate,
    ) -> Result<u64> {
        if document.len() > config.document_bytes_max || !self.now.fits(&document) {
            return Err(format!("{document} is set, the definition is {:?}", self.now.definition));
        }
        if call.reply()? != Some(version) {
            return Err(format!("told is {:?}, the version is {version}", call.reply));
        }
        let text = Text { version, document, since_ms: time_ms, identity, note, fate };
        self.now.kept.insert(version, text);
        Ok(version)
    }

    /// The oldest versions go: not the newest, nor what stays current beside it.
    fn prune(&mut self, config: &Config, current: Option<u64>) {
        let kept = &mut self.now.kept;
        let newest = kept.keys().next_back().copied();
        while kept.len() > config.history_max {
            let mut oldest = kept.keys().copied();
            let gone = oldest.find(|version| Some(*version) != newest && Some(*version) != current);
            let Some(gone) = gone else { break };
            kept.remove(&gone);
        }
        self.now.status.versions = kept.len();
    }

    fn wait(&mut self, config: &Config, time_ms: u64, call: &LoggedCall<'_>) -> Result {
        let AwaitChange { version, member, wait_ms } = call.arguments()?;
        let told = call.reply::<Change>()?.map(|change| change.version);
        let shall_run = told.unwrap_or(version);
        self.reach.learn(&self.now.status, member.as_deref(), shall_run)?;
        if told == Some(version) {
            return Err(format!("{member:?} is told {version}, which it has"));
        }
        if told.is_none() {
            let wait = (wait_ms, config.watchers_max);
            self.waits.begin(time_ms, call, wait, Watch { version, member })?;
        }
        Ok(())
    }
}

/// Who sets a version when.
struct New {
    zxid: Zxid,
    time_ms: u64,
    identity: String,
}

/// Whether a refusal of a command is right as things stand.
pub(super) fn is_right(
    config: &Config,
    told: &Told<'_>,
    word: &str,
    shown: &Shown,
    reach: &Reach,
) -> Result<bool> {
    let status = &shown.status;
    if let Some(is_right) = is_right_conflict(told, word, status)? {
        return Ok(is_right);
    }
    let judge_text = |text: &str| match word {
        "too-large" => text.len() > config.document_bytes_max,
        _ => word == "bad-document" && !shown.fits(text),
    };
    let is_range = |percentage: u8| word == "out-of-range" && percentage > 100;
    Ok(match told.operation {
        "set" => judge_text(&told.arguments::<Set>()?.document),
        "stage" => {
            let Stage { document, percentage, .. } = told.arguments()?;
            judge_text(&document) || is_range(percentage) || is_none(word, status)
        }
        "widen" => is_range(told.arguments::<Widen>()?.percentage),
        "remove" => is_none(word, status),
        "rollback" => {
            let to = told.arguments::<Rollback>()?.to;
            match shown.kept.get(&to) {
                Some(text) => judge_text(&text.document),
                None => word == "no-such-version",
            }
        }
        "define" => {
            let Define { definition: Some(definition) } = told.arguments()? else {
                return Ok(false);
            };
            match word {
                "bad-definition" => !definition.is_proper(),
                _ => word == "bad-document" && !shown.present_fits(&definition),
            }
        }
        "await-change" => {
            let AwaitChange { version, member, wait_ms } = told.arguments()?;
            let is_full = wait_ms != Some(0) && shown.waiting >= config.watchers_max;
            reach.versions(status, member.as_deref()).contains(&version)
                && match word {
                    "unchanged" => wait_ms == Some(0),
                    _ => word == "too-many-watchers" && is_full,
                }
        }
        _ => false,
    })
}

fn is_none(word: &str, status: &Status) -> bool {
    word == "no-document" && status.current == 0
}

/// Refusals that tell how things stand; `None`: it is another.
fn is_right_conflict(told: &Told<'_>, word: &str, status: &Status) -> Result<Option<bool>> {
    let if_version = match told.operation {
        "set" => told.arguments::<Set>()?.if_version,
        "rollback" => told.arguments::<Rollback>()?.if_version,
        "stage" => told.arguments::<Stage>()?.if_version,
        "remove" => told.arguments::<Remove>()?.if_version,
        _ => None,
    };
    let rolled_out = status.roll_out.as_ref().map(|roll_out| roll_out.version);
    let is_free = match told.operation {
        "set" | "rollback" | "stage" | "remove" => true,
        // No definition fits everything.
        "define" => told.arguments::<Define>()?.definition.is_some(),
        _ => false,
    };
    let is_right = match word {
        "version-conflict" => if_version.is_some_and(|version| version != status.current),
        "rolling-out" => is_free && rolled_out.is_some(),
        "not-rolling-out" => {
            let Candidate { version } = told.arguments()?;
            !is_free && rolled_out != Some(version)
        }
        _ => return Ok(None),
    };
    Ok(Some(is_right && told.detail::<Status>()? == *status))
}
