//! The task behind a client: carries bytes and time between the session's protocol and the network.
//!
//! Comes in: commands of the client handles, bytes, the clock. Goes out: completions, watch
//! notifications, the state of the session. Invariant: the protocol decides, this only carries; the
//! queue to the network is bounded, and requests wait in the protocol meanwhile.

use crate::client::SessionState;
use crate::dial::{Dialer, Transport, TransportEvent};
use crate::error::ClientError;
use crate::protocol::{
    Answer, CallFailure, CallId, Disconnect, Notice, Protocol, Settings, Submission, Undo,
};
use crate::random::Random;
use crate::watch::Notification;
use bytes::Bytes;
use quorate_types::limits::Limits;
use quorate_types::{ErrorCode, Refusal};
use quorate_wire::native::{ClientFrame, FrameBuffer, encode_client};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Bytes of frames handed to the network at once.
const OUTGOING_BYTES_MAX: usize = 256 << 10;
/// Largest frame taken from a server: a full page of children, a status, a replay for watches.
const SERVER_FRAME_BYTES_MAX: u32 = 32 << 20;
const _: () = assert!(SERVER_FRAME_BYTES_MAX > 2 * Limits::PRODUCTION.history_bytes_max);
/// Largest frame that servers take.
const CLIENT_FRAME_BYTES_MAX: usize = Limits::PRODUCTION.client_frame_bytes_max as usize;
/// Commands taken in one go, so that their frames leave together.
const COMMANDS_AT_ONCE: usize = 256;
/// How long the last requests of dropped handles, such as releases of locks, may take.
const LINGER: Duration = Duration::from_secs(1);
const REDIAL_PAUSE_MS_MIN: u64 = 50;
const REDIAL_PAUSE_MS_MAX: u64 = 1_000;

pub(crate) type Completion = oneshot::Sender<Result<Answer, CallFailure>>;

/// From a client handle to its driver.
pub(crate) enum Command {
    Submit { submission: Submission, completion: Completion },
    Abandon(CallId),
}

/// Where the driver reports to.
pub(crate) struct Reports {
    pub(crate) notifications: broadcast::Sender<Notification>,
    pub(crate) state: watch::Sender<SessionState>,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Transport, ClientError>> + Send>>;

enum Link {
    Pausing(Instant),
    Dialing(Dialing),
    Up(Box<Transport>),
    Ended,
}

enum LinkEvent {
    PauseOver,
    Dialed(Result<Transport, ClientError>),
    Transport(TransportEvent),
}

impl Link {
    async fn next(&mut self, dialer: &Dialer) -> LinkEvent {
        match self {
            Link::Pausing(until) => {
                tokio::time::sleep_until(*until).await;
                LinkEvent::PauseOver
            }
            Link::Dialing(dialing) => LinkEvent::Dialed(dialing.await),
            Link::Up(transport) => LinkEvent::Transport(transport.next(dialer).await),
            Link::Ended => std::future::pending().await,
        }
    }
}

pub(crate) struct Driver {
    dialer: Arc<Dialer>,
    targets: Vec<String>,
    /// The server left last, tried last.
    left: Option<String>,
    protocol: Protocol,
    commands: mpsc::UnboundedReceiver<Command>,
    completions: HashMap<CallId, (Completion, Option<Undo>)>,
    reports: Reports,
    /// Until the first session: who waits for it, and until when.
    first: Option<(oneshot::Sender<Result<(), ClientError>>, Instant)>,
    /// Every handle is gone; what they left is answered until then.
    leave_by: Option<Instant>,
    link: Link,
    frames: FrameBuffer,
    redial_pause_ms: u64,
    last_trouble: Option<ClientError>,
    random: Random,
    started: Instant,
}

impl Driver {
    pub(crate) fn new(
        dialer: Dialer,
        targets: Vec<String>,
        session_timeout: Duration,
        commands: mpsc::UnboundedReceiver<Command>,
        reports: Reports,
    ) -> Driver {
        let seed = Random::fresh_seed();
        let session_timeout_ms = u32::try_from(session_timeout.as_millis()).unwrap_or(u32::MAX);
        let now = Instant::now();
        Driver {
            dialer: Arc::new(dialer),
            targets,
            left: None,
            protocol: Protocol::new(Settings { session_timeout_ms, seed }),
            commands,
            completions: HashMap::new(),
            reports,
            first: None,
            leave_by: None,
            link: Link::Pausing(now),
            frames: FrameBuffer::new(),
            redial_pause_ms: REDIAL_PAUSE_MS_MIN,
            last_trouble: None,
            random: Random::new(seed.rotate_left(32)),
            started: now,
        }
    }

