//! Requests pass here or are refused: sizes, counts, order.
//!
//! Comes in: a request of an established session. Goes out: a read in the line, or a submission to
//! the leader. Invariant: behind this door no request is larger than the limits.

use crate::Replica;
use crate::connection::{ConnectionState, Finished, Slot, SlotBody, to_usize};
use crate::forward::Waiter;
use crate::read::ReadWaiter;
use crate::read_only::refuse_reader;
use quorate_machine::{RecipeExecutor, Request};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::Index;
use quorate_types::limits::Limits;
use quorate_types::recipe::OperationKind;
use quorate_types::request::{MultiOperation, ReadLevel};
use quorate_types::{ErrorCode, Operation, Refusal, Zxid};

impl<E: RecipeExecutor> Replica<E> {
    /// Takes a request into its connection's line.
    pub(crate) fn admit(
        &mut self,
        connection: u64,
        sequence: u64,
        finished: Finished,
        request: (ReadLevel, Operation),
    ) {
        let (level, operation) = request;
        self.drop_answered(connection, &finished);
        let limits = self.settings.limits;
        let reads = self.is_read(&operation);
        let watches = self.watches_with(connection, &operation);
        let applied = self.applied();
        let Some(known) = self.connections.get_mut(&connection) else { return };
        if known.slot_mut(sequence).is_some() {
            return;
        }
        let checked = check_line(known.line.len(), &limits)
            .and_then(|()| check_watches(watches, &limits))
            .and_then(|()| check_operation(&operation, &limits));
        let waits = needs_barrier(level, &operation, applied);
        let body = match (checked, known.state) {
            (Err(refusal), _) => SlotBody::Answered { zxid: applied, outcome: Err(refusal) },
            (Ok(()), ConnectionState::Reading { is_local, .. }) if !reads || waits => {
                let outcome = refuse_reader(&operation, is_local);
                SlotBody::Answered { zxid: applied, outcome }
            }
            (Ok(()), _) if reads => {
                let from = (!waits).then_some(Index(0));
                SlotBody::Read { operation: operation.clone(), from }
            }
            (Ok(()), _) => SlotBody::Submitted,
        };
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::ReadOvertakesWrites)
            && matches!(body, SlotBody::Read { from: Some(_), .. })
        {
            let (zxid, outcome) = (self.applied(), self.read(connection, &operation));
            let frame = quorate_wire::native::ServerFrame::Reply { sequence, zxid, outcome };
            self.send_client(connection, frame);
            return;
        }
        known.line.push_back(Slot { sequence, body: body.clone() });
        match body {
            SlotBody::Submitted => self.submit_request(connection, sequence, finished, operation),
            SlotBody::Read { from: None, .. } => {
                self.wait_for_barrier(ReadWaiter::Slot { connection, sequence });
            }
            SlotBody::Read { from: Some(_), .. } | SlotBody::Answered { .. } => {
                self.advance_line(connection);
            }
        }
    }

    /// A call that was parked through an earlier connection may be answered, and its answer
    /// acknowledged, while the same call waits here for the leader: nobody wants that any more.
    fn drop_answered(&mut self, connection: u64, finished: &Finished) {
        let Some(known) = self.connections.get(&connection) else { return };
        let Some(session) = known.session() else { return };
        let (oldest, named) = (finished.oldest_unreplied, &finished.acknowledged);
        let answered = self.submissions.forget_answered(session, oldest, named);
        if answered.is_empty() {
            return;
        }
        if let Some(known) = self.connections.get_mut(&connection) {
            known.line.retain(|slot| !answered.contains(&slot.sequence));
        }
        self.advance_line(connection);
    }

    fn submit_request(
        &mut self,
        connection: u64,
        sequence: u64,
        finished: Finished,
        operation: Operation,
    ) {
        let Some(known) = self.connections.get(&connection) else { return };
        let ConnectionState::Established { session, epoch } = known.state else { return };
        let request = Request::Client {
            session,
            epoch,
            sequence,
            oldest_unreplied: finished.oldest_unreplied,
            acknowledged: finished.acknowledged,
            identity: known.identity.clone(),
            operation,
        };
        self.submit(request, Waiter::Slot { connection, session, sequence });
    }

    /// Whether this server answers by itself. A call whose mount is not known here goes to the
    /// leader, which knows better.
    pub(crate) fn is_read(&self, operation: &Operation) -> bool {
        match operation {
            Operation::Call { object, operation, .. } => {
                self.machine.operation_kind(object, operation) == Ok(OperationKind::Query)
            }
            Operation::TransferLeader { .. }
            | Operation::BeginShadow { .. }
            | Operation::ShadowReport { .. } => false,
            other => !other.is_write(),
        }
    }
}

