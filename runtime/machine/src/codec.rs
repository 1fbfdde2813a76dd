//! Layouts of the shared words within transactions and images.
//!
//! Comes in: values of `quorate-types`, or bytes. Goes out: bytes, or values. Invariant: bytes
//! read are copied out, so that no small value keeps a whole frame alive. Must never panic on
//! bytes.

use crate::request::Identity;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::recipe::{
    InstalledRecipe, OperationDescriptor, OperationKind, RecipeDescriptor,
};
use quorate_types::request::MultiReply;
use quorate_types::{
    AclEntry, ComponentDigest, ErrorCode, LayoutError, LayoutReader, LayoutWriter, MemberAddress,
    Outcome, Permissions, Refusal, Reply, SessionId, Stat, TicketId, ZnodeData, ZnodePath, Zxid,
};

type Read<T> = Result<T, LayoutError>;

pub(crate) fn write_path(writer: &mut LayoutWriter, path: &ZnodePath) {
    writer.text(path.as_str());
}

pub(crate) fn read_path(reader: &mut LayoutReader<'_>, field: &'static str) -> Read<ZnodePath> {
    let bytes = reader.bytes(field)?;
    let text = core::str::from_utf8(bytes).map_err(|_| LayoutError::Invalid { field })?;
    ZnodePath::parse(text).map_err(|_| LayoutError::Invalid { field })
}

pub(crate) fn write_address(writer: &mut LayoutWriter, address: &MemberAddress) {
    writer.text(&address.peer);
    writer.text(&address.native);
    writer.option(address.zookeeper.as_deref(), LayoutWriter::text);
}

pub(crate) fn read_address(reader: &mut LayoutReader<'_>) -> Read<MemberAddress> {
    Ok(MemberAddress {
        peer: reader.text("peer address")?,
        native: reader.text("native address")?,
        zookeeper: reader.option("zookeeper address", |reader| reader.text("zookeeper address"))?,
    })
}

pub(crate) fn read_bytes(reader: &mut LayoutReader<'_>, field: &'static str) -> Read<Bytes> {
    reader.bytes(field).map(Bytes::copy_from_slice)
}

pub(crate) fn read_password(reader: &mut LayoutReader<'_>) -> Read<[u8; 16]> {
    let field = "password";
    reader.raw(field, 16)?.try_into().map_err(|_| LayoutError::Invalid { field })
}

pub(crate) fn write_acl(writer: &mut LayoutWriter, acl: &[AclEntry]) {
    writer.list(acl.iter(), |writer, entry| {
        writer.u32(entry.permissions.0);
        writer.text(&entry.scheme);
        writer.text(&entry.id);
    });
}

pub(crate) fn read_acl(reader: &mut LayoutReader<'_>) -> Read<Vec<AclEntry>> {
    reader.list("acl", |reader| {
        Ok(AclEntry {
            permissions: Permissions(reader.u32("permissions")?),
            scheme: reader.text("scheme")?,
            id: reader.text("acl id")?,
        })
    })
}

pub(crate) fn acl_weight(acl: &[AclEntry]) -> usize {
    acl.iter().map(|entry| 12 + entry.scheme.len() + entry.id.len()).sum()
}

pub(crate) fn write_identity(writer: &mut LayoutWriter, identity: &Identity) {
    writer.text(&identity.name);
    writer.list(identity.proofs.iter(), |writer, (scheme, id)| {
        writer.text(scheme);
        writer.text(id);
    });
}

pub(crate) fn read_identity(reader: &mut LayoutReader<'_>) -> Read<Identity> {
    Ok(Identity {
        name: reader.text("identity")?,
        proofs: reader
            .list("proofs", |reader| Ok((reader.text("scheme")?, reader.text("proof")?)))?,
    })
}

pub(crate) fn write_stat(writer: &mut LayoutWriter, stat: &Stat) {
    writer.u64(stat.czxid.0);
    writer.u64(stat.mzxid.0);
    writer.u64(stat.pzxid.0);
    writer.u64(stat.ctime_ms);
    writer.u64(stat.mtime_ms);
    writer.i32(stat.version);
    writer.i32(stat.cversion);
    writer.i32(stat.aversion);
    writer.option(stat.ephemeral_owner, |writer, owner| writer.u64(owner.0));
    writer.u32(stat.data_length);
    writer.u32(stat.children_count);
}