    /// Carries until the session ends or every handle is gone. `ready` is told when the first
    /// session is granted, or why none was until `give_up`.
    pub(crate) async fn run(
        mut self,
        ready: oneshot::Sender<Result<(), ClientError>>,
        give_up: Instant,
    ) {
        self.first = Some((ready, give_up));
        while !matches!(self.link, Link::Ended) && !self.has_left() {
            let wake = self.wake_at();
            tokio::select! {
                command = self.commands.recv(), if self.leave_by.is_none() => match command {
                    Some(command) => self.take_commands(command),
                    None => self.leave_by = Some(Instant::now() + LINGER),
                },
                event = self.link.next(&self.dialer) => self.on_link(event),
                () = tokio::time::sleep_until(wake) => {}
            }
            self.protocol.tick(self.now_ms());
            self.give_up_if_late();
            self.take_notices().await;
            self.queue_frames();
            // A request too large to be sent was answered just now.
            self.take_notices().await;
        }
        if let Link::Up(transport) = std::mem::replace(&mut self.link, Link::Ended) {
            transport.close("the client is gone").await;
        }
    }

    /// Every handle is gone, and so is what they told to be done behind them, or the time for it.
    fn has_left(&self) -> bool {
        self.leave_by
            .is_some_and(|leave_by| self.protocol.is_at_rest() || leave_by <= Instant::now())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wake_at(&self) -> Instant {
        let protocol = self.protocol.next_deadline_ms().map(|at_ms| {
            // A full queue holds heartbeats back; look again soon, not at once.
            let at_ms = if self.is_queue_full() { at_ms.max(self.now_ms() + 50) } else { at_ms };
            self.started + Duration::from_millis(at_ms)
        });
        let give_up = self.first.as_ref().map(|(_, give_up)| *give_up);
        let idle = Instant::now() + Duration::from_secs(3_600);
        [protocol, give_up, self.leave_by].into_iter().flatten().min().unwrap_or(idle)
    }

    fn take_commands(&mut self, first: Command) {
        self.take_command(first);
        for _ in 1..COMMANDS_AT_ONCE {
            match self.commands.try_recv() {
                Ok(command) => self.take_command(command),
                Err(_) => return,
            }
        }
    }

    fn take_command(&mut self, command: Command) {
        match command {
            Command::Submit { submission, completion } => {
                self.completions.insert(submission.call, (completion, submission.undo.clone()));
                self.protocol.submit(self.now_ms(), submission);
            }
            Command::Abandon(call) => {
                self.completions.remove(&call);
                self.protocol.abandon(call);
            }
        }
    }

    fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::PauseOver => self.dial(),
            LinkEvent::Dialed(Ok(transport)) => {
                self.frames = FrameBuffer::new();
                self.link = Link::Up(Box::new(transport));
                self.protocol.transport_up(self.now_ms());
            }
            LinkEvent::Dialed(Err(error)) => self.redial_after(error),
            LinkEvent::Transport(TransportEvent::Sent) => {}
            LinkEvent::Transport(TransportEvent::Received(bytes)) => self.on_bytes(&bytes),
            LinkEvent::Transport(TransportEvent::Ended(error)) => self.redial_after(error),
        }
    }

    fn on_bytes(&mut self, bytes: &Bytes) {
        let now_ms = self.now_ms();
        self.frames.push(bytes);
        loop {
            match self.frames.next_server(SERVER_FRAME_BYTES_MAX) {
                Ok(Some(frame)) => self.protocol.receive(now_ms, frame),
                Ok(None) => return,
                Err(error) => {
                    let endpoint = self.target();
                    let reason = error.to_string();
                    self.redial_after(ClientError::Disconnected { endpoint, reason });
                    return;
                }
            }
        }
    }

    /// Starts a round over all servers in random order, the one left last at its end.
    fn dial(&mut self) {
        let mut order = self.targets.clone();
        self.random.shuffle(&mut order);
        if let Some(left) = &self.left {
            order.sort_by_key(|target| target == left);
        }
        self.link = Link::Dialing(Box::pin(Arc::clone(&self.dialer).dial(order)));
    }

    fn target(&self) -> String {
        match &self.link {
            Link::Up(transport) => transport.target.clone(),
            _ => self.targets.join(", "),
        }
    }

    /// Drops the connection and tries again after a pause that grows with each failure in a row.
    fn redial_after(&mut self, trouble: ClientError) {
        tracing::debug!(%trouble, "looking for another server");
        if let Link::Up(transport) = &self.link {
            self.left = Some(transport.target.clone());
        }
        self.protocol.transport_down();
        self.reports.state.send_if_modified(SessionState::disconnect);
        let pause_ms = self.random.between(self.redial_pause_ms / 2, self.redial_pause_ms);
        self.redial_pause_ms = (self.redial_pause_ms * 2).min(REDIAL_PAUSE_MS_MAX);
        self.link = Link::Pausing(Instant::now() + Duration::from_millis(pause_ms));
        if self.first.is_some() && !trouble.is_passing() {
            self.fail_first(trouble);
        } else {
            self.last_trouble = Some(trouble);
        }
    }

