//! The state as ordered tables, applied and outstanding, behind one trait.
//!
//! Invariant: whatever reads or writes through [`State`] behaves alike on the applied tables and on
//! the outstanding ones above them; the digest follows every write of a stored table. Derived
//! tables are indexes: not in images, not in the digest. Must never: know what a change means.

use crate::cow_map::CowMap;
use crate::digest;
use crate::items::{
    ChunkKey, Component, KeptReply, Member, MembershipChange, Mount, RequestKey, Session, Stored,
    Ticket, TimerKey,
};
use crate::znode::{TreeKey, Znode};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::{
    ComponentDigest, LayoutError, LayoutReader, LayoutWriter, ServerId, SessionId, TicketId,
    ZnodePath, Zxid,
};

/// One table of the state.
pub(crate) trait Table: Sized {
    type Key: Ord + Clone;
    type Value: Clone;
    fn applied(tables: &Tables) -> &CowMap<Self::Key, Self::Value>;
    fn applied_mut(tables: &mut Tables) -> &mut CowMap<Self::Key, Self::Value>;
    fn pending(overlay: &Overlay) -> &PendingTable<Self::Key, Self::Value>;
    fn pending_mut(overlay: &mut Overlay) -> &mut PendingTable<Self::Key, Self::Value>;
    /// What the item adds to the digest; zero for derived tables.
    fn digest(key: &Self::Key, value: &Self::Value) -> u64;
}

/// State that changes are applied to.
pub(crate) trait State {
    /// The value of a key.
    fn get<T: Table>(&self, key: &T::Key) -> Option<T::Value>;
    /// Sets or, with `None`, removes.
    fn put<T: Table>(&mut self, key: T::Key, value: Option<T::Value>);
    /// Visits entries in order from a bound on, until `visit` says false. Gives how many entries it
    /// passed, deleted ones included.
    fn scan<T: Table>(
        &self,
        from: Bound<&T::Key>,
        visit: &mut dyn FnMut(&T::Key, &T::Value) -> bool,
    ) -> usize;

    /// Whether there is no entry, not even one that is taken out by what is outstanding.
    fn is_empty<T: Table>(&self) -> bool;

    /// Whether the key is there.
    fn has<T: Table>(&self, key: &T::Key) -> bool {
        self.get::<T>(key).is_some()
    }

    /// The keys from `from` on for which `belongs` holds, up to the first for which it does not.
    fn keys_while<T: Table>(
        &self,
        from: &T::Key,
        belongs: impl Fn(&T::Key) -> bool,
    ) -> Vec<T::Key> {
        let mut keys = Vec::new();
        self.scan::<T>(Bound::Included(from), &mut |key, _| {
            let within = belongs(key);
            if within {
                keys.push(key.clone());
            }
            within
        });
        keys
    }

    /// The znode at a path.
    fn znode(&self, path: &ZnodePath) -> Option<Arc<Znode>> {
        self.get::<Znodes>(&TreeKey::of(path))
    }
}

/// Something that happens at a set time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Ticket(TicketId),
    Timer(TimerKey),
    Znode(ZnodePath),
}

