//! Recipes whose dearest runs read or move much data.

use crate::driven::{Driven, name, text};
use serde_json::{Value, json};

fn items(count: usize, bytes: usize, delay_ms: u64) -> Value {
    let item = json!({ "payload": { "bytes": bytes }, "priority": 65_535, "delay_ms": delay_ms });
    json!({ "items": vec![item; count] })
}

fn receipts(taken: &Value) -> Value {
    let receipts =
        taken.as_array().into_iter().flatten().map(|delivery| delivery["receipt"].clone());
    json!(receipts.collect::<Vec<_>>())
}

/// Every call at its maximum, with payloads of this size.
fn queue_of(count: usize, bytes: usize) -> Driven {
    let config = json!({ "payload_bytes_max": 196_608, "deliveries_max": 2, "length_max": 400 });
    let mut driven = Driven::new("queue", &config);
    let first = driven.first;
    let take = json!({ "count": count });
    // Takers of one item each are served by one put, of many items by another.
    for taker in driven.sessions(count) {
        driven.parked(taker, "take", &json!({ "count": 1 }));
    }
    driven.done(first, "put", &items(count, bytes, 0));
    driven.settle();
    driven.parked(driven.first, "take", &take);
    driven.done(first, "put", &items(count, bytes, 0));
    let sequence = driven.stage.sequence(first) - 1;
    driven.settle();
    let taken = driven.answer(first, sequence);
    driven.done(first, "extend", &json!({ "receipts": receipts(&taken) }));
    let failed = json!({ "receipts": receipts(&taken), "reason": text(256) });
    driven.done(first, "negative-acknowledge", &failed);
    driven.done(first, "peek", &take);
    let again = driven.done(first, "take", &take);
    let failed = json!({ "receipts": receipts(&again), "reason": text(256) });
    driven.done(first, "negative-acknowledge", &failed);
    driven.done(first, "dead-letters", &json!({ "count": count }));
    driven.done(first, "redrive", &json!({}));
    driven
}

#[test]
fn a_queue_moves_as_many_items_as_a_call_may() {
    let mut driven = queue_of(100, 100);
    let first = driven.first;
    let take = json!({ "count": 100 });
    let taken = driven.done(first, "take", &take);
    driven.done(first, "acknowledge", &json!({ "receipts": receipts(&taken) }));
    // A full queue, puts that wait for room, and takers that wait for what they put.
    driven.settle();
    while driven.call(first, "put", &items(100, 100, 0)).is_ok() {}
    let putter = driven.stage.open();
    for _ in 0..4 {
        let mut wanted = items(100, 100, 0);
        wanted["wait_ms"] = json!(1_000_000);
        driven.parked(putter, "put", &wanted);
    }
    let taker = driven.stage.open();
    let taken = driven.done(taker, "take", &take);
    driven.done(first, "length", &json!({}));
    assert_eq!(receipts(&taken).as_array().map(Vec::len), Some(100));
    for waiting in driven.sessions(200) {
        let _ = driven.call(waiting, "take", &json!({ "count": 1 }));
    }
    // A hundred items in one hand go back at once, to those who wait.
    driven.expire(taker);
    driven.settle();
    driven.advance(30_000);
    driven.settle();
    driven.keep_below();
}

#[test]
fn a_queue_moves_as_many_bytes_as_a_call_may() {
    let mut driven = queue_of(1, 196_608);
    driven.settle();
    driven.keep_below();
    let mut driven = queue_of(100, 1_966);
    driven.settle();
    driven.judge();
}

#[test]
fn a_queue_frees_room_for_items_that_are_due_together() {
    let mut driven = Driven::new("queue", &json!({}));
    let first = driven.first;
    for _ in 0..5 {
        driven.done(first, "put", &items(100, 100, 1_000));
    }
    for taker in driven.sessions(200) {
        driven.parked(taker, "take", &json!({ "count": 1 }));
    }
    driven.advance(1_000);
    driven.settle();
    driven.keep_below();
}

