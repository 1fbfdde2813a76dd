//! Random calls and faults: no item is lost, and none is in two hands at once.

use super::*;
use quorate_recipe::testing::{Draw, NextCall, Seen, Simulation};
use std::collections::{BTreeMap, BTreeSet};

fn receipts(seen: &Seen<'_>, client: usize) -> Vec<Receipt> {
    let taken = seen.history().calls().iter().filter(|call| call.client == client);
    taken
        .filter_map(|call| call.reply::<Vec<Delivery>>())
        .flatten()
        .map(|one| one.receipt)
        .collect()
}

fn next_call(draw: &mut Draw, seen: &Seen<'_>) -> NextCall {
    let client = usize::try_from(draw.below(4)).unwrap();
    let receipts = receipts(seen, client);
    match draw.below(10) {
        0..3 => {
            let count = draw.below(3) + 1;
            let mut item = || NewItem {
                payload: Blob(b"x".to_vec()),
                priority: u16::try_from(draw.below(3)).unwrap(),
                delay_ms: draw.below(2) * 200,
            };
            let items = (0..count).map(|_| item()).collect();
            let wait_ms = draw.below(2) * 500;
            NextCall::new(client, OBJECT, "put", &Put { items, wait_ms })
        }
        3..6 => {
            let count = u32::try_from(draw.below(3) + 1).unwrap();
            let wait_ms = *draw.one_of(&[None, Some(0), Some(400)]);
            NextCall::new(client, OBJECT, "take", &Take { count, wait_ms, visibility_ms: None })
        }
        6..8 if !receipts.is_empty() => {
            let receipts = vec![*draw.one_of(&receipts[receipts.len().saturating_sub(3)..])];
            NextCall::new(client, OBJECT, "acknowledge", &Acknowledge { receipts })
        }
        8 if !receipts.is_empty() => {
            let receipts = vec![*draw.one_of(&receipts[receipts.len().saturating_sub(3)..])];
            let failed = NegativeAcknowledge { receipts, delay_ms: 100, reason: String::new() };
            NextCall::new(client, OBJECT, "negative-acknowledge", &failed)
        }
        _ => match known_items(seen).into_iter().collect::<Vec<u64>>()[..] {
            [] => NextCall::new(client, OBJECT, "length", &()),
            ref items => {
                let items = Some(vec![*draw.one_of(items)]);
                let operation = *draw.one_of(&["redrive", "discard"]);
                NextCall::new(client, OBJECT, operation, &Selection { items })
            }
        },
    }
}

/// Items of which a putter was told, and that nobody was done with.
fn known_items(seen: &Seen<'_>) -> BTreeSet<u64> {
    let mut items = BTreeSet::new();
    for call in seen.history().answered().filter(|call| call.is_done()) {
        match call.operation.as_str() {
            "put" => items.extend(call.reply::<Vec<u64>>().unwrap_or_default()),
            "acknowledge" => {
                for receipt in
                    call.arguments::<Acknowledge>().map_or_else(Vec::new, |it| it.receipts)
                {
                    items.remove(&receipt.item);
                }
            }
            "discard" => {
                // Without a selection all dead letters are meant, and it is not said which those were.
                match call.arguments::<Selection>().and_then(|it| it.items) {
                    Some(discarded) => items.retain(|item| !discarded.contains(item)),
                    None => items.clear(),
                }
            }
            _ => {}
        }
    }
    items
}

/// How often each item is named by znodes whose names begin so.
fn named(seen: &Seen<'_>, kinds: &[&str]) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for path in seen.paths() {
        let Some((_, name)) = path.split_once('/') else { continue };
        if kinds.iter().any(|kind| name.starts_with(kind)) {
            let item = name.rsplit('-').next().and_then(|item| item.parse().ok());
            *found.entry(item.expect("names end with the item's number")).or_default() += 1;
        }
    }
    found
}

#[test]
fn random_calls_and_faults_break_no_promise() {
    let config = Config { visibility_ms: 700, deliveries_max: 2, ..Config::default() };
    Simulation::<Queue>::new(next_call)
        .clients(4)
        .configuration(&config)
        .configuration(&Config { length_max: 3, ..config })
        .newer::<Queue>()
        .invariant("no item is lost", |seen| {
            let known = known_items(seen);
            let there: BTreeSet<u64> = named(seen, &["item-"]).into_keys().collect();
            let lost: Vec<&u64> = known.difference(&there).collect();
            if lost.is_empty() { Ok(()) } else { Err(format!("{lost:?}")) }
        })
        .invariant("an item is in one place", |seen| {
            let items = named(seen, &["item-"]);
            let placed = named(seen, &["ready-", "due-", "undeliverable-"]);
            let hands = named(seen, &["held-"]);
            if placed != items || hands.values().any(|hands| *hands > 1) {
                return Err(format!("items {items:?}, places {placed:?}, hands {hands:?}"));
            }
            Ok(())
        })
        .invariant("an item's fences grow", |seen| {
            let mut newest = BTreeMap::new();
            let taken = seen.history().answered();
            for one in taken.filter_map(|call| call.reply::<Vec<Delivery>>()).flatten() {
                let Receipt { item, fence } = one.receipt;
                if newest.insert(item, fence).is_some_and(|before| before >= fence) {
                    return Err(format!("item {item} was delivered again under {fence}"));
                }
            }
            Ok(())
        })
        .run();
}