macro_rules! tables {
    (stored { $( $marker:ident $field:ident: $key:ty => $value:ty, $number:literal; )* }
     derived { $( $index:ident $index_field:ident: $index_key:ty; )* }) => {
        $( pub(crate) enum $marker {}
        impl Table for $marker {
            type Key = $key;
            type Value = $value;
            fn applied(tables: &Tables) -> &CowMap<$key, $value> { &tables.$field }
            fn applied_mut(tables: &mut Tables) -> &mut CowMap<$key, $value> { &mut tables.$field }
            fn pending(overlay: &Overlay) -> &PendingTable<$key, $value> { &overlay.$field }
            fn pending_mut(overlay: &mut Overlay) -> &mut PendingTable<$key, $value> {
                &mut overlay.$field
            }
            fn digest(key: &$key, value: &$value) -> u64 { item_digest($number, key, value) }
        } )*
        $( pub(crate) enum $index {}
        impl Table for $index {
            type Key = $index_key;
            type Value = ();
            fn applied(tables: &Tables) -> &CowMap<$index_key, ()> { &tables.$index_field }
            fn applied_mut(tables: &mut Tables) -> &mut CowMap<$index_key, ()> {
                &mut tables.$index_field
            }
            fn pending(overlay: &Overlay) -> &PendingTable<$index_key, ()> {
                &overlay.$index_field
            }
            fn pending_mut(overlay: &mut Overlay) -> &mut PendingTable<$index_key, ()> {
                &mut overlay.$index_field
            }
            fn digest(_: &$index_key, (): &()) -> u64 { 0 }
        } )*

        /// The applied state.
        #[derive(Clone, Default)]
        pub(crate) struct Tables {
            digest: u64,
            $( $field: CowMap<$key, $value>, )*
            $( $index_field: CowMap<$index_key, ()>, )*
        }

        impl Tables {
            /// The sum over all items, computed anew.
            #[cfg(test)]
            pub(crate) fn recomputed_digest(&self) -> u64 {
                let mut digest = 0u64;
                $( for (key, value) in self.$field.iter() {
                    digest = digest.wrapping_add($marker::digest(key, value));
                } )*
                digest
            }

            /// Every item of every stored table.
            pub(crate) fn write(&self, writer: &mut LayoutWriter) {
                $( write_table(writer, &self.$field); )*
            }

            /// What [`Tables::write`] wrote; indexes are left empty.
            pub(crate) fn read(reader: &mut LayoutReader<'_>) -> Result<Tables, LayoutError> {
                let mut tables = Tables::default();
                $( read_table::<$marker>(reader, &mut tables)?; )*
                Ok(tables)
            }

            /// Whether all items, indexes included, are the same.
            #[cfg(test)]
            pub(crate) fn has_same_items(&self, other: &Tables) -> bool {
                self.digest == other.digest
                    $( && self.$field.iter().eq(other.$field.iter()) )*
                    $( && self.$index_field.iter().eq(other.$index_field.iter()) )*
            }
        }

        /// Changes above the applied state.
        #[derive(Default)]
        pub(crate) struct Overlay {
            $( $field: PendingTable<$key, $value>, )*
            $( $index_field: PendingTable<$index_key, ()>, )*
        }

        /// A point in the making of a transaction to go back to.
        #[derive(Clone, Copy, Default)]
        pub(crate) struct Mark { $( $field: usize, )* $( $index_field: usize, )* }

        impl Overlay {
            /// The present point of the transaction being made.
            pub(crate) fn mark(&self) -> Mark {
                Mark {
                    $( $field: self.$field.undo.len(), )*
                    $( $index_field: self.$index_field.undo.len(), )*
                }
            }

            /// Undoes everything since `mark`.
            pub(crate) fn rollback(&mut self, mark: &Mark) {
                $( self.$field.rollback(mark.$field); )*
                $( self.$index_field.rollback(mark.$index_field); )*
            }

            /// The transaction being made becomes `zxid`.
            pub(crate) fn commit(&mut self, zxid: Zxid) {
                $( self.$field.commit(zxid); )*
                $( self.$index_field.commit(zxid); )*
            }

            /// Transactions up to `zxid` are applied: what they wrote last is no longer needed.
            pub(crate) fn forget(&mut self, zxid: Zxid) {
                $( self.$field.forget(zxid); )*
                $( self.$index_field.forget(zxid); )*
            }

            /// Entries left.
            #[cfg(test)]
            pub(crate) fn entry_count(&self) -> usize {
                0 $( + self.$field.entries.len() )* $( + self.$index_field.entries.len() )*
            }
        }
    };
}

// Numbers are part of the digest: never reuse one.
tables! {
    stored {
        Znodes znodes: TreeKey => Arc<Znode>, 1;
        Sessions sessions: SessionId => Arc<Session>, 2;
        KeptReplies kept_replies: RequestKey => KeptReply, 3;
        Tickets tickets: TicketId => Arc<Ticket>, 4;
        Timers timers: TimerKey => u64, 5;
        Mounts mounts: ZnodePath => Arc<Mount>, 6;
        Components components: ComponentDigest => Arc<Component>, 7;
        Chunks chunks: ChunkKey => Bytes, 8;
        Members members: ServerId => Arc<Member>, 9;
        // At most one entry: one change at a time.
        MembershipChanges membership_changes: SessionId => Arc<MembershipChange>, 10;
    }
    derived {
        Ephemerals ephemerals: (SessionId, ZnodePath);
        SessionTickets session_tickets: (SessionId, TicketId);
        ObjectTickets object_tickets: (ZnodePath, String, TicketId);
        Deadlines deadlines: (u64, Due);
        // Paths whose limits are set: of the znodes `zookeeper_limits`.
        Quotas quotas: ZnodePath;
    }
}

fn item_digest<K: Stored, V: Stored>(number: u64, key: &K, value: &V) -> u64 {
    let mut writer = LayoutWriter::with_capacity(256);
    key.write(&mut writer);
    value.write_for_digest(&mut writer);
    digest::hash_bytes(number, &writer.into_bytes())
}

fn write_table<K, V>(writer: &mut LayoutWriter, table: &CowMap<K, V>)
where
    K: Stored + Ord + Clone,
    V: Stored + Clone,
{
    writer.u64(table.len() as u64);
    for (key, value) in table.iter() {
        key.write(writer);
        value.write(writer);
    }
}

