//! What watches report, as streams.
//!
//! Comes in: watch events and gaps from the driver. Goes out: notifications, to each subscriber in
//! the same order. Invariant: a stream gives each event once, over any number of reconnects; a
//! subscriber that is too slow, and a watch that could not be resumed where it broke off, are told
//! of the gap: nothing is missed in silence.

use crate::protocol::Answer;
use quorate_types::request::{WatchEvent, WatchMode, WatchPosition};
use quorate_types::{Reply, ZnodePath};
use std::collections::VecDeque;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Notifications held for a subscriber that does not take them.
pub(crate) const NOTIFICATIONS_MAX: usize = 4_096;

/// One piece of news about watched znodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// A watch has fired.
    Changed(WatchEvent),
    /// The servers' history does not reach back to where the watch was to go on: changes up to now
    /// may be missing. Read again.
    Gap {
        /// Where the watch is.
        path: ZnodePath,
        /// What it reports.
        mode: WatchMode,
    },
    /// This subscriber was too slow: so many notifications were dropped. Read again.
    Missed {
        /// How many.
        notifications: u64,
    },
}

impl Notification {
    /// Whether state read before must be read again, because changes may have been missed.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        !matches!(self, Notification::Changed(_))
    }
}

/// Every notification of a client from the subscription on.
#[derive(Debug)]
pub struct Notifications {
    receiver: broadcast::Receiver<Notification>,
}

impl Notifications {
    pub(crate) fn new(receiver: broadcast::Receiver<Notification>) -> Notifications {
        Notifications { receiver }
    }

    /// The next one; `None` once the session has ended. Can be dropped while it waits.
    pub async fn next(&mut self) -> Option<Notification> {
        match self.receiver.recv().await {
            Ok(notification) => Some(notification),
            Err(RecvError::Lagged(notifications)) => Some(Notification::Missed { notifications }),
            Err(RecvError::Closed) => None,
        }
    }
}

/// What a watch is to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    pub(crate) mode: WatchMode,
    pub(crate) since: Option<WatchPosition>,
    pub(crate) values: bool,
}

impl WatchOptions {
    /// These changes, from now on.
    #[must_use]
    pub fn new(mode: WatchMode) -> WatchOptions {
        WatchOptions { mode, since: None, values: false }
    }

    /// Everything after this point, as far as the server's history reaches back: a zxid that a reply
    /// or a stat showed, or the [`Watch::position`] of an earlier watch.
    #[must_use]
    pub fn since(self, since: impl Into<WatchPosition>) -> WatchOptions {
        WatchOptions { since: Some(since.into()), ..self }
    }

    /// Events of creation and of a change of data carry the data. Not for one-shot watches.
    #[must_use]
    pub fn with_values(self) -> WatchOptions {
        WatchOptions { values: true, ..self }
    }
}

/// The notifications of one watch.
#[derive(Debug)]
pub struct Watch {
    notifications: Notifications,
    path: ZnodePath,
    mode: WatchMode,
    /// What had happened before the watch was set.
    replayed: VecDeque<Notification>,
    /// When it was set.
    set: WatchPosition,
    position: WatchPosition,
}

impl Watch {
    /// The watch that was asked for, and what the server answered. The notifications were subscribed
    /// to before it was asked.
    pub(crate) fn new(
        notifications: Notifications,
        path: ZnodePath,
        options: WatchOptions,
        answer: Answer,
    ) -> Watch {
        let (mode, set) = (options.mode, WatchPosition::from(answer.zxid));
        let replayed: VecDeque<Notification> = match answer.reply {
            Reply::Watching { gap: true, .. } => {
                [Notification::Gap { path: path.clone(), mode }].into()
            }
            Reply::Watching { replayed, .. } => {
                replayed.into_iter().map(Notification::Changed).collect()
            }
            _ => VecDeque::new(),
        };
        let position = options.since.filter(|_| !replayed.is_empty()).unwrap_or(set);
        Watch { notifications, path, mode, replayed, set, position }
    }

    /// The znode watched.
    #[must_use]
    pub fn path(&self) -> &ZnodePath {
        &self.path
    }

    /// Where another watch must begin to go on where this one stands: everything up to here that the
    /// watch reports was given by [`Watch::next`], or was said to be missing.
    #[must_use]
    pub fn position(&self) -> WatchPosition {
        self.position
    }

    /// The next notification; `None` once the session has ended. Can be dropped while it waits.
    pub async fn next(&mut self) -> Option<Notification> {
        if let Some(notification) = self.replayed.pop_front() {
            self.advance(&notification);
            if self.replayed.is_empty() {
                self.position = self.set;
            }
            return Some(notification);
        }
        loop {
            let notification = self.notifications.next().await?;
            if self.concerns(&notification) {
                self.advance(&notification);
                return Some(notification);
            }
        }
    }

    fn advance(&mut self, notification: &Notification) {
        if let Notification::Changed(event) = notification {
            self.position = event.position();
        }
    }

    fn concerns(&self, notification: &Notification) -> bool {
        match notification {
            // Told to other watches of this client before this one was set, and to it in the replay.
            Notification::Changed(event) if event.position() <= self.position => false,
            Notification::Changed(event) if self.mode == WatchMode::PersistentRecursive => {
                event.path.is_within(&self.path)
            }
            Notification::Changed(event) => event.path == self.path,
            Notification::Gap { path, mode } => *path == self.path && *mode == self.mode,
            Notification::Missed { .. } => true,
        }
    }
}
