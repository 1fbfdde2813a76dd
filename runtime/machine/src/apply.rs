//! What a change does to state: the one place, for the leader's overlay and for every server.
//!
//! Comes in: a state, the stamp and a change that `prepare` has checked. Goes out: the state after,
//! and what others must hear of. Invariant: never fails on what `prepare` makes; an assertion here
//! means that this server's state is not the leader's. Must never: run a recipe or look at
//! anything but its arguments.

use crate::applied::{Applied, AppliedReply, ConnectionResult, SessionGrant, ZnodeEvent};
use crate::change::{AclSource, Change};
use crate::items::{
    Component, KeptReply, Member, MemberStanding, MembershipChange, Mount, Session, Ticket,
    TimerKey,
};
use crate::quota::{self, Difference};
use crate::request::Stamp;
use crate::tables::{
    Chunks, Components, Deadlines, Due, Ephemerals, KeptReplies, Members, MembershipChanges,
    Mounts, ObjectTickets, Quotas, SessionTickets, Sessions, State, Tickets, Timers, Znodes,
};
use crate::transaction::{Origin, Transaction};
use crate::znode::{self, TreeKey, Znode, ZnodeKind};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::request::WatchEventKind;
use quorate_types::{
    AclEntry, ComponentDigest, Outcome, Reply, ServerId, SessionId, TicketId, ZnodePath, Zxid,
};

/// Applies a whole transaction.
pub(crate) fn apply_transaction(
    state: &mut impl State,
    zxid: Zxid,
    transaction: &Transaction,
) -> Applied {
    let stamp = Stamp { zxid, time_ms: transaction.time_ms };
    let mut applied = Applied::default();
    for change in &transaction.changes {
        apply_change(state, stamp, change, &mut applied);
        answer_connection(state, stamp, &transaction.origin, change, &mut applied);
    }
    settle_origin(state, &transaction.origin, transaction.reply.as_ref(), &mut applied);
    applied
}

/// Applies one change.
pub(crate) fn apply_change(
    state: &mut impl State,
    stamp: Stamp,
    change: &Change,
    applied: &mut Applied,
) {
    match change {
        Change::CreateZnode { .. } => create_znode(state, stamp, change, applied),
        Change::DeleteZnode { path } => delete_znode(state, stamp, path, applied),
        Change::SetData { .. } => set_data(state, stamp, change, applied),
        Change::SetAcl { path, acl, version } => set_acl(state, path, acl, *version),
        Change::OpenSession { .. } => open_session(state, stamp, change, applied),
        Change::AttachSession { session } => attach_session(state, stamp, *session),
        Change::CloseSession { session } => close_session(state, *session, applied),
        Change::Park { .. } => park(state, change),
        Change::Complete { ticket, outcome } => complete(state, *ticket, outcome, applied),
        Change::SetTimer { mount, object, name, at_ms } => {
            let (mount, object, name) = (mount.clone(), object.clone(), name.clone());
            put_timer(state, TimerKey { mount, object, name }, Some(*at_ms));
        }
        Change::CancelTimer { mount, object, name } => {
            let (mount, object, name) = (mount.clone(), object.clone(), name.clone());
            put_timer(state, TimerKey { mount, object, name }, None);
        }
        Change::UploadChunk { .. } => upload_chunk(state, change, applied),
        Change::InstallComponent { digest, descriptor } => {
            let mut component = component_of(state, digest);
            component.installed = Some((stamp.zxid, descriptor.clone()));
            state.put::<Components>(*digest, Some(Arc::new(component)));
        }
        Change::RemoveComponent { digest } => remove_component(state, digest, applied),
        Change::PutMount { path, digest, config, open, fuel } => {
            let (digest, config, open, fuel) = (*digest, config.clone(), *open, *fuel);
            let mount = Mount { digest, config, open, fuel, suspended: None };
            state.put::<Mounts>(path.clone(), Some(Arc::new(mount)));
        }
        Change::Unmount { path } => state.put::<Mounts>(path.clone(), None),
        Change::SuspendMount { path, reason } => {
            let mount = state.get::<Mounts>(path).expect("a mount suspended is there");
            let suspended = Some(reason.clone());
            let mount = Mount { suspended, ..Arc::unwrap_or_clone(mount) };
            state.put::<Mounts>(path.clone(), Some(Arc::new(mount)));
        }
        Change::RecordMember { server, incarnation } => {
            let member = Member { incarnation: Some(*incarnation), ..member_of(state, *server) };
            state.put::<Members>(*server, Some(Arc::new(member)));
        }
        Change::RecordAddress { server, address } => {
            let member = Member { address: Some(address.clone()), ..member_of(state, *server) };
            state.put::<Members>(*server, Some(Arc::new(member)));
            applied.members_changed = true;
        }
        Change::RecordStanding { server, standing } => {
            record_standing(state, *server, *standing);
            applied.members_changed = true;
        }
        Change::BeginMembership { steps, session, sequence, tells_config } => {
            let (session, sequence, tells_config) = (*session, *sequence, *tells_config);
            let change = MembershipChange { steps: steps.clone(), session, sequence, tells_config };
            state.put::<MembershipChanges>(session, Some(Arc::new(change)));
        }
        Change::EndMembership { session, .. } => {
            assert!(state.has::<MembershipChanges>(session), "a change ended is under way");
            state.put::<MembershipChanges>(*session, None);
        }
    }
}

