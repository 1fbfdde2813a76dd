//! The changes a transaction is made of: each with its final values.
//!
//! Comes in: what `prepare` decided. Goes out: bytes, and what `apply` does. Invariant: applying a
//! change needs the state before it and nothing else; what other fields follow from it (a parent's
//! counters, indexes) is derived in `apply` alone.

use crate::codec;
use crate::items::{MemberStanding, MemberStep, Stored};
use crate::znode::ZnodeKind;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::recipe::RecipeDescriptor;
use quorate_types::{
    AclEntry, ComponentDigest, Incarnation, LayoutError, LayoutReader, LayoutWriter, MemberAddress,
    Outcome, ServerId, SessionId, TicketId, ZnodeData, ZnodePath,
};

/// Where a new znode's ACL comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclSource {
    /// Everything for everyone.
    Open,
    /// The parent's, shared with it.
    Parent,
    /// Given by the client, already resolved and checked.
    Given(Vec<AclEntry>),
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A znode comes into being under an existing parent.
    CreateZnode {
        /// Final path.
        path: ZnodePath,
        /// Its data.
        data: ZnodeData,
        /// Its ACL.
        acl: AclSource,
        /// How long it lives.
        kind: ZnodeKind,
    },
    /// A childless znode goes.
    DeleteZnode {
        /// Which.
        path: ZnodePath,
    },
    /// A znode's data is replaced.
    SetData {
        /// Which.
        path: ZnodePath,
        /// The new data.
        data: ZnodeData,
        /// The new version.
        version: i32,
    },
    /// A znode's ACL is replaced.
    SetAcl {
        /// Which.
        path: ZnodePath,
        /// The new ACL.
        acl: Vec<AclEntry>,
        /// The new ACL version.
        version: i32,
    },
    /// A session begins; its id and epoch are the transaction's zxid.
    OpenSession {
        /// Needed to take it over.
        password: [u8; 16],
        /// Granted, in milliseconds.
        timeout_ms: u32,
        /// Whose.
        identity: String,
    },
    /// A session moves to another connection; its epoch becomes the transaction's zxid.
    AttachSession {
        /// Which.
        session: SessionId,
    },
    /// A session that owns nothing any more ends.
    CloseSession {
        /// Which.
        session: SessionId,
    },
    /// A call waits.
    Park {
        /// Its ticket.
        ticket: TicketId,
        /// The caller.
        session: SessionId,
        /// The call's number within the session.
        sequence: u64,
        /// The mount it waits at.
        mount: ZnodePath,
        /// The object, relative to the mount.
        object: String,
        /// When it is answered `timed-out`; milliseconds since 1970.
        deadline_ms: Option<u64>,
    },
    /// A waiting call is answered.
    Complete {
        /// Its ticket.
        ticket: TicketId,
        /// The answer.
        outcome: Outcome,
    },
    /// A timer is set or moved.
    SetTimer {
        /// The mount.
        mount: ZnodePath,
        /// The object, relative to the mount.
        object: String,
        /// The timer's name within the object.
        name: String,
        /// When; milliseconds since 1970.
        at_ms: u64,
    },
    /// A timer goes.
    CancelTimer {
        /// The mount.
        mount: ZnodePath,
        /// The object, relative to the mount.
        object: String,
        /// The timer's name within the object.
        name: String,
    },
    /// A part of a component arrives; the first one begins the upload.
    UploadChunk {
        /// Digest of the whole.
        digest: ComponentDigest,
        /// Bytes of the whole.
        total_bytes: u32,
        /// Where the part begins: at the end of what is there.
        offset: u32,
        /// The part.
        bytes: Bytes,
    },
    /// A complete component becomes a recipe.
    InstallComponent {
        /// Which.
        digest: ComponentDigest,
        /// What it says of itself.
        descriptor: RecipeDescriptor,
    },
    /// A component, or an unfinished upload, goes.
    RemoveComponent {
        /// Which.
        digest: ComponentDigest,
    },
    /// A recipe begins to govern a subtree, or its mount is changed.
    PutMount {
        /// The subtree's top.
        path: ZnodePath,
        /// The component.
        digest: ComponentDigest,
        /// CBOR.
        config: Bytes,
        /// Whether plain writes are allowed below.
        open: bool,
        /// Fuel of one call; `None`: the cluster's limit.
        fuel: Option<u64>,
    },
    /// A recipe's rule ends; its tickets and timers are gone already.
    Unmount {
        /// The mount.
        path: ZnodePath,
    },
    /// Calls of a mount are refused from now on.
    SuspendMount {
        /// The mount.
        path: ZnodePath,
        /// Why.
        reason: String,
    },
    /// A member's incarnation.
    RecordMember {
        /// The member.
        server: ServerId,
        /// What its disk says.
        incarnation: Incarnation,
    },
    /// A member's addresses.
    RecordAddress {
        /// The member.
        server: ServerId,
        /// Where it is reached.
        address: MemberAddress,
    },
    /// What a server is in the cluster.
    RecordStanding {
        /// Which.
        server: ServerId,
        /// What it is; one that is removed has no address any more.
        standing: MemberStanding,
    },
    /// A change of the membership begins: leaders see to it until it ends.
    BeginMembership {
        /// What it does.
        steps: Vec<MemberStep>,
        /// Whose request.
        session: SessionId,
        /// Which.
        sequence: u64,
        /// Whether it is answered with the data of `/zookeeper/config`.
        tells_config: bool,
    },
    /// The change of the membership that was under way has ended.
    EndMembership {
        /// Whose request it was.
        session: SessionId,
        /// Whether it was done; else nothing was changed.
        done: bool,
    },
}

