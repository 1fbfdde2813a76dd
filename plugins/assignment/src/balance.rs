//! Who should have which partitions.
//!
//! Comes in: what each member has, and what there is. Goes out: the same, balanced: grants of what is
//! free, and revocations of what a member has too much of. Invariants: a partition is in the hands of
//! one member, granted or being revoked, or of none; what is being revoked is granted to nobody else;
//! once nothing is being revoked, no member has two more than another. Must never: revoke what may
//! stay.

use std::collections::{BTreeMap, BTreeSet};

/// What one member has, by partition, with the fence of the grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hands {
    pub(crate) granted: BTreeMap<String, u64>,
    /// To be given up: the member has them until it says that it has done so.
    pub(crate) revoking: BTreeMap<String, u64>,
}

/// Balances in place. Among equals, those who come first have more.
pub(crate) fn balance(hands: &mut [&mut Hands], partitions: &BTreeSet<String>, fence: u64) {
    for hand in hands.iter_mut() {
        let (kept, gone) = std::mem::take(&mut hand.granted)
            .into_iter()
            .partition(|(partition, _)| partitions.contains(partition));
        hand.granted = kept;
        let gone: BTreeMap<String, u64> = gone;
        hand.revoking.extend(gone);
    }
    // Who may keep something ranks higher by it, so rank and keep again. It ends: whoever has one more
    // than the others ranks first and loses nothing, so that what is kept only grows.
    let mut shall = quotas(hands, partitions.len());
    while settle(hands, partitions, &shall) {
        shall = quotas(hands, partitions.len());
    }
    let held: BTreeSet<&String> =
        hands.iter().flat_map(|hand| hand.granted.keys().chain(hand.revoking.keys())).collect();
    let free: Vec<String> =
        partitions.iter().filter(|partition| !held.contains(partition)).cloned().collect();
    let mut free = free.into_iter();
    for (hand, quota) in hands.iter_mut().zip(&shall) {
        let lacking = quota.saturating_sub(hand.granted.len());
        hand.granted.extend(free.by_ref().take(lacking).map(|partition| (partition, fence)));
    }
}

/// Revokes what is too much, and leaves with each what it was asked to give up and may keep after all:
/// that moves nowhere. Whether anything may be kept.
fn settle(hands: &mut [&mut Hands], partitions: &BTreeSet<String>, quotas: &[usize]) -> bool {
    let mut kept = false;
    for (hand, quota) in hands.iter_mut().zip(quotas) {
        while hand.granted.len() > *quota
            && let Some((partition, fence)) = hand.granted.pop_last()
        {
            hand.revoking.insert(partition, fence);
        }
        let lacking = quota.saturating_sub(hand.granted.len());
        let stays = hand.revoking.keys().filter(|partition| partitions.contains(*partition));
        for partition in stays.take(lacking).cloned().collect::<Vec<_>>() {
            if let Some(fence) = hand.revoking.remove(&partition) {
                hand.granted.insert(partition, fence);
                kept = true;
            }
        }
    }
    kept
}

/// How many each shall have: as many as any other, or one more for those who have most, so that
/// little moves.
fn quotas(hands: &[&mut Hands], partitions: usize) -> Vec<usize> {
    if hands.is_empty() {
        return Vec::new();
    }
    let (each, rest) = (partitions / hands.len(), partitions % hands.len());
    let mut by_wealth: Vec<usize> = (0..hands.len()).collect();
    by_wealth.sort_by_key(|at| {
        let hand = &hands[*at];
        std::cmp::Reverse((hand.granted.len(), hand.revoking.len()))
    });
    let mut quotas = vec![each; hands.len()];
    for at in by_wealth.into_iter().take(rest) {
        quotas[at] += 1;
    }
    quotas
}