    fn give_up_if_late(&mut self) {
        let late = self.first.as_ref().is_some_and(|(_, give_up)| *give_up <= Instant::now());
        if late {
            let endpoints = self.targets.join(", ");
            let reason = "nothing was heard in time".to_owned();
            let silence = ClientError::Unreachable { endpoints, reason };
            let trouble = self.last_trouble.take().unwrap_or(silence);
            self.fail_first(trouble);
        }
    }

    fn fail_first(&mut self, trouble: ClientError) {
        if let Some((ready, _)) = self.first.take() {
            let _ = ready.send(Err(trouble));
        }
        self.link = Link::Ended;
    }

    async fn take_notices(&mut self) {
        while let Some(notice) = self.protocol.poll_notice() {
            match notice {
                Notice::Connected { session, server, timeout_ms } => {
                    self.redial_pause_ms = REDIAL_PAUSE_MS_MIN;
                    self.last_trouble = None;
                    let timeout = Duration::from_millis(u64::from(timeout_ms));
                    let state = SessionState::Connected { session, server, timeout };
                    self.reports.state.send_replace(state);
                    if let Some((ready, _)) = self.first.take() {
                        let _ = ready.send(Ok(()));
                    }
                }
                Notice::Completed { call, result } => self.complete(call, result),
                Notice::Event(event) => self.notify(Notification::Changed(event)),
                Notice::Gap { path, mode } => self.notify(Notification::Gap { path, mode }),
                Notice::Disconnect(reason) => {
                    let trouble = self.disconnect_trouble(reason);
                    self.redial_after(trouble);
                }
                Notice::Lost { reason } => self.end(&reason, true).await,
                Notice::Closed => self.end("the session was closed", false).await,
            }
        }
    }

    /// Hands the answer to the caller; if that is too late, takes the call back.
    fn complete(&mut self, call: CallId, result: Result<Answer, CallFailure>) {
        let Some((completion, undo)) = self.completions.remove(&call) else {
            return;
        };
        if let (Err(Ok(answer)), Some(undo)) = (completion.send(result), undo)
            && let Some(operation) = undo.undoing(&answer.reply)
        {
            self.protocol.undo(operation);
        }
    }

    fn notify(&self, notification: Notification) {
        // An error means that nobody listens, which is fine.
        let _ = self.reports.notifications.send(notification);
    }

    fn disconnect_trouble(&self, reason: Disconnect) -> ClientError {
        let endpoint = self.target();
        let reason = match reason {
            Disconnect::Refused(refusal) => return ClientError::Refused(refusal),
            Disconnect::Goodbye(refusal) => refusal.to_string(),
            Disconnect::Silent { silent_ms } => format!("it was silent for {silent_ms} ms"),
            Disconnect::NoLeader { fruitless_ms } => {
                format!("it has had no leader for {fruitless_ms} ms")
            }
            Disconnect::Violation(words) => words.to_owned(),
        };
        ClientError::Disconnected { endpoint, reason }
    }

    async fn end(&mut self, reason: &str, lost: bool) {
        let trouble = self.last_trouble.take();
        let reason = match trouble {
            Some(trouble) if lost => format!("{reason}; last trouble: {trouble}"),
            _ => reason.to_owned(),
        };
        if let Link::Up(transport) = std::mem::replace(&mut self.link, Link::Ended) {
            transport.close(&reason).await;
        }
        self.reports.state.send_replace(SessionState::Ended { reason });
    }

    fn is_queue_full(&self) -> bool {
        match &self.link {
            Link::Up(transport) => transport.queued_bytes() >= OUTGOING_BYTES_MAX,
            _ => false,
        }
    }

    fn queue_frames(&mut self) {
        let now_ms = self.now_ms();
        let Link::Up(transport) = &mut self.link else {
            return;
        };
        while transport.queued_bytes() < OUTGOING_BYTES_MAX {
            match self.protocol.poll_frame(now_ms) {
                Some(frame) => match checked(&frame) {
                    Ok(bytes) => transport.queue(&bytes),
                    Err((sequence, refusal)) => self.protocol.refuse(sequence, refusal),
                },
                None => return,
            }
        }
    }
}

/// The frame's bytes. A frame over the servers' limit would only break the connection, again and
/// again: its request is refused here.
fn checked(frame: &ClientFrame) -> Result<Vec<u8>, (u64, Refusal)> {
    let bytes = encode_client(frame);
    match frame {
        ClientFrame::Request { sequence, .. } if bytes.len() > CLIENT_FRAME_BYTES_MAX => {
            let words = format!(
                "the request has {} bytes, more than the {CLIENT_FRAME_BYTES_MAX} that servers take",
                bytes.len()
            );
            Err((*sequence, Refusal::new(ErrorCode::QuotaExceeded, words)))
        }
        _ => Ok(bytes),
    }
}