impl Change {
    pub(crate) fn write(&self, writer: &mut LayoutWriter) {
        match self {
            Change::CreateZnode { path, data, acl, kind } => {
                writer.u8(1);
                codec::write_path(writer, path);
                data.write(writer);
                write_acl_source(writer, acl);
                kind.write(writer);
            }
            Change::DeleteZnode { path } => {
                writer.u8(2);
                codec::write_path(writer, path);
            }
            Change::SetData { path, data, version } => {
                writer.u8(3);
                codec::write_path(writer, path);
                data.write(writer);
                writer.i32(*version);
            }
            Change::SetAcl { path, acl, version } => {
                writer.u8(4);
                codec::write_path(writer, path);
                codec::write_acl(writer, acl);
                writer.i32(*version);
            }
            Change::OpenSession { password, timeout_ms, identity } => {
                writer.u8(5);
                writer.raw(password);
                writer.u32(*timeout_ms);
                writer.text(identity);
            }
            Change::AttachSession { session } => {
                writer.u8(6);
                writer.u64(session.0);
            }
            Change::CloseSession { session } => {
                writer.u8(7);
                writer.u64(session.0);
            }
            other => other.write_recipe_change(writer),
        }
    }

    fn write_recipe_change(&self, writer: &mut LayoutWriter) {
        match self {
            Change::Park { ticket, session, sequence, mount, object, deadline_ms } => {
                writer.u8(8);
                writer.u64(ticket.0);
                writer.u64(session.0);
                writer.u64(*sequence);
                codec::write_path(writer, mount);
                writer.text(object);
                writer.option(*deadline_ms, LayoutWriter::u64);
            }
            Change::Complete { ticket, outcome } => {
                writer.u8(9);
                writer.u64(ticket.0);
                codec::write_outcome(writer, outcome);
            }
            Change::SetTimer { mount, object, name, at_ms } => {
                writer.u8(10);
                codec::write_path(writer, mount);
                writer.text(object);
                writer.text(name);
                writer.u64(*at_ms);
            }
            Change::CancelTimer { mount, object, name } => {
                writer.u8(11);
                codec::write_path(writer, mount);
                writer.text(object);
                writer.text(name);
            }
            other => other.write_catalogue_change(writer),
        }
    }

    fn write_catalogue_change(&self, writer: &mut LayoutWriter) {
        match self {
            Change::UploadChunk { digest, total_bytes, offset, bytes } => {
                writer.u8(12);
                writer.raw(&digest.0);
                writer.u32(*total_bytes);
                writer.u32(*offset);
                writer.bytes(bytes);
            }
            Change::InstallComponent { digest, descriptor } => {
                writer.u8(13);
                writer.raw(&digest.0);
                codec::write_descriptor(writer, descriptor);
            }
            Change::RemoveComponent { digest } => {
                writer.u8(14);
                writer.raw(&digest.0);
            }
            Change::PutMount { path, digest, config, open, fuel } => {
                writer.u8(15);
                codec::write_path(writer, path);
                writer.raw(&digest.0);
                writer.bytes(config);
                writer.bool(*open);
                writer.option(*fuel, LayoutWriter::u64);
            }
            Change::Unmount { path } => {
                writer.u8(16);
                codec::write_path(writer, path);
            }
            Change::SuspendMount { path, reason } => {
                writer.u8(17);
                codec::write_path(writer, path);
                writer.text(reason);
            }
            Change::RecordMember { server, incarnation } => {
                writer.u8(18);
                writer.u64(server.0);
                writer.u64(incarnation.0);
            }
            other => other.write_member_change(writer),
        }
    }

