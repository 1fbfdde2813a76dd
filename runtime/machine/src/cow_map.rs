//! An ordered map in pages shared by `Arc` and copied on write: cloning it is one reference count.
//!
//! A B-tree: entries in leaves, branches hold a lower bound per child. Get, insert and remove are
//! O(log n), iteration starts anywhere. Invariant: the lower bound of every child but the first of
//! a branch is at most every key in it and above every key before it. Must never: change a page
//! that another clone can see.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

const ENTRIES_MAX: usize = 32;
const ENTRIES_MIN: usize = ENTRIES_MAX / 4;

#[derive(Clone, Debug)]
enum Page<K, V> {
    Leaf(Vec<(K, V)>),
    Branch(Vec<Child<K, V>>),
}

#[derive(Debug)]
struct Child<K, V> {
    lower: K,
    page: Arc<Page<K, V>>,
}

impl<K: Clone, V> Clone for Child<K, V> {
    fn clone(&self) -> Child<K, V> {
        Child { lower: self.lower.clone(), page: self.page.clone() }
    }
}

/// An ordered map that is cheap to clone.
#[derive(Debug)]
pub(crate) struct CowMap<K, V> {
    root: Arc<Page<K, V>>,
    len: usize,
}

impl<K, V> Clone for CowMap<K, V> {
    fn clone(&self) -> CowMap<K, V> {
        CowMap { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for CowMap<K, V> {
    fn default() -> CowMap<K, V> {
        CowMap { root: Arc::new(Page::Leaf(Vec::new())), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> CowMap<K, V> {
    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let mut page = &*self.root;
        loop {
            match page {
                Page::Leaf(entries) => {
                    let at = entries.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
                    return entries.get(at).map(|(_, value)| value);
                }
                Page::Branch(children) => page = &children[child_of(children, key)].page,
            }
        }
    }

    /// Sets a value and gives the one before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (before, split) = insert(&mut self.root, key, value);
        self.len += usize::from(before.is_none());
        if let Some(right) = split {
            let left = self.root.clone();
            let lower = right.lower.clone();
            // The first child's bound is never looked at.
            self.root = Arc::new(Page::Branch(alloc::vec![Child { lower, page: left }, right]));
        }
        before
    }

    /// Takes a key out and gives its value.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.get(key)?;
        let before = remove(&mut self.root, key);
        self.len -= usize::from(before.is_some());
        let shrunk = match &*self.root {
            Page::Branch(children) if children.len() == 1 => Some(children[0].page.clone()),
            Page::Leaf(_) | Page::Branch(_) => None,
        };
        if let Some(root) = shrunk {
            self.root = root;
        }
        before
    }

    /// Entries in order, from a bound on.
    pub(crate) fn range_from(&self, from: Bound<&K>) -> Entries<'_, K, V> {
        let mut stack = Vec::new();
        let mut page = &*self.root;
        loop {
            match page {
                Page::Leaf(entries) => {
                    let at = match from {
                        Bound::Unbounded => 0,
                        Bound::Included(key) => entries.partition_point(|(other, _)| other < key),
                        Bound::Excluded(key) => entries.partition_point(|(other, _)| other <= key),
                    };
                    stack.push((page, at));
                    return Entries { stack };
                }
                Page::Branch(children) => {
                    let at = match from {
                        Bound::Unbounded => 0,
                        Bound::Included(key) | Bound::Excluded(key) => child_of(children, key),
                    };
                    stack.push((page, at + 1));
                    page = &children[at].page;
                }
            }
        }
    }

    /// All entries in order.
    pub(crate) fn iter(&self) -> Entries<'_, K, V> {
        self.range_from(Bound::Unbounded)
    }
}

fn child_of<K: Ord, V>(children: &[Child<K, V>], key: &K) -> usize {
    children.partition_point(|child| child.lower <= *key).max(1) - 1
}

/// Where a full vector is cut: in the middle, or near the end when it grows at the end, so that
/// names in growing order fill their pages.
fn cut_at(len: usize, inserted_at: usize) -> usize {
    if inserted_at + 1 == len { len - 1 } else { len / 2 }
}

fn insert<K: Ord + Clone, V: Clone>(
    page: &mut Arc<Page<K, V>>,
    key: K,
    value: V,
) -> (Option<V>, Option<Child<K, V>>) {
    match Arc::make_mut(page) {
        Page::Leaf(entries) => match entries.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => (Some(core::mem::replace(&mut entries[at].1, value)), None),
            Err(at) => {
                entries.insert(at, (key, value));
                if entries.len() <= ENTRIES_MAX {
                    return (None, None);
                }
                let right = entries.split_off(cut_at(entries.len(), at));
                let lower = right[0].0.clone();
                (None, Some(Child { lower, page: Arc::new(Page::Leaf(right)) }))
            }
        },
        Page::Branch(children) => {
            let at = child_of(children, &key);
            let (before, split) = insert(&mut children[at].page, key, value);
            let Some(right) = split else { return (before, None) };
            children.insert(at + 1, right);
            if children.len() <= ENTRIES_MAX {
                return (before, None);
            }
            let right = children.split_off(cut_at(children.len(), at + 1));
            let lower = right[0].lower.clone();
            (before, Some(Child { lower, page: Arc::new(Page::Branch(right)) }))
        }
    }
}

