//! Figures of the ZooKeeper door and of each connection, as its four-letter words tell them.
//!
//! Comes in: requests asked and answered. Goes out: counts and times. Invariant: sums since the start
//! or since they were set back; bounded. Must never be waited for.

use quorate_wire::zookeeper::{Opcode, RequestHeader};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Sums of the door, or of one connection.
#[derive(Debug)]
pub(super) struct Figures {
    received: AtomicU64,
    sent: AtomicU64,
    answered: AtomicU64,
    latency_ms: AtomicU64,
    latency_ms_min: AtomicU64,
    latency_ms_max: AtomicU64,
    outstanding: AtomicU64,
}

impl Default for Figures {
    fn default() -> Figures {
        Figures {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            latency_ms: AtomicU64::new(0),
            latency_ms_min: AtomicU64::new(u64::MAX),
            latency_ms_max: AtomicU64::new(0),
            outstanding: AtomicU64::new(0),
        }
    }
}

/// How they stand at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) outstanding: u64,
    /// Milliseconds: least, mean, most.
    pub(super) latency_ms: (u64, f64, u64),
}

impl Figures {
    fn answered(&self, took_ms: u64) {
        self.answered.fetch_add(1, Relaxed);
        self.latency_ms.fetch_add(took_ms, Relaxed);
        self.latency_ms_min.fetch_min(took_ms, Relaxed);
        self.latency_ms_max.fetch_max(took_ms, Relaxed);
    }

    pub(super) fn standing(&self) -> Standing {
        let answered = self.answered.load(Relaxed);
        let mean = self.latency_ms.load(Relaxed) as f64 / answered.max(1) as f64;
        let least = if answered == 0 { 0 } else { self.latency_ms_min.load(Relaxed) };
        Standing {
            received: self.received.load(Relaxed),
            sent: self.sent.load(Relaxed),
            outstanding: self.outstanding.load(Relaxed),
            latency_ms: (least, mean, self.latency_ms_max.load(Relaxed)),
        }
    }

    /// Sets all but what is under way back.
    pub(super) fn set_back(&self) {
        for sum in [&self.received, &self.sent, &self.answered, &self.latency_ms] {
            sum.store(0, Relaxed);
        }
        self.latency_ms_min.store(u64::MAX, Relaxed);
        self.latency_ms_max.store(0, Relaxed);
    }
}

/// What a connection did last.
#[derive(Clone, Copy, Debug)]
struct Last {
    operation: &'static str,
    /// `None`: nothing with a number of its own was asked.
    xid: Option<i32>,
    zxid: u64,
    /// Milliseconds since 1970.
    replied_ms: u64,
    latency_ms: u64,
}

const NOTHING: Last = Last { operation: "NA", xid: None, zxid: 0, replied_ms: 0, latency_ms: 0 };

/// One connection, as `cons` tells it.
#[derive(Debug)]
pub(super) struct Known {
    from: SocketAddr,
    /// Milliseconds since 1970.
    established_ms: u64,
    figures: Figures,
    /// Session and timeout in milliseconds; 0: none yet.
    session: Mutex<(u64, u32)>,
    last: Mutex<Last>,
}

impl Known {
    pub(super) fn new(from: SocketAddr) -> Known {
        Known {
            from,
            established_ms: wall_ms(),
            figures: Figures::default(),
            session: Mutex::default(),
            last: Mutex::new(NOTHING),
        }
    }

    fn session(&self) -> MutexGuard<'_, (u64, u32)> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection has a session.
    pub(super) fn connected(&self, session: u64, timeout_ms: u32) {
        *self.session() = (session, timeout_ms);
        self.last().operation = "SESS";
    }

    /// A request came.
    pub(super) fn asked(&self, header: RequestHeader) {
        let mut last = self.last();
        last.operation = letters_of(header.opcode);
        if header.xid >= 0 {
            last.xid = Some(header.xid);
        }
    }

    /// A reply leaves that shows this transaction.
    pub(super) fn shown(&self, zxid: u64) {
        self.last().zxid = zxid;
    }

    fn answered(&self, took_ms: u64) {
        self.figures.answered(took_ms);
        let mut last = self.last();
        last.replied_ms = wall_ms();
        last.latency_ms = took_ms;
    }

    /// Sets all but what is under way back.
    pub(super) fn set_back(&self) {
        self.figures.set_back();
        *self.last() = NOTHING;
    }

    /// ZooKeeper's line. `is_brief`: without what only a session has.
    pub(super) fn line(&self, is_brief: bool) -> String {
        let Standing { received, sent, outstanding, latency_ms } = self.figures.standing();
        let from = self.from;
        let begin = format!("/{from}[1](queued={outstanding},recved={received},sent={sent}");
        let (session, timeout_ms) = *self.session();
        if is_brief || session == 0 {
            return begin + ")";
        }
        let last = *self.last();
        let (least, mean, most) = latency_ms;
        let xid = last.xid.map_or_else(String::new, |xid| format!(",lcxid=0x{xid:x}"));
        format!(
            "{begin},sid=0x{session:x},lop={},est={},to={timeout_ms}{xid},lzxid=0x{:x},lresp={},llat={},\
             minlat={least},avglat={mean:.0},maxlat={most})",
            last.operation, self.established_ms, last.zxid, last.replied_ms, last.latency_ms
        )
    }