    fn write_member_change(&self, writer: &mut LayoutWriter) {
        match self {
            Change::RecordAddress { server, address } => {
                writer.u8(19);
                writer.u64(server.0);
                codec::write_address(writer, address);
            }
            Change::BeginMembership { steps, session, sequence, tells_config } => {
                writer.u8(20);
                writer.list(steps.iter(), |writer, step| step.write(writer));
                writer.u64(session.0);
                writer.u64(*sequence);
                writer.bool(*tells_config);
            }
            Change::EndMembership { session, done } => {
                writer.u8(21);
                writer.u64(session.0);
                writer.bool(*done);
            }
            Change::RecordStanding { server, standing } => {
                writer.u8(22);
                writer.u64(server.0);
                standing.write(writer);
            }
            _ => unreachable!("every other change was written before"),
        }
    }

    pub(crate) fn read(reader: &mut LayoutReader<'_>) -> Result<Change, LayoutError> {
        let tag = reader.u8("change")?;
        match tag {
            1..=4 => Change::read_znode_change(tag, reader),
            5..=7 => Change::read_session_change(tag, reader),
            8..=11 => Change::read_recipe_change(tag, reader),
            12..=18 => Change::read_catalogue_change(tag, reader),
            _ => Change::read_member_change(tag, reader),
        }
    }

    fn read_znode_change(tag: u8, reader: &mut LayoutReader<'_>) -> Result<Change, LayoutError> {
        let path = codec::read_path(reader, "path")?;
        match tag {
            1 => Ok(Change::CreateZnode {
                path,
                data: ZnodeData::read(reader)?,
                acl: read_acl_source(reader)?,
                kind: ZnodeKind::read(reader)?,
            }),
            2 => Ok(Change::DeleteZnode { path }),
            3 => Ok(Change::SetData {
                path,
                data: ZnodeData::read(reader)?,
                version: reader.i32("version")?,
            }),
            _ => Ok(Change::SetAcl {
                path,
                acl: codec::read_acl(reader)?,
                version: reader.i32("aversion")?,
            }),
        }
    }

    fn read_session_change(tag: u8, reader: &mut LayoutReader<'_>) -> Result<Change, LayoutError> {
        match tag {
            5 => Ok(Change::OpenSession {
                password: codec::read_password(reader)?,
                timeout_ms: reader.u32("timeout_ms")?,
                identity: reader.text("identity")?,
            }),
            6 => Ok(Change::AttachSession { session: SessionId(reader.u64("session")?) }),
            _ => Ok(Change::CloseSession { session: SessionId(reader.u64("session")?) }),
        }
    }

    fn read_recipe_change(tag: u8, reader: &mut LayoutReader<'_>) -> Result<Change, LayoutError> {
        match tag {
            8 => Ok(Change::Park {
                ticket: TicketId(reader.u64("ticket")?),
                session: SessionId(reader.u64("session")?),
                sequence: reader.u64("sequence")?,
                mount: codec::read_path(reader, "mount")?,
                object: reader.text("object")?,
                deadline_ms: reader.option("deadline_ms", |reader| reader.u64("deadline_ms"))?,
            }),
            9 => Ok(Change::Complete {
                ticket: TicketId(reader.u64("ticket")?),
                outcome: codec::read_outcome(reader)?,
            }),
            10 => Ok(Change::SetTimer {
                mount: codec::read_path(reader, "mount")?,
                object: reader.text("object")?,
                name: reader.text("timer")?,
                at_ms: reader.u64("at_ms")?,
            }),
            _ => Ok(Change::CancelTimer {
                mount: codec::read_path(reader, "mount")?,
                object: reader.text("object")?,
                name: reader.text("timer")?,
            }),
        }
    }

