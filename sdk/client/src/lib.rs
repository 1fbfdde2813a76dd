//! The native client of a quorate cluster: sessions, znodes, watches, calls of recipes, locks.
//!
//! Comes in: a [`ClientConfig`] and method calls on a [`Client`]. Goes out: typed replies, streams
//! of notifications. Invariant: a request is applied once, over any number of reconnects within the
//! session timeout; an error says whether it may have been done. Must never: retry a request under
//! another number, or hide that the session has ended.
//!
//! ```no_run
//! # async fn example() -> Result<(), quorate_client::ClientError> {
//! use quorate_client::{Client, ClientConfig, Pem};
//! use std::time::Duration;
//!
//! let config = ClientConfig::new(["10.0.0.1", "10.0.0.2", "10.0.0.3"], Pem::read("ca.pem")?);
//! let client = Client::connect(config).await?;
//! let guard = client.lock("/locks/orders").acquire(Duration::from_secs(30)).await?;
//! println!("fencing token {}", guard.fencing_token());
//! guard.release().await?;
//! client.close().await?;
//! # Ok(()) }
//! ```
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod admin;
mod ask;
mod client;
mod config;
mod dial;
mod driver;
mod error;
mod lock;
pub mod protocol;
mod random;
mod watch;

pub use admin::MountRequest;
pub use ask::ask_status;
pub use client::{Children, Client, SessionState, Znode};
pub use config::{ClientConfig, DEFAULT_PORT, Pem, SERVER_NAME};
pub use error::ClientError;
pub use lock::{Lock, LockGuard};
pub use quorate_types::recipe::{
    InstalledRecipe, MountedRecipe, OperationFigures, ShadowDifference, ShadowReport, ShadowRun,
};
pub use quorate_types::request::{
    CreateMode, HeldWatch, MemberStatus, MultiOperation, MultiReply, ReadLevel, ServerStatus,
    WatchEvent, WatchEventKind, WatchMode, WatchPosition,
};
pub use quorate_types::{
    AclEntry, ComponentDigest, ErrorCode, MemberAddress, Operation, Outcome, Permissions,
    RecipeSignature, Refusal, Reply, ServerId, SessionId, Stat, TicketId, ZnodePath, Zxid,
};
pub use watch::{Notification, Notifications, Watch, WatchOptions};
