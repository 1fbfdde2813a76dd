//! What watches report, as streams.
//!
//! Comes in: watch events and gaps from the driver. Goes out: notifications, to each subscriber in
//! the same order. Invariant: a subscriber that is too slow, and a watch that was set again after a
//! reconnect, are told of the gap: nothing is missed in silence.

use quorate_types::ZnodePath;
use quorate_types::request::{WatchEvent, WatchMode};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Notifications held for a subscriber that does not take them.
pub(crate) const NOTIFICATIONS_MAX: usize = 4_096;

/// One piece of news about watched znodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// A watch has fired.
    Changed(WatchEvent),
    /// The watch was set again at another server: changes in between are not known. Read again.
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

/// The notifications of one watch.
#[derive(Debug)]
pub struct Watch {
    notifications: Notifications,
    path: ZnodePath,
    mode: WatchMode,
}

impl Watch {
    pub(crate) fn new(notifications: Notifications, path: ZnodePath, mode: WatchMode) -> Watch {
        Watch { notifications, path, mode }
    }

    /// The znode watched.
    #[must_use]
    pub fn path(&self) -> &ZnodePath {
        &self.path
    }

    /// The next notification; `None` once the session has ended. Can be dropped while it waits.
    pub async fn next(&mut self) -> Option<Notification> {
        loop {
            let notification = self.notifications.next().await?;
            if self.concerns(&notification) {
                return Some(notification);
            }
        }
    }

    fn concerns(&self, notification: &Notification) -> bool {
        match notification {
            Notification::Changed(event) if self.mode == WatchMode::PersistentRecursive => {
                event.path.is_within(&self.path)
            }
            Notification::Changed(event) => event.path == self.path,
            Notification::Gap { path, mode } => *path == self.path && *mode == self.mode,
            Notification::Missed { .. } => true,
        }
    }
}
