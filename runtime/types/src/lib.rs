//! The words every room shares: ids, paths, stats, ACLs, error codes, limits, requests.
//!
//! Data only. Nothing here decides anything, reads a clock or allocates behind the caller's back.
//! Invariant: a value of one of these types is valid; bytes from outside become these types in one
//! place each and are refused there.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
extern crate alloc;

pub mod acl;
pub mod data;
pub mod error_code;
pub mod id;
pub mod layout;
pub mod limits;
pub mod path;
pub mod recipe;
pub mod request;
pub mod stat;

pub use acl::{AclEntry, Permissions};
pub use data::ZnodeData;
pub use error_code::ErrorCode;
pub use id::{
    ComponentDigest, Incarnation, NoSignature, RecipeSignature, ServerId, SessionId, TicketId, Zxid,
};
pub use layout::{LayoutError, LayoutReader, LayoutWriter};
pub use path::{PathError, ZnodePath};
pub use request::{MemberAddress, Operation, Outcome, Refusal, Reply};
pub use stat::Stat;