fn read_table<T: Table>(
    reader: &mut LayoutReader<'_>,
    tables: &mut Tables,
) -> Result<(), LayoutError>
where
    T::Key: Stored,
    T::Value: Stored,
{
    let count = reader.u64("item count")?;
    for _ in 0..count {
        let key = T::Key::read(reader)?;
        let value = T::Value::read(reader)?;
        tables.put::<T>(key, Some(value));
    }
    // A key twice would have replaced the first.
    match T::applied(tables).len() as u64 == count {
        true => Ok(()),
        false => Err(LayoutError::Invalid { field: "item count" }),
    }
}

impl Tables {
    /// The running sum over all items.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Number of entries of a table.
    pub(crate) fn count<T: Table>(&self) -> usize {
        T::applied(self).len()
    }

    /// A table as it is now, to walk while others change.
    pub(crate) fn table<T: Table>(&self) -> CowMap<T::Key, T::Value> {
        T::applied(self).clone()
    }
}

impl State for Tables {
    fn get<T: Table>(&self, key: &T::Key) -> Option<T::Value> {
        T::applied(self).get(key).cloned()
    }

    fn put<T: Table>(&mut self, key: T::Key, value: Option<T::Value>) {
        let mut digest = self.digest;
        if let Some(value) = &value {
            digest = digest.wrapping_add(T::digest(&key, value));
        }
        #[cfg(feature = "planted-bugs")]
        let misses = value.is_none() && is_planted(PlantedBug::DigestMissesDeletions);
        let table = T::applied_mut(self);
        // The key is needed for the digest of the value before.
        let kept = key.clone();
        let before = match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
        #[cfg(feature = "planted-bugs")]
        let before = before.filter(|_| !misses);
        if let Some(before) = before {
            digest = digest.wrapping_sub(T::digest(&kept, &before));
        }
        self.digest = digest;
    }

    fn is_empty<T: Table>(&self) -> bool {
        self.count::<T>() == 0
    }

    fn scan<T: Table>(
        &self,
        from: Bound<&T::Key>,
        visit: &mut dyn FnMut(&T::Key, &T::Value) -> bool,
    ) -> usize {
        let mut passed = 0;
        for (key, value) in T::applied(self).range_from(from) {
            passed += 1;
            if !visit(key, value) {
                break;
            }
        }
        passed
    }
}

struct Pending<V> {
    /// `None`: removed.
    value: Option<V>,
    /// The transaction that wrote it last; zero while that is being made.
    writer: Zxid,
}

/// The outstanding part of one table.
pub(crate) struct PendingTable<K, V> {
    entries: BTreeMap<K, Pending<V>>,
    /// What the transaction being made replaced.
    undo: Vec<(K, Option<Pending<V>>)>,
    /// What each outstanding transaction wrote, oldest first.
    written: VecDeque<(Zxid, K)>,
}

impl<K, V> Default for PendingTable<K, V> {
    fn default() -> PendingTable<K, V> {
        PendingTable { entries: BTreeMap::new(), undo: Vec::new(), written: VecDeque::new() }
    }
}

impl<K: Ord + Clone, V: Clone> PendingTable<K, V> {
    /// Entries here, an upper bound of what is new.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn put(&mut self, key: K, value: Option<V>) {
        let before = self.entries.insert(key.clone(), Pending { value, writer: Zxid(0) });
        self.undo.push((key, before));
    }

    fn rollback(&mut self, mark: usize) {
        while self.undo.len() > mark {
            let Some((key, before)) = self.undo.pop() else { return };
            match before {
                Some(before) => drop(self.entries.insert(key, before)),
                None => drop(self.entries.remove(&key)),
            }
        }
    }

    fn commit(&mut self, zxid: Zxid) {
        for (key, _) in self.undo.drain(..) {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.writer = zxid;
            }
            self.written.push_back((zxid, key));
        }
    }

    fn forget(&mut self, applied: Zxid) {
        while let Some((zxid, _)) = self.written.front() {
            if *zxid > applied {
                return;
            }
            let Some((_, key)) = self.written.pop_front() else { return };
            if self.entries.get(&key).is_some_and(|entry| entry.writer <= applied) {
                self.entries.remove(&key);
            }
        }
    }
}

/// Outstanding changes over applied state.
pub(crate) struct Layered {
    pub(crate) base: Arc<Tables>,
    pub(crate) overlay: alloc::boxed::Box<Overlay>,
}

impl State for Layered {
    fn get<T: Table>(&self, key: &T::Key) -> Option<T::Value> {
        match T::pending(&self.overlay).entries.get(key) {
            Some(entry) => entry.value.clone(),
            None => self.base.get::<T>(key),
        }
    }