    fn read_catalogue_change(
        tag: u8,
        reader: &mut LayoutReader<'_>,
    ) -> Result<Change, LayoutError> {
        match tag {
            12 => Ok(Change::UploadChunk {
                digest: ComponentDigest(reader.digest("digest")?),
                total_bytes: reader.u32("total_bytes")?,
                offset: reader.u32("offset")?,
                bytes: codec::read_bytes(reader, "chunk")?,
            }),
            13 => Ok(Change::InstallComponent {
                digest: ComponentDigest(reader.digest("digest")?),
                descriptor: codec::read_descriptor(reader)?,
            }),
            14 => Ok(Change::RemoveComponent { digest: ComponentDigest(reader.digest("digest")?) }),
            15 => Ok(Change::PutMount {
                path: codec::read_path(reader, "mount")?,
                digest: ComponentDigest(reader.digest("digest")?),
                config: codec::read_bytes(reader, "config")?,
                open: reader.bool("open")?,
                fuel: reader.option("fuel", |reader| reader.u64("fuel"))?,
            }),
            16 => Ok(Change::Unmount { path: codec::read_path(reader, "mount")? }),
            17 => Ok(Change::SuspendMount {
                path: codec::read_path(reader, "mount")?,
                reason: reader.text("reason")?,
            }),
            _ => Ok(Change::RecordMember {
                server: ServerId(reader.u64("server")?),
                incarnation: Incarnation(reader.u64("incarnation")?),
            }),
        }
    }

    fn read_member_change(tag: u8, reader: &mut LayoutReader<'_>) -> Result<Change, LayoutError> {
        match tag {
            19 => Ok(Change::RecordAddress {
                server: ServerId(reader.u64("server")?),
                address: codec::read_address(reader)?,
            }),
            20 => Ok(Change::BeginMembership {
                steps: reader.list("steps", MemberStep::read)?,
                session: SessionId(reader.u64("session")?),
                sequence: reader.u64("sequence")?,
                tells_config: reader.bool("tells_config")?,
            }),
            21 => Ok(Change::EndMembership {
                session: SessionId(reader.u64("session")?),
                done: reader.bool("done")?,
            }),
            22 => Ok(Change::RecordStanding {
                server: ServerId(reader.u64("server")?),
                standing: MemberStanding::read(reader)?,
            }),
            _ => Err(LayoutError::Invalid { field: "change" }),
        }
    }

    /// About how many bytes the change takes in the log.
    pub(crate) fn weight(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + match self {
                Change::CreateZnode { path, data, acl, .. } => {
                    let acl = match acl {
                        AclSource::Given(acl) => codec::acl_weight(acl),
                        AclSource::Open | AclSource::Parent => 0,
                    };
                    path.as_str().len() + data.len() + acl
                }
                Change::DeleteZnode { path } => path.as_str().len(),
                Change::SetData { path, data, .. } => path.as_str().len() + data.len(),
                Change::SetAcl { path, acl, .. } => path.as_str().len() + codec::acl_weight(acl),
                Change::Park { mount, object, .. } => mount.as_str().len() + object.len(),
                Change::Complete { outcome, .. } => codec::outcome_weight(outcome),
                Change::SetTimer { mount, object, name, .. }
                | Change::CancelTimer { mount, object, name } => {
                    mount.as_str().len() + object.len() + name.len()
                }
                Change::UploadChunk { bytes, .. } => bytes.len(),
                Change::PutMount { path, config, .. } => path.as_str().len() + config.len(),
                Change::SuspendMount { path, reason } => path.as_str().len() + reason.len(),
                Change::RecordAddress { address, .. } => address_weight(address),
                Change::BeginMembership { steps, .. } => {
                    let weight =
                        |step: &MemberStep| step.address.as_ref().map_or(0, address_weight);
                    steps.iter().map(|step| 10 + weight(step)).sum()
                }
                _ => 0,
            }
    }
}

fn address_weight(address: &MemberAddress) -> usize {
    let zookeeper = address.zookeeper.as_ref().map_or(0, String::len);
    address.peer.len() + address.native.len() + zookeeper
}

fn write_acl_source(writer: &mut LayoutWriter, acl: &AclSource) {
    match acl {
        AclSource::Open => writer.u8(0),
        AclSource::Parent => writer.u8(1),
        AclSource::Given(acl) => {
            writer.u8(2);
            codec::write_acl(writer, acl);
        }
    }
}

fn read_acl_source(reader: &mut LayoutReader<'_>) -> Result<AclSource, LayoutError> {
    match reader.u8("acl source")? {
        0 => Ok(AclSource::Open),
        1 => Ok(AclSource::Parent),
        2 => Ok(AclSource::Given(codec::read_acl(reader)?)),
        _ => Err(LayoutError::Invalid { field: "acl source" }),
    }
}
