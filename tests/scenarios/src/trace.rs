//! How packets, writes and effects read in a trace: one short line each, the same words everywhere.
//! `3@2` is index 3 of term 2. Leaves out what differs from run to run without meaning: the numbers
//! of a replica's life and of forwarded read questions.

use std::fmt::Write as _;

use quorate_raft::{
    Append, AppendOutcome, AppendReply, Entry, EntryKind, Membership, Message, ReplicaId, Role,
    Write,
};

use crate::server::{Effect, Packet, Server};

/// A packet that arrives.
pub fn packet(from: ReplicaId, to: ReplicaId, packet: &Packet) -> String {
    let text = match packet {
        Packet::Raft(message) => message_text(message),
        Packet::Snapshot { term, snapshot } => {
            format!("snapshot t={term} {}@{}", snapshot.mark.index, snapshot.mark.term)
        }
        Packet::SnapshotAnswer { index, installed: true } => format!("snapshot-installed {index}"),
        Packet::SnapshotAnswer { index, installed: false } => format!("snapshot-refused {index}"),
    };
    format!("{from}->{to} {text}")
}

fn yes_or_no(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

fn message_text(message: &Message) -> String {
    match message {
        Message::PreVote(one) => {
            format!("prevote t={} last={}@{}", one.term, one.last_index, one.last_term)
        }
        Message::PreVoteReply(one) => {
            format!("prevote-reply t={} {}", one.term, yes_or_no(one.granted))
        }
        Message::Vote(one) => {
            let forced = if one.transfer { " transfer" } else { "" };
            format!("vote t={} last={}@{}{forced}", one.term, one.last_index, one.last_term)
        }
        Message::VoteReply(one) => format!("vote-reply t={} {}", one.term, yes_or_no(one.granted)),
        Message::Append(one) => append_text(one),
        Message::AppendReply(one) => append_reply_text(one),
        Message::Heartbeat(one) => {
            format!("heartbeat t={} commit={}{}", one.term, one.commit, round_text(one.round))
        }
        Message::HeartbeatReply(one) => {
            format!("heartbeat-reply t={}{}", one.term, round_text(one.round))
        }
        Message::ReadIndex(one) => format!("read-index t={}", one.term),
        Message::ReadIndexReply(one) => match one.index {
            Some(index) => format!("read-index-reply t={} index={index}", one.term),
            None => format!("read-index-reply t={} refused", one.term),
        },
        Message::TimeoutNow(one) => format!("timeout-now t={}", one.term),
    }
}

fn round_text(round: u64) -> String {
    if round == 0 { String::new() } else { format!(" round={round}") }
}

fn append_text(one: &Append) -> String {
    let mut text = format!(
        "append t={} after={}@{} commit={}",
        one.term, one.previous_index, one.previous_term, one.commit
    );
    if !one.entries.is_empty() {
        let _ = write!(text, " [{}]", entries(&one.entries));
    }
    text
}

fn append_reply_text(one: &AppendReply) -> String {
    match one.outcome {
        AppendOutcome::Accepted { matched } => format!("append-reply t={} ok={matched}", one.term),
        AppendOutcome::Rejected { previous, hint_index, hint_term } => {
            format!("append-reply t={} no={previous} hint={hint_index}@{hint_term}", one.term)
        }
    }
}

/// Entries as `3@1 "x", 4@1 empty`.
pub fn entries(entries: &[Entry]) -> String {
    entries.iter().map(entry).collect::<Vec<_>>().join(", ")
}

/// One entry as `3@1 "x"`.
pub fn entry(entry: &Entry) -> String {
    let what = match entry.kind {
        EntryKind::Empty => "empty".to_string(),
        EntryKind::Command => format!("{:?}", String::from_utf8_lossy(&entry.payload)),
        EntryKind::Membership => Membership::decode(&entry.payload)
            .map_or("broken".to_string(), |decoded| membership(&decoded)),
    };
    format!("{}@{} {what}", entry.index, entry.term)
}

/// A membership as `voters 1,2,3 outgoing 1,2 learners 4 learners-next 5`.
pub fn membership(membership: &Membership) -> String {
    let list = |ids: &std::collections::BTreeSet<ReplicaId>| {
        ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let mut text = format!("voters {}", list(&membership.voters));
    for (name, ids) in [
        ("outgoing", &membership.voters_outgoing),
        ("learners", &membership.learners),
        ("learners-next", &membership.learners_next),
    ] {
        if !ids.is_empty() {
            let _ = write!(text, " {name} {}", list(ids));
        }
    }
    text
}

/// A write that became durable.
pub fn write(id: ReplicaId, write: &Write) -> String {
    let mut parts = Vec::new();
    if let Some(hard_state) = &write.hard_state {
        let vote = hard_state.vote.map_or("none".to_string(), |vote| vote.to_string());
        parts.push(format!("term={} vote={vote}", hard_state.term));
    }
    if let Some(mark) = &write.installed {
        parts.push(format!("snapshot={}@{}", mark.index, mark.term));
    }
    if let Some(from) = write.truncate_from {
        parts.push(format!("truncate={from}"));
    }
    if !write.entries.is_empty() {
        parts.push(format!("[{}]", entries(&write.entries)));
    }
    if write.refetched {
        parts.push("refetched".to_string());
    }
    format!("{id} synced {}", parts.join(" "))
}

/// The name of a role.
pub fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
        Role::Learner => "learner",
    }
}

/// What a server is, as `follower t=2 leader=1`.
pub fn standing(server: &Server) -> String {
    let Some(raft) = server.raft.as_ref() else { return "down".to_string() };
    let mut text = format!("{} t={}", role(raft.role()), raft.term());
    if let Some(leader) = raft.leader().filter(|leader| *leader != raft.id()) {
        let _ = write!(text, " leader={leader}");
    }
    if raft.is_refetching() {
        text.push_str(" refetching");
    }
    text
}

/// An effect worth a line; packets and writes are told when they arrive.
pub fn effect(server: &Server, effect: &Effect) -> Option<String> {
    let id = server.id();
    match effect {
        Effect::Role => Some(format!("  {id} is {}", standing(server))),
        Effect::Membership => {
            let raft = server.raft.as_ref()?;
            Some(format!("  {id} has {}", membership(raft.membership())))
        }
        Effect::Apply(applied) => Some(format!("  {id} applies {}", entry(applied))),
        Effect::Install(mark) => Some(format!("  {id} installs {}@{}", mark.index, mark.term)),
        Effect::Answer(read, Ok(index)) => Some(format!("  {id} answers read {read}: {index}")),
        Effect::Answer(read, Err(refusal)) => {
            Some(format!("  {id} refuses read {read}: {refusal}"))
        }
        Effect::Send(..) | Effect::Queue(_) => None,
    }
}