fn remove<K: Ord + Clone, V: Clone>(page: &mut Arc<Page<K, V>>, key: &K) -> Option<V> {
    match Arc::make_mut(page) {
        Page::Leaf(entries) => {
            let at = entries.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
            Some(entries.remove(at).1)
        }
        Page::Branch(children) => {
            let at = child_of(children, key);
            let before = remove(&mut children[at].page, key);
            if children[at].page.len() < ENTRIES_MIN && children.len() > 1 {
                join_with_neighbour(children, at);
            }
            before
        }
    }
}

impl<K, V> Page<K, V> {
    fn len(&self) -> usize {
        match self {
            Page::Leaf(entries) => entries.len(),
            Page::Branch(children) => children.len(),
        }
    }
}

/// Joins a small child with a neighbour: into one page, or two even ones.
fn join_with_neighbour<K: Ord + Clone, V: Clone>(children: &mut Vec<Child<K, V>>, small: usize) {
    let left_at = small.saturating_sub(1);
    let right = children.remove(left_at + 1);
    let bound = right.lower;
    let left = Arc::make_mut(&mut children[left_at].page);
    let rest = match (left, Arc::unwrap_or_clone(right.page)) {
        (Page::Leaf(left), Page::Leaf(mut right)) => {
            left.append(&mut right);
            (left.len() > ENTRIES_MAX).then(|| {
                let rest = left.split_off(left.len() / 2);
                Child { lower: rest[0].0.clone(), page: Arc::new(Page::Leaf(rest)) }
            })
        }
        (Page::Branch(left), Page::Branch(mut right)) => {
            // A first child's bound may be too high; the parent's is right.
            right[0].lower = bound;
            left.append(&mut right);
            (left.len() > ENTRIES_MAX).then(|| {
                let rest = left.split_off(left.len() / 2);
                Child { lower: rest[0].lower.clone(), page: Arc::new(Page::Branch(rest)) }
            })
        }
        (Page::Leaf(_), Page::Branch(_)) | (Page::Branch(_), Page::Leaf(_)) => {
            unreachable!("all leaves are equally deep")
        }
    };
    if let Some(rest) = rest {
        children.insert(left_at + 1, rest);
    }
}

/// Entries of a [`CowMap`] in order.
pub(crate) struct Entries<'a, K, V> {
    stack: Vec<(&'a Page<K, V>, usize)>,
}

impl<'a, K, V> Iterator for Entries<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        loop {
            let (page, at) = self.stack.last_mut()?;
            let here = *at;
            *at += 1;
            match page {
                Page::Leaf(entries) => match entries.get(here) {
                    Some((key, value)) => return Some((key, value)),
                    None => drop(self.stack.pop()),
                },
                Page::Branch(children) => match children.get(here) {
                    Some(child) => self.stack.push((&child.page, 0)),
                    None => drop(self.stack.pop()),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::collections::BTreeMap;

    #[test]
    fn it_behaves_as_the_standard_map_and_clones_do_not_change() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let mut map = CowMap::default();
            let mut model = BTreeMap::new();
            let mut snapshot = (map.clone(), model.clone());
            for step in 0..3_000u32 {
                let key = random.below(if step < 1_500 { 2_000 } else { 300 });
                if random.below(if step < 1_500 { 4 } else { 2 }) > 0 {
                    assert_eq!(map.insert(key, step), model.insert(key, step), "seed {seed}");
                } else {
                    assert_eq!(map.remove(&key), model.remove(&key), "seed {seed}");
                }
                assert_eq!(map.len(), model.len(), "seed {seed}");
                if step % 500 == 0 {
                    snapshot = (map.clone(), model.clone());
                }
                let from = random.below(2_000);
                let range = map.range_from(Bound::Excluded(&from)).next();
                let expected = model.range((Bound::Excluded(from), Bound::Unbounded)).next();
                assert_eq!(range, expected, "seed {seed}");
            }
            assert!(map.iter().eq(model.iter()), "seed {seed}");
            assert!(snapshot.0.iter().eq(snapshot.1.iter()), "seed {seed}");
            for key in 0..2_000 {
                assert_eq!(map.remove(&key), model.remove(&key), "seed {seed}");
            }
            assert_eq!((map.len(), map.iter().next()), (0, None));
        }
    }

    #[test]
    fn growing_keys_fill_their_pages() {
        let mut map = CowMap::default();
        for key in 0..10_000u32 {
            map.insert(key, ());
        }
        let mut leaves = 0;
        let mut pages = alloc::vec![map.root.clone()];
        while let Some(page) = pages.pop() {
            match &*page {
                Page::Leaf(_) => leaves += 1,
                Page::Branch(children) => pages.extend(children.iter().map(|c| c.page.clone())),
            }
        }
        assert!(leaves <= 10_000 / ENTRIES_MAX + 1, "{leaves} leaves");
    }
}