/// Drops the replies that the client has, and keeps the new one.
pub(crate) fn settle_origin(
    state: &mut impl State,
    origin: &Origin,
    reply: Option<&Outcome>,
    applied: &mut Applied,
) {
    let Origin::Session { session, sequence, forgotten } = origin else { return };
    if state.has::<Sessions>(session) {
        for sequence in forgotten {
            state.put::<KeptReplies>((*session, *sequence), None);
        }
        // A parked call is kept by its `Park`.
        if let Some(outcome) = reply.filter(|outcome| !matches!(outcome, Ok(Reply::Parked(_)))) {
            let kept = KeptReply::Replied(outcome.clone());
            state.put::<KeptReplies>((*session, *sequence), Some(kept));
        }
    }
    if let Some(outcome) = reply {
        let (session, sequence, outcome) = (*session, *sequence, outcome.clone());
        applied.replies.push(AppliedReply { session, sequence, outcome });
    }
}

fn answer_connection(
    state: &impl State,
    stamp: Stamp,
    origin: &Origin,
    change: &Change,
    applied: &mut Applied,
) {
    let Origin::Connection(origin) = *origin else { return };
    let session = match change {
        Change::OpenSession { .. } => SessionId(stamp.zxid.0),
        Change::AttachSession { session } => *session,
        _ => return,
    };
    let facts = state.get::<Sessions>(&session).expect("a session granted is there");
    let (password, timeout_ms) = (facts.password, facts.timeout_ms);
    let grant = SessionGrant { session, epoch: facts.epoch, password, timeout_ms };
    applied.connections.push(ConnectionResult { origin, outcome: Ok(grant) });
    if matches!(change, Change::AttachSession { .. }) {
        applied.sessions_attached.push((session, origin));
    }
}

/// Replaces a znode and keeps its indexes.
pub(crate) fn put_znode(
    state: &mut impl State,
    path: &ZnodePath,
    before: Option<&Znode>,
    after: Option<Znode>,
) {
    index_znode(state, path, before, after.as_ref());
    state.put::<Znodes>(TreeKey::of(path), after.map(Arc::new));
}

/// Moves a znode's entries in the indexes.
pub(crate) fn index_znode(
    state: &mut impl State,
    path: &ZnodePath,
    before: Option<&Znode>,
    after: Option<&Znode>,
) {
    let owners = (before.and_then(Znode::owner), after.and_then(Znode::owner));
    if owners.0 != owners.1 {
        owners.0.inspect(|owner| state.put::<Ephemerals>((*owner, path.clone()), None));
        owners.1.inspect(|owner| state.put::<Ephemerals>((*owner, path.clone()), Some(())));
    }
    if before.is_none() != after.is_none()
        && let Some(limited) = quota::limited_by(path)
    {
        state.put::<Quotas>(limited, after.map(|_| ()));
    }
    let dues = (before.and_then(Znode::due_ms), after.and_then(Znode::due_ms));
    move_deadline(state, dues.0, dues.1, || Due::Znode(path.clone()));
}

fn move_deadline(
    state: &mut impl State,
    before_ms: Option<u64>,
    after_ms: Option<u64>,
    due: impl Fn() -> Due,
) {
    if before_ms == after_ms {
        return;
    }
    if let Some(at_ms) = before_ms {
        state.put::<Deadlines>((at_ms, due()), None);
    }
    if let Some(at_ms) = after_ms {
        state.put::<Deadlines>((at_ms, due()), Some(()));
    }
}

fn parent_of(state: &impl State, path: &ZnodePath) -> (ZnodePath, Arc<Znode>) {
    let parent_path = path.parent().expect("the root is neither created nor deleted");
    let parent = state.znode(&parent_path).expect("the parent of a znode changed is there");
    (parent_path, parent)
}

