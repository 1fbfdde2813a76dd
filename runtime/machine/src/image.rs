//! The whole state as bytes, for snapshots.
//!
//! Comes in: a machine, or an image. Goes out: the image, or a machine with the same digest.
//! Invariant: indexes are not stored but rebuilt; an image whose items do not have its digest is
//! refused. Must never panic on bytes.

use crate::apply;
use crate::tables::{
    Deadlines, Due, ObjectTickets, SessionTickets, State, Tables, Tickets, Timers, Znodes,
};
use crate::znode::TreeKey;
use alloc::vec::Vec;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::{LayoutError, LayoutReader, LayoutWriter, ZnodePath, Zxid};

const LAYOUT_VERSION: u8 = 1;

/// What an image holds.
pub(crate) struct Image {
    pub(crate) applied: Zxid,
    pub(crate) time_ms: u64,
    pub(crate) tables: Tables,
}

pub(crate) fn encode(applied: Zxid, time_ms: u64, tables: &Tables) -> Vec<u8> {
    #[cfg(feature = "planted-bugs")]
    let tables = &planted_part(tables);
    let mut writer = LayoutWriter::new();
    writer.u8(LAYOUT_VERSION);
    writer.u64(applied.0);
    writer.u64(time_ms);
    writer.u64(tables.digest());
    tables.write(&mut writer);
    writer.into_bytes()
}

/// The state without what planted bugs leave out of images.
#[cfg(feature = "planted-bugs")]
fn planted_part(tables: &Tables) -> Tables {
    use crate::tables::{KeptReplies, Table};
    fn clear<T: Table>(tables: &mut Tables) {
        for (key, _) in tables.table::<T>().iter() {
            tables.put::<T>(key.clone(), None);
        }
    }
    let mut part = tables.clone();
    if is_planted(PlantedBug::KeptRepliesNotInImage) {
        clear::<KeptReplies>(&mut part);
    }
    if is_planted(PlantedBug::TicketsNotInImage) {
        clear::<Tickets>(&mut part);
    }
    part
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Image, LayoutError> {
    let mut reader = LayoutReader::new(bytes);
    if reader.u8("image layout")? != LAYOUT_VERSION {
        return Err(LayoutError::Invalid { field: "image layout" });
    }
    let applied = Zxid(reader.u64("applied")?);
    let time_ms = reader.u64("time_ms")?;
    let digest = reader.u64("image digest")?;
    let mut tables = Tables::read(&mut reader)?;
    reader.finish()?;
    if tables.digest() != digest {
        return Err(LayoutError::Invalid { field: "image digest" });
    }
    if !tables.has::<Znodes>(&TreeKey::of(&ZnodePath::root())) {
        return Err(LayoutError::Invalid { field: "root" });
    }
    index(&mut tables);
    Ok(Image { applied, time_ms, tables })
}

fn index(tables: &mut Tables) {
    for (key, znode) in tables.table::<Znodes>().iter() {
        apply::index_znode(tables, key.path(), None, Some(znode));
    }
    for (id, ticket) in tables.table::<Tickets>().iter() {
        let object = (ticket.mount.clone(), ticket.object.clone(), *id);
        tables.put::<ObjectTickets>(object, Some(()));
        tables.put::<SessionTickets>((ticket.session, *id), Some(()));
        if let Some(at_ms) = ticket.deadline_ms {
            tables.put::<Deadlines>((at_ms, Due::Ticket(*id)), Some(()));
        }
    }
    for (key, at_ms) in tables.table::<Timers>().iter() {
        tables.put::<Deadlines>((*at_ms, Due::Timer(key.clone())), Some(()));
    }
}
