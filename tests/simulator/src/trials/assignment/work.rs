//! What clients do with an assignment.
//!
//! Comes in: turns and answers. Goes out: members that join, wait for what they have, give up what
//! is revoked, mostly as they should, and leave. Invariant: names are few, so that clients meet.

use super::super::record::word_of;
use super::super::{EndedCall, Turn, Work};
use super::{Acknowledge, Assignment, AwaitAssignment, Define, MemberName, OBJECTS, Partitions};
use crate::work::to_cbor;
use bytes::Bytes;

/// A member of this client.
struct Mine {
    object: &'static str,
    name: String,
    /// As it knows it.
    has: Assignment,
    /// When it acknowledges what is revoked.
    due_ms: Option<u64>,
}

#[derive(Default)]
pub(super) struct AssignmentWork {
    members: Vec<Mine>,
}

impl AssignmentWork {
    fn draw_name(turn: &mut Turn<'_>) -> String {
        let choices = turn.choices();
        match choices.below(60) {
            0 => "a/b".into(),
            1 => String::new(),
            _ => format!("worker-{}", choices.below(5)),
        }
    }

    fn draw_member(&self, turn: &mut Turn<'_>) -> Option<&Mine> {
        let count = self.members.len() as u64;
        (count > 0).then(|| &self.members[turn.choices().below(count) as usize])
    }

    fn ask_define(turn: &mut Turn<'_>, object: &str) {
        let choices = turn.choices();
        let partitions = if choices.one_in(3) {
            let all = ["north", "east", "south", "west"].into_iter();
            Partitions::Names(all.filter(|_| choices.one_in(2)).map(str::to_owned).collect())
        } else {
            Partitions::Count(choices.below(10) as u32)
        };
        turn.call(object, "define", &Define { partitions });
    }

    fn ask_await(&self, turn: &mut Turn<'_>) {
        let wait_ms = turn.draw_wait_ms();
        let is_stale = turn.choices().one_in(6);
        if let Some(Mine { object, name, has, .. }) = self.draw_member(turn) {
            let (name, after) = (name.clone(), has.generation - u64::from(is_stale));
            turn.call(object, "await-assignment", &AwaitAssignment { name, after, wait_ms });
        }
    }

    /// Gives up what is revoked; sometimes not all, or what is not, or of another generation.
    fn acknowledge(turn: &mut Turn<'_>, mine: &Mine) {
        let choices = turn.choices();
        let (name, mut generation) = (mine.name.clone(), mine.has.generation);
        let mut partitions = mine.has.revoking.clone();
        match choices.below(12) {
            0 => generation -= 1,
            1 => drop(partitions.insert("0".into())),
            2 => drop(partitions.pop_first()),
            _ => {}
        }
        turn.call(mine.object, "acknowledge", &Acknowledge { name, generation, partitions });
    }

    /// What a member has now.
    fn hear(&mut self, turn: &mut Turn<'_>, object: &str, name: &str, has: Assignment) {
        let span_ms = turn.pause_ms() * 6 + 1;
        let due_ms = turn.now_ms() + turn.choices().below(span_ms);
        let is_it = |mine: &&mut Mine| (mine.object, mine.name.as_str()) == (object, name);
        let Some(mine) = self.members.iter_mut().find(is_it) else { return };
        if has.generation >= mine.has.generation {
            mine.due_ms = (!has.revoking.is_empty()).then_some(due_ms);
            mine.has = has;
        }
    }
}

impl Work for AssignmentWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let object = OBJECTS[turn.choices().below(2) as usize];
        match turn.choices().below(20) {
            0..=3 => {
                let name = AssignmentWork::draw_name(turn);
                turn.call(object, "join", &MemberName { name });
            }
            4..=8 => self.ask_await(turn),
            9 | 10 => AssignmentWork::ask_define(turn, object),
            11 => {
                let name = AssignmentWork::draw_name(turn);
                turn.query(object, "assignment", to_cbor(&MemberName { name }));
            }
            12..=16 => drop(turn.query(object, "assignments", Bytes::new())),
            17 => {
                // Perhaps another client's.
                let name = AssignmentWork::draw_name(turn);
                turn.call(object, "leave", &MemberName { name });
            }
            18 => {
                if let Some(mine) = self.draw_member(turn) {
                    AssignmentWork::acknowledge(turn, mine);
                }
            }
            _ => turn.abandon_any(),
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let known = OBJECTS.into_iter().find(|object| *object == ended.object);
        let Some(object) = known else { return };
        let Ok(MemberName { name }) = serde_cbor::from_slice(ended.arguments) else { return };
        let word = ended.refusal().map(word_of);
        let is_it = |mine: &Mine| (mine.object, mine.name.as_str()) == (object, name.as_str());
        match (ended.operation, word) {
            ("leave", None) | (_, Some("not-member")) => self.members.retain(|mine| !is_it(mine)),
            ("join", None) => {
                let Some(has) = ended.reply::<Assignment>() else { return };
                self.members.retain(|mine| !is_it(mine));
                self.members.push(Mine { object, name, has, due_ms: None });
            }
            ("acknowledge" | "await-assignment", None) => {
                if let Some(has) = ended.reply() {
                    self.hear(turn, object, &name, has);
                }
            }
            ("acknowledge", Some("stale-generation" | "not-revoked")) => {
                let detail = ended.refusal().map(|refusal| &refusal.detail[..]);
                let has = detail.and_then(|detail| serde_cbor::from_slice(detail).ok());
                if let Some(has) = has {
                    self.hear(turn, object, &name, has);
                }
            }
            _ => {}
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        if !eager {
            for Mine { object, name, .. } in std::mem::take(&mut self.members) {
                turn.call(object, "leave", &MemberName { name });
            }
            if turn.choices().one_in(50) {
                turn.abandon_all();
            }
            return;
        }
        let now_ms = turn.now_ms();
        for mine in &mut self.members {
            if mine.due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
                mine.due_ms = None;
                // Sometimes it forgets to.
                if !turn.choices().one_in(10) {
                    AssignmentWork::acknowledge(turn, mine);
                }
            }
        }
    }

    fn forget(&mut self) {
        self.members.clear();
    }

    fn is_at_rest(&self) -> bool {
        self.members.is_empty()
    }
}