fn create_znode(state: &mut impl State, stamp: Stamp, change: &Change, applied: &mut Applied) {
    let Change::CreateZnode { path, data, acl, kind } = change else { return };
    let (parent_path, before) = parent_of(state, path);
    assert!(!state.has::<Znodes>(&TreeKey::of(path)), "{path} is there already");
    let mut parent = (*before).clone();
    // Sticks at the top as ZooKeeper's does; `prepare` refuses names that exist.
    parent.children_created = parent.children_created.saturating_add(1);
    parent.children_count += 1;
    parent.pzxid = stamp.zxid;
    let znode = Znode {
        data: data.clone(),
        data_hash: znode::hash_data(data),
        acl: match acl {
            AclSource::Open => None,
            AclSource::Parent => parent.acl.clone(),
            AclSource::Given(entries) => Some(Arc::new(entries.clone())),
        },
        czxid: stamp.zxid,
        mzxid: stamp.zxid,
        pzxid: stamp.zxid,
        ctime_ms: stamp.time_ms,
        mtime_ms: stamp.time_ms,
        version: 0,
        aversion: 0,
        children_created: 0,
        children_count: 0,
        kind: *kind,
    };
    applied.events.push(ZnodeEvent {
        path: path.clone(),
        kind: WatchEventKind::Created,
        data: Some(data.to_bytes()),
        acl: znode.acl.clone(),
        parent_acl: parent.acl.clone(),
    });
    put_znode(state, &parent_path, Some(&before), Some(parent));
    put_znode(state, path, None, Some(znode));
    quota::begin_stats(state, path);
    quota::account(state, path, Difference::created(data));
}

fn delete_znode(state: &mut impl State, stamp: Stamp, path: &ZnodePath, applied: &mut Applied) {
    let (parent_path, before) = parent_of(state, path);
    let znode = state.znode(path).expect("a znode deleted is there");
    assert!(znode.children_count == 0, "{path} has children");
    let mut parent = (*before).clone();
    parent.children_count -= 1;
    parent.pzxid = stamp.zxid;
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::ParentUnmarkedByDelete) {
        parent.pzxid = before.pzxid;
    }
    if parent.children_count == 0 && matches!(parent.kind, ZnodeKind::Container { .. }) {
        parent.kind = ZnodeKind::Container { emptied_ms: stamp.time_ms };
    }
    applied.events.push(ZnodeEvent {
        path: path.clone(),
        kind: WatchEventKind::Deleted,
        data: None,
        acl: znode.acl.clone(),
        parent_acl: parent.acl.clone(),
    });
    put_znode(state, path, Some(&znode), None);
    put_znode(state, &parent_path, Some(&before), Some(parent));
    quota::account(state, path, Difference::deleted(&znode.data));
}

fn set_data(state: &mut impl State, stamp: Stamp, change: &Change, applied: &mut Applied) {
    let Change::SetData { path, data, version } = change else { return };
    let before = state.znode(path).expect("a znode set is there");
    let after = Znode {
        data: data.clone(),
        data_hash: znode::hash_data(data),
        version: *version,
        mzxid: stamp.zxid,
        mtime_ms: stamp.time_ms,
        ..(*before).clone()
    };
    applied.events.push(ZnodeEvent {
        path: path.clone(),
        kind: WatchEventKind::DataChanged,
        data: Some(data.to_bytes()),
        acl: after.acl.clone(),
        parent_acl: None,
    });
    put_znode(state, path, Some(&before), Some(after));
    quota::account(state, path, Difference::set(&before.data, data));
}

fn set_acl(state: &mut impl State, path: &ZnodePath, acl: &[AclEntry], version: i32) {
    let before = state.znode(path).expect("a znode whose ACL is set is there");
    let acl = Some(Arc::new(acl.to_vec()));
    let after = Znode { acl, aversion: version, ..(*before).clone() };
    put_znode(state, path, Some(&before), Some(after));
}

fn open_session(state: &mut impl State, stamp: Stamp, change: &Change, applied: &mut Applied) {
    let Change::OpenSession { password, timeout_ms, identity } = change else { return };
    let session = Session {
        epoch: stamp.zxid,
        password: *password,
        timeout_ms: *timeout_ms,
        identity: identity.clone(),
    };
    let id = SessionId(stamp.zxid.0);
    assert!(!state.has::<Sessions>(&id), "session {id} is there already");
    state.put::<Sessions>(id, Some(Arc::new(session)));
    applied.sessions_opened.push(id);
}

