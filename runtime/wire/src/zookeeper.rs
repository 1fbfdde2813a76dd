//! What ZooKeeper clients and servers say to one another, as ZooKeeper 3.9 does: its own records.
//!
//! Comes in: bytes of a TCP stream, or typed messages. Goes out: typed messages that borrow from
//! their frame, or bytes. Both directions of both sides, from one list of fields for each record.
//! Invariant: whatever the bytes are, the answer is a message or an error that names the field; what
//! is set aside grows with the bytes that are there, never with a number they claim. As in
//! ZooKeeper, bytes after the last field of a record are passed over. Must never judge a message:
//! paths, ACLs, versions, modes and what is allowed are looked at elsewhere.
//!
//! ```
//! use quorate_wire::zookeeper::{Frames, Read, Received, Request, RequestHeader};
//! use quorate_wire::zookeeper::{decode_request, encode_request};
//! let mut sent = Vec::new();
//! encode_request(&mut sent, 7, &Request::GetData(Read { path: "/a", watch: true }));
//!
//! let mut frames = Frames::after_handshake();
//! frames.received().extend_from_slice(&sent);
//! let Ok(Some(Received::Frame(frame))) = frames.next(1_048_575) else { panic!("a whole frame") };
//! let (RequestHeader { xid, .. }, request) = decode_request(&frame).unwrap();
//! assert_eq!((xid, request), (7, Request::GetData(Read { path: "/a", watch: true })));
//! ```

mod frame;
mod handshake;
mod message;
mod multi;
mod number;
mod record;
mod reply;
mod request;
mod server_line;
pub mod stored;

pub use frame::{Cut, FourLetterWord, Frames, Received, cut};
pub use handshake::{
    ConnectRequest, ConnectResponse, decode_connect_request, decode_connect_response,
    encode_connect_request, encode_connect_response,
};
pub use message::{
    ReplyHeader, RequestHeader, decode_reply, decode_request, decode_request_header, encode_error,
    encode_notification, encode_reply, encode_request, encode_sasl_refusal, xid,
};
pub use multi::{Multi, MultiOperation, MultiReadOperation, MultiReadResult, MultiResult};
pub use number::{
    AddWatchMode, CreateMode, EventKind, Opcode, WatcherKind, WatcherState, ZooKeeperError,
};
pub use record::{DecodeError, Reader, Record, Secret};
pub use reply::{
    AclStat, ChildrenStat, ClientInfo, DataStat, PathStat, Reply, ServerMessage, Stat, WatcherEvent,
};
pub use request::{
    Acl, AddWatch, Auth, Create, CreateTtl, PathVersion, Read, Reconfig, Request, SetAcl, SetData,
    SetWatches, SetWatches2, WatchesOf,
};
pub use server_line::ServerLine;