/// Documents of the greatest size, or with as many values as may be, that are dear to read.
fn documents(bytes: usize) -> Vec<(&'static str, String)> {
    let repeated = |count: usize, unit: &dyn Fn(usize) -> String, ends: (&str, &str)| {
        let units: Vec<String> = (0..count).map(unit).collect();
        let mut text = format!("{}{}", ends.0, units.join(","));
        while text.len() + ends.1.len() > bytes {
            text.pop();
        }
        text + ends.1
    };
    // Names in an order that has to be sorted, of which one is not like the next.
    let long = |number: usize| format!("\"{:04}{}\":0", (number * 701) % 499, "m".repeat(120));
    let short = |number: usize| format!("\"{:x}\":0", (number * 701) % 499);
    let escaped = format!("\"{}", "\\n".repeat(bytes / 2 - 1));
    vec![
        ("long members", repeated(499, &long, ("{", "}"))),
        ("short members", repeated(499, &short, ("{", "}"))),
        ("numbers", repeated(499, &|_| "1".repeat(129), ("[", "]"))),
        ("objects", repeated(249, &|_| String::from("{\"\":0}"), ("[", "]"))),
        ("escapes", escaped + "\""),
        ("text", format!("\"{}\"", "t".repeat(bytes - 2))),
        ("space", format!("[{}]", " ".repeat(bytes - 2))),
    ]
}

#[test]
fn a_configuration_of_the_greatest_documents_is_set_staged_defined_and_removed() {
    let config = json!({ "history_max": 200, "document_bytes_max": 65_536 });
    let mut driven = Driven::new("configuration", &config);
    let first = driven.first;
    let fields: Vec<Value> = (0..100)
        .map(|number| json!({ "path": format!("/{}", name(number, 255)), "type": "any", "required": false }))
        .collect();
    let definition = json!({ "definition": { "fields": fields } });
    driven.done(first, "define", &definition);
    for (kind, document) in documents(65_536) {
        println!("{kind}: {} bytes", document.len());
        driven.done(first, "set", &json!({ "document": document, "note": text(256) }));
        let members: Vec<String> = (0..100).map(|number| name(number, 256)).collect();
        let staged = json!({ "document": document, "percentage": 50, "members": members });
        let version = driven.done(first, "stage", &staged);
        driven.done(first, "get", &json!({}));
        driven.done(first, "promote", &json!({ "version": version }));
        driven.done(first, "define", &definition);
    }
    driven.judge();
}

#[test]
fn a_configuration_with_the_longest_history_tells_all_who_wait() {
    let config = json!({ "history_max": 200, "document_bytes_max": 65_536 });
    let mut driven = Driven::new("configuration", &config);
    let first = driven.first;
    let mut version = json!(0);
    for _ in 0..201 {
        let set = json!({ "document": text(16), "note": text(256) });
        version = driven.done(first, "set", &set);
    }
    driven.done(first, "history", &json!({}));
    let session = driven.stage.open();
    let watch = |driven: &mut Driven, version: &Value| {
        for number in 0..600 {
            let member = name(number, 256);
            driven.parked(
                session,
                "await-change",
                &json!({ "version": version, "member": member }),
            );
        }
    };
    watch(&mut driven, &version);
    // In a roll-out that reaches none of those who wait, all of them are looked at.
    let members: Vec<String> = (1_000..1_100).map(|number| name(number, 256)).collect();
    let staged = json!({ "document": text(65_536), "percentage": 0, "members": members });
    let candidate = driven.done(first, "stage", &staged);
    driven.settle();
    driven.done(
        first,
        "widen",
        &json!({ "version": candidate, "percentage": 100, "members": members }),
    );
    driven.settle();
    watch(&mut driven, &candidate);
    driven.done(first, "abort", &json!({ "version": candidate }));
    driven.settle();
    watch(&mut driven, &version);
    driven.done(first, "remove", &json!({}));
    driven.settle();
    driven.keep_below();
}
