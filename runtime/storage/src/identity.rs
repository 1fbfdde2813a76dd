//! The identity file: whose data this is, and the membership the cluster began with.
//!
//! Comes in: the identity at creation, or the file's bytes. Goes out: bytes, or the identity.
//! Invariant: the file is the last thing written at creation, so its presence means that creation
//! finished; it never changes afterwards. An empty disk therefore has no identity.

use crate::twin;
use alloc::vec::Vec;
use quorate_raft::Membership;
use quorate_types::{Incarnation, LayoutError, LayoutReader, LayoutWriter, ServerId};

/// Name of the identity file.
pub const IDENTITY_FILE: &str = "identity";

const MAGIC: [u8; 8] = *b"QIDENT\x01\0";

/// Whose data directory this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// Drawn at random when the cluster was made.
    pub cluster: u64,
    /// The member.
    pub server: ServerId,
    /// Drawn at random when this data directory was made.
    pub incarnation: Incarnation,
}

impl ServerIdentity {
    pub(crate) fn write(&self, writer: &mut LayoutWriter) {
        writer.u64(self.cluster);
        writer.u64(self.server.0);
        writer.u64(self.incarnation.0);
    }

    pub(crate) fn read(reader: &mut LayoutReader<'_>) -> Result<ServerIdentity, LayoutError> {
        Ok(ServerIdentity {
            cluster: reader.u64("cluster")?,
            server: ServerId(reader.u64("server")?),
            incarnation: Incarnation(reader.u64("incarnation")?),
        })
    }
}

/// What the identity file holds.
pub(crate) struct IdentityFile {
    pub(crate) identity: ServerIdentity,
    pub(crate) first_membership: Membership,
    pub(crate) copy_damaged: bool,
}

/// The file's bytes.
pub(crate) fn encode(identity: &ServerIdentity, first_membership: &Membership) -> Vec<u8> {
    let mut writer = LayoutWriter::new();
    identity.write(&mut writer);
    writer.bytes(&first_membership.encode());
    twin::encode(MAGIC, &writer.into_bytes())
}

/// The identity, if one of the file's copies verifies.
pub(crate) fn decode(file: &[u8]) -> Option<IdentityFile> {
    let twin = twin::decode(MAGIC, file)?;
    let mut reader = LayoutReader::new(twin.body);
    let identity = ServerIdentity::read(&mut reader).ok()?;
    let first_membership = Membership::decode(reader.bytes("first membership").ok()?).ok()?;
    reader.finish().ok()?;
    Some(IdentityFile { identity, first_membership, copy_damaged: twin.copy_damaged })
}