pub(crate) fn read_stat(reader: &mut LayoutReader<'_>) -> Read<Stat> {
    Ok(Stat {
        czxid: Zxid(reader.u64("czxid")?),
        mzxid: Zxid(reader.u64("mzxid")?),
        pzxid: Zxid(reader.u64("pzxid")?),
        ctime_ms: reader.u64("ctime_ms")?,
        mtime_ms: reader.u64("mtime_ms")?,
        version: reader.i32("version")?,
        cversion: reader.i32("cversion")?,
        aversion: reader.i32("aversion")?,
        ephemeral_owner: reader
            .option("ephemeral_owner", |reader| Ok(SessionId(reader.u64("ephemeral_owner")?)))?,
        data_length: reader.u32("data_length")?,
        children_count: reader.u32("children_count")?,
    })
}

pub(crate) fn write_descriptor(writer: &mut LayoutWriter, descriptor: &RecipeDescriptor) {
    writer.text(&descriptor.name);
    writer.text(&descriptor.version);
    writer.u32(descriptor.state_version);
    writer.text(&descriptor.config_schema);
    writer.text(&descriptor.doc);
    writer.list(descriptor.operations.iter(), |writer, operation| {
        writer.text(&operation.name);
        writer.bool(operation.kind == OperationKind::Command);
        writer.text(&operation.arguments_schema);
        writer.text(&operation.reply_schema);
        writer.text(&operation.doc);
    });
}

pub(crate) fn read_descriptor(reader: &mut LayoutReader<'_>) -> Read<RecipeDescriptor> {
    Ok(RecipeDescriptor {
        name: reader.text("recipe name")?,
        version: reader.text("recipe version")?,
        state_version: reader.u32("state_version")?,
        config_schema: reader.text("config_schema")?,
        doc: reader.text("recipe doc")?,
        operations: reader.list("operations", read_operation)?,
    })
}

fn read_operation(reader: &mut LayoutReader<'_>) -> Read<OperationDescriptor> {
    let name = reader.text("operation name")?;
    let is_command = reader.bool("operation kind")?;
    let kind = if is_command { OperationKind::Command } else { OperationKind::Query };
    Ok(OperationDescriptor {
        name,
        kind,
        arguments_schema: reader.text("arguments_schema")?,
        reply_schema: reader.text("reply_schema")?,
        doc: reader.text("operation doc")?,
    })
}

pub(crate) fn outcome_weight(outcome: &Outcome) -> usize {
    match outcome {
        Ok(Reply::Called(bytes)) => bytes.len(),
        Ok(Reply::Data(data, _)) => data.len() + 160,
        Ok(Reply::Multi(replies)) => replies.len() * 160,
        Ok(_) => 160,
        Err(refusal) => {
            let code = refusal.recipe_code.as_ref().map_or(0, String::len);
            refusal.message.len() + refusal.detail.len() + code
        }
    }
}

/// Writes the outcome of a write.
///
/// # Panics
/// On the reply of a read: those are never kept.
pub(crate) fn write_outcome(writer: &mut LayoutWriter, outcome: &Outcome) {
    match outcome {
        Ok(reply) => write_reply(writer, reply),
        Err(refusal) => {
            writer.u8(0);
            write_refusal(writer, refusal);
        }
    }
}

pub(crate) fn read_outcome(reader: &mut LayoutReader<'_>) -> Read<Outcome> {
    match reader.u8("outcome")? {
        0 => Ok(Err(read_refusal(reader)?)),
        tag => read_reply(tag, reader).map(Ok),
    }
}

fn write_refusal(writer: &mut LayoutWriter, refusal: &Refusal) {
    writer.u16(refusal.code.native());
    writer.text(&refusal.message);
    writer.option(refusal.recipe_code.as_deref(), LayoutWriter::text);
    writer.bytes(&refusal.detail);
    writer.option(refusal.failed_operation, LayoutWriter::u32);
}

fn read_refusal(reader: &mut LayoutReader<'_>) -> Read<Refusal> {
    let field = "error code";
    Ok(Refusal {
        code: ErrorCode::from_native(reader.u16(field)?).ok_or(LayoutError::Invalid { field })?,
        message: reader.text("message")?,
        recipe_code: reader.option("recipe_code", |reader| reader.text("recipe_code"))?,
        detail: read_bytes(reader, "detail")?,
        failed_operation: reader
            .option("failed_operation", |reader| reader.u32("failed_operation"))?,
    })
}