fn attach_session(state: &mut impl State, stamp: Stamp, id: SessionId) {
    let before = state.get::<Sessions>(&id).expect("a session attached is there");
    let session = Session { epoch: stamp.zxid, ..(*before).clone() };
    state.put::<Sessions>(id, Some(Arc::new(session)));
}

fn close_session(state: &mut impl State, id: SessionId, applied: &mut Applied) {
    let kept = state.keys_while::<KeptReplies>(&(id, 0), |(owner, _)| *owner == id);
    for key in kept {
        state.put::<KeptReplies>(key, None);
    }
    state.put::<Sessions>(id, None);
    applied.sessions_closed.push(id);
}

/// Adds or removes a ticket and keeps its indexes.
pub(crate) fn put_ticket(state: &mut impl State, id: TicketId, ticket: &Arc<Ticket>, there: bool) {
    let object = (ticket.mount.clone(), ticket.object.clone(), id);
    state.put::<ObjectTickets>(object, there.then_some(()));
    state.put::<SessionTickets>((ticket.session, id), there.then_some(()));
    if let Some(at_ms) = ticket.deadline_ms {
        state.put::<Deadlines>((at_ms, Due::Ticket(id)), there.then_some(()));
    }
    state.put::<Tickets>(id, there.then(|| ticket.clone()));
}

fn park(state: &mut impl State, change: &Change) {
    let Change::Park { ticket, session, sequence, mount, object, deadline_ms } = change else {
        return;
    };
    let parked = Ticket {
        session: *session,
        sequence: *sequence,
        mount: mount.clone(),
        object: object.clone(),
        deadline_ms: *deadline_ms,
    };
    put_ticket(state, *ticket, &Arc::new(parked), true);
    state.put::<KeptReplies>((*session, *sequence), Some(KeptReply::Parked(*ticket)));
}

fn complete(state: &mut impl State, id: TicketId, outcome: &Outcome, applied: &mut Applied) {
    let ticket = state.get::<Tickets>(&id).expect("a ticket completed is there");
    put_ticket(state, id, &ticket, false);
    let (session, sequence) = (ticket.session, ticket.sequence);
    let kept = KeptReply::Replied(outcome.clone());
    state.put::<KeptReplies>((session, sequence), Some(kept));
    applied.replies.push(AppliedReply { session, sequence, outcome: outcome.clone() });
}

/// Sets, moves or removes a timer and keeps its index.
fn put_timer(state: &mut impl State, key: TimerKey, at_ms: Option<u64>) {
    let before = state.get::<Timers>(&key);
    move_deadline(state, before, at_ms, || Due::Timer(key.clone()));
    state.put::<Timers>(key, at_ms);
}

fn component_of(state: &impl State, digest: &ComponentDigest) -> Component {
    let component = state.get::<Components>(digest).expect("a component changed is there");
    Arc::unwrap_or_clone(component)
}

fn upload_chunk(state: &mut impl State, change: &Change, applied: &mut Applied) {
    let Change::UploadChunk { digest, total_bytes, offset, bytes } = change else { return };
    let length = u32::try_from(bytes.len()).expect("limits keep chunks small");
    let installed = None;
    let received_bytes = offset + length;
    let component = Component { total_bytes: *total_bytes, received_bytes, installed };
    if component.is_complete() {
        applied.components_completed.push(*digest);
    }
    state.put::<Components>(*digest, Some(Arc::new(component)));
    state.put::<Chunks>((*digest, *offset), Some(bytes.clone()));
}

fn remove_component(state: &mut impl State, digest: &ComponentDigest, applied: &mut Applied) {
    let chunks = state.keys_while::<Chunks>(&(*digest, 0), |(owner, _)| owner == digest);
    for key in chunks {
        state.put::<Chunks>(key, None);
    }
    state.put::<Components>(*digest, None);
    applied.components_removed.push(*digest);
}

fn member_of(state: &impl State, server: ServerId) -> Member {
    state.get::<Members>(&server).map_or_else(Member::default, Arc::unwrap_or_clone)
}

fn record_standing(state: &mut impl State, server: ServerId, standing: MemberStanding) {
    let mut member = Member { standing, ..member_of(state, server) };
    if member.is_removed() {
        member.address = None;
    }
    state.put::<Members>(server, Some(Arc::new(member)));
}

/// The bytes of a component that is there completely.
pub(crate) fn component_parts(state: &impl State, digest: &ComponentDigest) -> Vec<Bytes> {
    let keys = state.keys_while::<Chunks>(&(*digest, 0), |(owner, _)| owner == digest);
    keys.iter().filter_map(|key| state.get::<Chunks>(key)).collect()
}
