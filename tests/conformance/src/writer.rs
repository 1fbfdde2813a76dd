//! A client that writes all the time and remembers what was acknowledged.
//!
//! Comes in: where to connect, how often to write. Goes out: when writes were acknowledged, and at
//! the end all that was. Invariant: requests of a session are numbered in the order of their data;
//! what has no answer when the session ends counts as unknown, never as done.

use crate::written::Written;
use anyhow::{Context as _, Result};
use quorate_client::{
    Client, ClientConfig, ClientError, CreateMode, ErrorCode, ServerId, SessionState, ZnodePath,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

/// Requests under way at a time.
const OUTSTANDING_MAX: usize = 64;

/// A client that writes on a task of its own.
pub struct Writer {
    shared: Arc<Mutex<Shared>>,
    stopping: watch::Sender<bool>,
    task: JoinHandle<Result<Written>>,
}

#[derive(Default)]
struct Shared {
    /// When a write was begun and when it was acknowledged; in the order of acknowledgement.
    acknowledged: Vec<(Instant, Instant)>,
    client: Option<Client>,
}

/// What was acknowledged.
enum Acknowledged {
    /// A sequential znode of this name.
    Created(String),
    /// This value.
    Set(u64),
}

struct Done {
    begun: Instant,
    outcome: Result<Acknowledged, ClientError>,
}

type Request = Pin<Box<dyn Future<Output = Done> + Send>>;

impl Writer {
    /// Connects and begins: one write per `interval`, in turn a sequential znode and a value.
    ///
    /// # Errors
    /// It cannot connect or make its znodes.
    pub async fn start(config: ClientConfig, name: &str, interval: Duration) -> Result<Writer> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let client = Client::connect(config.clone()).await?;
        let written = Written::new(name);
        for (path, data) in written.znodes() {
            match client.create(&path, data, CreateMode::Persistent).await {
                Err(error) if error.code() != Some(ErrorCode::NodeExists) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        let (stopping, stop) = watch::channel(false);
        let work = Work { config, shared: Arc::clone(&shared), written, stop };
        let task = tokio::spawn(work.run(client, interval));
        Ok(Writer { shared, stopping, task })
    }

    /// When, after `since`, a write was acknowledged that was begun after `since` as well.
    #[must_use]
    pub fn resumed_after(&self, since: Instant) -> Option<Duration> {
        let shared = locked(&self.shared);
        let newest_first = shared.acknowledged.iter().rev();
        // In the order of acknowledgement: nothing before `since` is of interest.
        let after = newest_first.take_while(|(_, acknowledged)| *acknowledged >= since);
        let strictly = after.filter(|(begun, _)| *begun >= since);
        strictly.last().map(|(_, acknowledged)| *acknowledged - since)
    }

    /// How many writes were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        locked(&self.shared).acknowledged.len()
    }

    /// The server that serves it now.
    #[must_use]
    pub fn served_by(&self) -> Option<ServerId> {
        match locked(&self.shared).client.as_ref()?.state() {
            SessionState::Connected { server, .. } => Some(server),
            SessionState::Disconnected | SessionState::Ended { .. } => None,
        }
    }

    /// Stops, waits for what is under way, and tells what was written.
    ///
    /// # Errors
    /// A write was refused, or the cluster could not be reached any more.
    pub async fn finish(self) -> Result<Written> {
        self.stopping.send_replace(true);
        self.task.await?
    }
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Work {
    config: ClientConfig,
    shared: Arc<Mutex<Shared>>,
    written: Written,
    stop: watch::Receiver<bool>,
}

impl Work {
    async fn run(mut self, mut client: Client, interval: Duration) -> Result<Written> {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            locked(&self.shared).client = Some(client.clone());
            self.written.sessions += 1;
            let lost = self.run_session(&client, &mut ticks).await?;
            if !lost {
                break;
            }
            // A server that starts may take longer than one try lasts.
            client = Client::connect(self.config.clone()).await?;
        }
        client.close().await?;
        Ok(self.written)
    }

    /// Writes until told to stop. True: the session was lost before.
    async fn run_session(
        &mut self,
        client: &Client,
        ticks: &mut tokio::time::Interval,
    ) -> Result<bool> {
        let mut under_way = JoinSet::new();
        let mut lost = false;
        let mut stop = self.stop.clone();
        while !lost && !*stop.borrow_and_update() {
            let has_room = under_way.len() < OUTSTANDING_MAX;
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                Some(done) = under_way.join_next() => lost |= self.on_done(done?)?,
                _ = ticks.tick(), if has_room => begin(&mut under_way, self.next_request(client)),
            }
        }
        while let Some(done) = under_way.join_next().await {
            lost |= self.on_done(done?)?;
        }
        Ok(lost && !*stop.borrow())
    }

    fn next_request(&mut self, client: &Client) -> Request {
        let (client, begun) = (client.clone(), Instant::now());
        if self.written.created_tried == self.written.set_tried {
            self.written.created_tried += 1;
            let number = self.written.created_tried;
            let path = self.written.path_of_new(number);
            return Box::pin(async move {
                let mode = CreateMode::PersistentSequential;
                let created = client.create(&path, number.to_string(), mode).await;
                let name = |path: ZnodePath| path.as_str().rsplit('/').next().map(str::to_owned);
                let outcome =
                    created.map(|path| Acknowledged::Created(name(path).unwrap_or_default()));
                Done { begun, outcome }
            });
        }
        self.written.set_tried += 1;
        let number = self.written.set_tried;
        let path = self.written.value_path();
        Box::pin(async move {
            let set = client.set(&path, number.to_string(), None).await;
            Done { begun, outcome: set.map(|_| Acknowledged::Set(number)) }
        })
    }

    /// True: the session is lost.
    fn on_done(&mut self, done: Done) -> Result<bool> {
        match done.outcome {
            Ok(Acknowledged::Created(name)) => self.written.created.push(name),
            Ok(Acknowledged::Set(number)) => self.written.set_acknowledged(number),
            Err(ClientError::SessionLost { .. }) => return Ok(true),
            Err(error) => {
                return Err(error).with_context(|| format!("writer {}", self.written.name));
            }
        }
        locked(&self.shared).acknowledged.push((done.begun, Instant::now()));
        Ok(false)
    }
}

/// Polls once, so that the request gets its number now, and lets a task do the rest.
fn begin(under_way: &mut JoinSet<Done>, mut request: Request) {
    match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => under_way.spawn(std::future::ready(done)),
        Poll::Pending => under_way.spawn(request),
    };
}