    fn put<T: Table>(&mut self, key: T::Key, value: Option<T::Value>) {
        T::pending_mut(&mut self.overlay).put(key, value);
    }

    fn is_empty<T: Table>(&self) -> bool {
        self.base.is_empty::<T>() && T::pending(&self.overlay).len() == 0
    }

    fn scan<T: Table>(
        &self,
        from: Bound<&T::Key>,
        visit: &mut dyn FnMut(&T::Key, &T::Value) -> bool,
    ) -> usize {
        scan_merged::<T>(&self.base, &self.overlay, from, visit)
    }
}

/// Visits the entries of both layers in order from a bound on, until `visit` says false. Gives how
/// many entries it passed, deleted ones included.
pub(crate) fn scan_merged<T: Table>(
    base: &Tables,
    overlay: &Overlay,
    from: Bound<&T::Key>,
    visit: &mut dyn FnMut(&T::Key, &T::Value) -> bool,
) -> usize {
    let mut passed = 0;
    let pending = &T::pending(overlay).entries;
    let mut above = pending.range((from, Bound::Unbounded)).peekable();
    let mut below = T::applied(base).range_from(from).peekable();
    loop {
        let below_first = match (above.peek(), below.peek()) {
            (None, None) => return passed,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (Some((upper, _)), Some((lower, _))) => {
                if upper == lower {
                    below.next();
                    false
                } else {
                    lower < upper
                }
            }
        };
        let entry = if below_first {
            below.next()
        } else {
            above.next().and_then(|(key, entry)| entry.value.as_ref().map(|value| (key, value)))
        };
        passed += 1;
        if entry.is_some_and(|(key, value)| !visit(key, value)) {
            return passed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::Incarnation;

    fn on(incarnation: u64) -> Option<Arc<Member>> {
        let incarnation = Some(Incarnation(incarnation));
        Some(Arc::new(Member { incarnation, ..Member::default() }))
    }

    fn server(number: u64) -> (ServerId, Option<Arc<Member>>) {
        (ServerId(number), on(number * 10))
    }

    fn members(state: &impl State) -> Vec<u64> {
        let mut found = Vec::new();
        state.scan::<Members>(Bound::Unbounded, &mut |key, _| {
            found.push(key.0);
            true
        });
        found
    }

    fn layered() -> Layered {
        let mut base = Tables::default();
        for number in [1, 3, 5] {
            let (key, value) = server(number);
            base.put::<Members>(key, value);
        }
        Layered { base: Arc::new(base), overlay: alloc::boxed::Box::default() }
    }

    #[test]
    fn a_scan_merges_both_layers_in_order() {
        let mut state = layered();
        let (key, value) = server(4);
        state.put::<Members>(key, value);
        state.put::<Members>(ServerId(3), None);
        state.put::<Members>(ServerId(5), on(1));
        assert_eq!(members(&state), [1, 4, 5]);
        assert_eq!(state.get::<Members>(&ServerId(5)), on(1));
        assert_eq!(state.get::<Members>(&ServerId(3)), None);
    }

    #[test]
    fn a_rollback_restores_what_outstanding_transactions_wrote() {
        let mut state = layered();
        state.put::<Members>(ServerId(3), None);
        state.overlay.commit(Zxid(7));
        let mark = state.overlay.mark();
        state.put::<Members>(ServerId(3), on(9));
        state.put::<Members>(ServerId(1), None);
        state.overlay.rollback(&mark);
        assert_eq!(members(&state), [1, 5]);
    }

    #[test]
    fn an_entry_is_forgotten_when_its_last_writer_is_applied() {
        let mut state = layered();
        state.put::<Members>(ServerId(2), on(1));
        state.put::<Members>(ServerId(9), on(1));
        state.overlay.commit(Zxid(7));
        state.put::<Members>(ServerId(2), on(2));
        state.overlay.commit(Zxid(8));
        state.overlay.forget(Zxid(7));
        assert_eq!(state.overlay.entry_count(), 1);
        assert_eq!(state.get::<Members>(&ServerId(2)), on(2));
        state.overlay.forget(Zxid(8));
        assert_eq!(state.overlay.entry_count(), 0);
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_writes() {
        let mut one = Tables::default();
        let mut other = Tables::default();
        for number in 0..50 {
            let (key, value) = server(number);
            one.put::<Members>(key, value);
            let (key, value) = server(49 - number);
            other.put::<Members>(key, on(1));
            other.put::<Members>(key, value);
        }
        assert_eq!(one.digest(), other.digest());
        assert_eq!(one.digest(), one.recomputed_digest());
        one.put::<Members>(ServerId(0), None);
        assert_ne!(one.digest(), other.digest());
    }
}
