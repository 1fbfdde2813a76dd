//! Takes from a queue that is short, then long: what its length costs.
//!
//! Comes in: a mount of the queue recipe, two lengths, how many takers, for how long. Goes out: takes
//! per second and their times at each length. Invariant: while takes are measured the queue keeps its
//! length, since each item taken and acknowledged is followed by another put. Must never leave an
//! item: the queue is emptied at the end.

use super::{gather, in_ms, percentile};
use crate::output::Output;
use anyhow::{Result, ensure};
use quorate_client::{Client, ClientError};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Items in one call, as many as the recipe lets.
const BATCH: u32 = 100;
/// Priorities that are mixed.
const PRIORITIES: u64 = 16;
/// Calls under way at a time while the queue is filled and emptied.
const FILLERS: u64 = 4;
/// The recipe's word for a queue without a ready item.
const EMPTY: &str = "empty";

/// How the queue is measured.
pub(super) struct Load<'a> {
    pub(super) mount: &'a str,
    /// The shorter first.
    pub(super) lengths: [u64; 2],
    pub(super) outstanding: u32,
    pub(super) seconds: u64,
    /// Bytes of a payload.
    pub(super) bytes: usize,
}

struct Payload(Vec<u8>);

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[derive(Serialize)]
struct NewItem {
    payload: Payload,
    priority: u16,
}

#[derive(Serialize)]
struct Put {
    items: Vec<NewItem>,
}

#[derive(Serialize)]
struct Take {
    count: u32,
    wait_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    item: u64,
    fence: u64,
}

#[derive(Deserialize)]
struct Delivery {
    receipt: Receipt,
}

#[derive(Serialize)]
struct Acknowledge {
    receipts: Vec<Receipt>,
}

/// A queue under load; clones are for tasks.
#[derive(Clone)]
struct Queue {
    client: Client,
    object: String,
    bytes: usize,
}

impl Queue {
    async fn put(&self, first: u64, count: u64) -> Result<(), ClientError> {
        let item = |number: u64| NewItem {
            payload: Payload(vec![b'x'; self.bytes]),
            // Spread by a multiplication, so that neighbours in time lie apart in the queue.
            priority: u16::try_from((number.wrapping_mul(11_400_714_819)) % PRIORITIES)
                .unwrap_or(0),
        };
        let items = (first..first + count).map(item).collect();
        self.client.call::<_, Vec<u64>>(&self.object, "put", &Put { items }).await.map(drop)
    }

    async fn take(&self, take: &Take) -> Result<Vec<Receipt>, ClientError> {
        let taken: Vec<Delivery> = self.client.call(&self.object, "take", take).await?;
        Ok(taken.into_iter().map(|delivery| delivery.receipt).collect())
    }

    async fn acknowledge(&self, receipts: Vec<Receipt>) -> Result<(), ClientError> {
        let done = Acknowledge { receipts };
        self.client.call::<_, IgnoredAny>(&self.object, "acknowledge", &done).await.map(drop)
    }

    /// Puts items until there are so many.
    async fn fill(&self, from: u64, to: u64) -> Result<()> {
        let mut workers = JoinSet::new();
        for worker in 0..FILLERS {
            let queue = self.clone();
            workers.spawn(async move {
                let step = u64::from(BATCH);
                let mut first = from + worker * step;
                while first < to {
                    queue.put(first, step.min(to - first)).await?;
                    first += FILLERS * step;
                }
                Ok(Vec::new())
            });
        }
        gather(workers).await.map(drop)
    }

    /// Takes, acknowledges and puts again, one item at a time; gives how long each take took.
    async fn take_until(self, end: Instant) -> Result<Vec<Duration>, ClientError> {
        let mut times = Vec::new();
        while Instant::now() < end {
            let begun = Instant::now();
            let receipts = self.take(&Take { count: 1, wait_ms: None }).await?;
            times.push(begun.elapsed());
            let item = receipts.first().map_or(0, |receipt| receipt.item);
            self.acknowledge(receipts).await?;
            self.put(item, 1).await?;
        }
        Ok(times)
    }

    /// Takes and acknowledges until nothing is left.
    async fn empty(self) -> Result<(), ClientError> {
        loop {
            match self.take(&Take { count: BATCH, wait_ms: Some(0) }).await {
                Ok(receipts) => self.acknowledge(receipts).await?,
                Err(error) if error.recipe_code() == Some(EMPTY) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

pub(super) async fn run(client: &Client, load: &Load<'_>, output: Output) -> Result<()> {
    let [short, long] = load.lengths;
    ensure!(
        u64::from(load.outstanding) <= short && short <= long,
        "as many items as takers at least, and not fewer in the longer queue"
    );
    let object = format!("{}/bench-{}", load.mount, client.session());
    let queue = Queue { client: client.clone(), object, bytes: load.bytes };
    let measured = measure(&queue, load).await;
    // Whatever went wrong, what was put must go.
    let emptied = queue.empty().await;
    let rows = measured?;
    emptied?;
    let lines: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
    let values: Vec<&Value> = rows.iter().map(|(_, value)| value).collect();
    output.print(&lines.join("\n"), &json!({ "load": "take+acknowledge+put", "lengths": values }));
    Ok(())
}

async fn measure(queue: &Queue, load: &Load<'_>) -> Result<Vec<(String, Value)>> {
    let mut rows = Vec::new();
    let mut there = 0;
    for length in load.lengths {
        queue.fill(there, length).await?;
        there = length;
        let begun = Instant::now();
        let end = begun + Duration::from_secs(load.seconds);
        let mut workers = JoinSet::new();
        for _ in 0..load.outstanding {
            workers.spawn(queue.clone().take_until(end));
        }
        let (times, _) = gather(workers).await?;
        rows.push(row(load, length, (&times, begun.elapsed())));
    }
    Ok(rows)
}

fn row(load: &Load<'_>, length: u64, taken: (&[Duration], Duration)) -> (String, Value) {
    let (times, elapsed) = taken;
    let rate = times.len() as f64 / elapsed.as_secs_f64();
    let at = |share: f64| in_ms(percentile(times, share));
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    let text = format!(
        "{length} items: {rate:.0} takes/s, each with its acknowledge and another put  take: p50 \
         {p50:.2} ms  p99 {p99:.2} ms  max {max:.2} ms  ({} in {:.1} s, {} at a time)",
        times.len(),
        elapsed.as_secs_f64(),
        load.outstanding,
    );
    let value = json!({
        "length": length,
        "outstanding": load.outstanding,
        "count": times.len(),
        "per_second": rate,
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": max,
    });
    (text, value)
}