/// Watches are this server's own business, unless they are to go on after a transaction that is not
/// applied here yet; a status is what this server sees.
fn needs_barrier(level: ReadLevel, operation: &Operation, applied: Zxid) -> bool {
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::LinearizableReadLocal) {
        return false;
    }
    match operation {
        Operation::AddWatch { since, .. } => since.is_some_and(|since| since.zxid > applied),
        Operation::ResumeWatches { since, .. } => since.zxid > applied,
        Operation::RemoveWatches { .. }
        | Operation::CountWatches { .. }
        | Operation::RestoreWatches { .. }
        | Operation::Status => false,
        _ => level == ReadLevel::Linearizable,
    }
}

fn check_line(length: usize, limits: &Limits) -> Result<(), Refusal> {
    if length < to_usize(limits.session_outstanding_max) {
        return Ok(());
    }
    let text = alloc::format!(
        "a session has at most {} requests without a reply",
        limits.session_outstanding_max
    );
    Err(Refusal::new(ErrorCode::Overloaded, text))
}

fn check_watches(wanted: usize, limits: &Limits) -> Result<(), Refusal> {
    if wanted <= to_usize(limits.connection_watches_max) {
        return Ok(());
    }
    let text = alloc::format!("a connection has at most {} watches", limits.connection_watches_max);
    Err(Refusal::new(ErrorCode::Overloaded, text))
}

fn check_operation(operation: &Operation, limits: &Limits) -> Result<(), Refusal> {
    match operation {
        Operation::Create { data, .. } | Operation::SetData { data, .. } => {
            check_data(data.len(), limits)
        }
        Operation::Multi { operations } => check_multi(operations, limits),
        Operation::Call { arguments, .. } => check_data(arguments.len(), limits),
        Operation::Mount { config, .. } => check_data(config.len(), limits),
        Operation::UploadComponent { total_bytes, bytes, .. } => {
            check_upload(*total_bytes, bytes.len(), limits)
        }
        _ => Ok(()),
    }
}

fn check_data(length: usize, limits: &Limits) -> Result<(), Refusal> {
    if length <= to_usize(limits.znode_data_bytes_max) {
        return Ok(());
    }
    let text = alloc::format!(
        "{length} bytes are more than the {} that a znode or a call may hold",
        limits.znode_data_bytes_max
    );
    Err(Refusal::new(ErrorCode::QuotaExceeded, text))
}

fn check_multi(operations: &[MultiOperation], limits: &Limits) -> Result<(), Refusal> {
    if operations.len() > to_usize(limits.multi_operations_max) {
        let text = alloc::format!(
            "{} operations are more than the {} of one multi",
            operations.len(),
            limits.multi_operations_max
        );
        return Err(Refusal::new(ErrorCode::QuotaExceeded, text));
    }
    for operation in operations {
        match operation {
            MultiOperation::Create { data, .. } | MultiOperation::SetData { data, .. } => {
                check_data(data.len(), limits)?;
            }
            MultiOperation::Delete { .. } | MultiOperation::Check { .. } => {}
        }
    }
    Ok(())
}

fn check_upload(total: u32, chunk: usize, limits: &Limits) -> Result<(), Refusal> {
    if total > limits.component_bytes_max {
        let text = alloc::format!(
            "{total} bytes are more than the {} of a component",
            limits.component_bytes_max
        );
        return Err(Refusal::new(ErrorCode::QuotaExceeded, text));
    }
    if chunk > to_usize(limits.component_chunk_bytes_max) {
        let text = alloc::format!(
            "{chunk} bytes are more than the {} of one part",
            limits.component_chunk_bytes_max
        );
        return Err(Refusal::new(ErrorCode::QuotaExceeded, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use bytes::Bytes;
    use quorate_types::ZnodePath;

    #[test]
    fn a_multi_is_checked_operation_by_operation() {
        let limits = Limits::TESTED;
        let path = ZnodePath::parse("/a").unwrap();
        let large = Bytes::from(vec![0; to_usize(limits.znode_data_bytes_max) + 1]);
        let set = MultiOperation::SetData { path, data: large.into(), expected_version: None };
        let refused = check_operation(&Operation::Multi { operations: vec![set] }, &limits);
        assert_eq!(refused.unwrap_err().code, ErrorCode::QuotaExceeded);
    }

    #[test]
    fn a_full_line_refuses_more() {
        let limits = Limits::TESTED;
        let full = to_usize(limits.session_outstanding_max);
        assert!(check_line(full - 1, &limits).is_ok());
        assert_eq!(check_line(full, &limits).unwrap_err().code, ErrorCode::Overloaded);
    }
}