    /// Where it comes from, and its session.
    pub(super) fn address_and_session(&self) -> String {
        format!("ip: /{} sessionId: 0x{:x}", self.from, self.session().0)
    }
}

/// What ZooKeeper calls what was asked for.
fn letters_of(opcode: i32) -> &'static str {
    let Some(opcode) = Opcode::from_number(opcode) else { return "NA" };
    match opcode {
        Opcode::Create => "CREA",
        Opcode::Create2 | Opcode::CreateContainer | Opcode::CreateTtl => "CRE2",
        Opcode::Delete | Opcode::DeleteContainer => "DELE",
        Opcode::Exists => "EXIS",
        Opcode::GetData => "GETD",
        Opcode::SetData => "SETD",
        Opcode::GetAcl => "GETA",
        Opcode::SetAcl => "SETA",
        Opcode::GetChildren | Opcode::GetChildren2 => "GETC",
        Opcode::Sync => "SYNC",
        Opcode::Ping => "PING",
        Opcode::Check => "CHEC",
        Opcode::Multi => "MULT",
        Opcode::MultiRead => "MLTR",
        Opcode::Reconfig => "RECO",
        Opcode::CheckWatches => "CHKW",
        Opcode::RemoveWatches => "REMW",
        Opcode::Auth => "AUTH",
        Opcode::Sasl => "SASL",
        Opcode::SetWatches => "SETW",
        Opcode::SetWatches2 => "STW2",
        Opcode::AddWatch => "ADDW",
        Opcode::GetEphemerals => "GETE",
        Opcode::GetAllChildrenNumber => "GACN",
        Opcode::WhoAmI => "WHOA",
        Opcode::CloseSession => "CLOS",
        Opcode::CreateSession | Opcode::Error => "NA",
    }
}

fn add_one(sum: &AtomicU64) {
    sum.fetch_add(1, Relaxed);
}

fn wall_ms() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

/// Counts for the door and for one connection at once. When the requests of the connection that are
/// under way were asked is kept; replies come in their order.
#[derive(Debug)]
pub(super) struct Counting<'f> {
    door: &'f Figures,
    own: Arc<Known>,
    asked: VecDeque<Instant>,
}

impl<'f> Counting<'f> {
    pub(super) fn new(door: &'f Figures, own: Arc<Known>) -> Counting<'f> {
        Counting { door, own, asked: VecDeque::new() }
    }

    pub(super) fn own(&self) -> &Known {
        &self.own
    }

    fn both(&self) -> [&Figures; 2] {
        [self.door, &self.own.figures]
    }

    pub(super) fn received(&self) {
        self.both().iter().for_each(|figures| add_one(&figures.received));
    }

    pub(super) fn sent(&self) {
        self.both().iter().for_each(|figures| add_one(&figures.sent));
    }

    /// So many requests are under way now.
    pub(super) fn under_way(&mut self, count: usize) {
        let now = Instant::now();
        while self.asked.len() < count {
            self.asked.push_back(now);
            self.both().iter().for_each(|figures| add_one(&figures.outstanding));
        }
        while self.asked.len() > count
            && let Some(asked) = self.asked.pop_front()
        {
            let took = now.saturating_duration_since(asked);
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.door.answered(took_ms);
            self.own.answered(took_ms);
            for figures in self.both() {
                figures.outstanding.fetch_sub(1, Relaxed);
            }
        }
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.door.outstanding.fetch_sub(self.asked.len() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Arc<Known> {
        Arc::new(Known::new("127.0.0.1:4000".parse().unwrap()))
    }

    #[test]
    fn a_connection_is_told_as_zookeeper_tells_it() {
        let (door, known) = (Figures::default(), known());
        let mut counting = Counting::new(&door, Arc::clone(&known));
        counting.received();
        assert_eq!(known.line(false), "/127.0.0.1:4000[1](queued=0,recved=1,sent=0)");
        known.connected(0xab, 6_000);
        known.asked(RequestHeader { xid: 17, opcode: Opcode::GetData.number() });
        counting.under_way(2);
        known.shown(0x1f);
        counting.under_way(1);
        known.asked(RequestHeader { xid: -2, opcode: Opcode::Ping.number() });
        let line = known.line(false);
        for part in ["queued=1,", "sid=0xab,lop=PING,", ",to=6000,lcxid=0x11,lzxid=0x1f,lresp="] {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(known.line(true), "/127.0.0.1:4000[1](queued=1,recved=1,sent=0)");
        known.set_back();
        assert!(known.line(false).contains("recved=0,sent=0,sid=0xab,lop=NA,"));
        drop(counting);
        assert_eq!(door.standing().outstanding, 0);
    }
}