fn write_reply(writer: &mut LayoutWriter, reply: &Reply) {
    match reply {
        Reply::Done => writer.u8(1),
        Reply::Created(path, stat) => {
            writer.u8(2);
            write_path(writer, path);
            write_stat(writer, stat);
        }
        Reply::Stat(stat) => {
            writer.u8(3);
            write_stat(writer, stat);
        }
        Reply::Multi(replies) => {
            writer.u8(4);
            writer.list(replies.iter(), write_multi_reply);
        }
        Reply::Called(bytes) => {
            writer.u8(5);
            writer.bytes(bytes);
        }
        Reply::Parked(ticket) => {
            writer.u8(6);
            writer.u64(ticket.0);
        }
        Reply::Uploaded(received) => {
            writer.u8(7);
            writer.u32(*received);
        }
        Reply::Installed(recipe) => {
            writer.u8(8);
            write_installed(writer, recipe);
        }
        Reply::Data(data, stat) => {
            writer.u8(9);
            data.write(writer);
            write_stat(writer, stat);
        }
        Reply::Exists(_)
        | Reply::Children(..)
        | Reply::Acl(..)
        | Reply::Recipes(_)
        | Reply::Mounts(_)
        | Reply::Status(_)
        | Reply::Shadow(_)
        | Reply::Watching { .. }
        | Reply::MultiRead(_)
        | Reply::Paths(_)
        | Reply::Count(_) => unreachable!("the reply of a read is never kept"),
    }
}

fn read_reply(tag: u8, reader: &mut LayoutReader<'_>) -> Read<Reply> {
    match tag {
        1 => Ok(Reply::Done),
        2 => Ok(Reply::Created(read_path(reader, "created")?, read_stat(reader)?)),
        3 => Ok(Reply::Stat(read_stat(reader)?)),
        4 => Ok(Reply::Multi(reader.list("multi replies", read_multi_reply)?)),
        5 => Ok(Reply::Called(read_bytes(reader, "called")?)),
        6 => Ok(Reply::Parked(TicketId(reader.u64("parked")?))),
        7 => Ok(Reply::Uploaded(reader.u32("uploaded")?)),
        8 => Ok(Reply::Installed(read_installed(reader)?)),
        9 => Ok(Reply::Data(ZnodeData::read(reader)?, read_stat(reader)?)),
        _ => Err(LayoutError::Invalid { field: "outcome" }),
    }
}

fn write_multi_reply(writer: &mut LayoutWriter, reply: &MultiReply) {
    match reply {
        MultiReply::Created(path, stat) => {
            writer.u8(0);
            write_path(writer, path);
            write_stat(writer, stat);
        }
        MultiReply::Deleted => writer.u8(1),
        MultiReply::Set(stat) => {
            writer.u8(2);
            write_stat(writer, stat);
        }
        MultiReply::Checked => writer.u8(3),
    }
}

fn read_multi_reply(reader: &mut LayoutReader<'_>) -> Read<MultiReply> {
    match reader.u8("multi reply")? {
        0 => Ok(MultiReply::Created(read_path(reader, "created")?, read_stat(reader)?)),
        1 => Ok(MultiReply::Deleted),
        2 => Ok(MultiReply::Set(read_stat(reader)?)),
        3 => Ok(MultiReply::Checked),
        _ => Err(LayoutError::Invalid { field: "multi reply" }),
    }
}

fn write_installed(writer: &mut LayoutWriter, recipe: &InstalledRecipe) {
    writer.raw(&recipe.digest.0);
    writer.u32(recipe.bytes);
    writer.u64(recipe.installed.0);
    writer.bool(recipe.ready);
    write_descriptor(writer, &recipe.descriptor);
}

fn read_installed(reader: &mut LayoutReader<'_>) -> Read<InstalledRecipe> {
    Ok(InstalledRecipe {
        digest: ComponentDigest(reader.digest("digest")?),
        bytes: reader.u32("component bytes")?,
        installed: Zxid(reader.u64("installed")?),
        ready: reader.bool("ready")?,
        descriptor: read_descriptor(reader)?,
    })
}
