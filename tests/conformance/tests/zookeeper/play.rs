//! Plays a script on one server.
//!
//! Comes in: an address, steps. Goes out: what each step brought about, as lines. Invariant: after
//! each step every connection has told all that the step fired: a server answers a ping behind it.

use crate::render::{Names, event};
use crate::step::{Act, Password, Seen, Step};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use quorate_conformance::{Answered, PATIENCE, ZooKeeperClient, ZooKeeperSession};
use quorate_wire::zookeeper::Request;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Of sessions that are gone on with.
const TIMEOUT_MS: i32 = 30_000;
/// How long one connection is listened to alone.
const PAUSE: Duration = Duration::from_millis(100);

struct Player {
    address: SocketAddr,
    connections: BTreeMap<&'static str, ZooKeeperClient>,
    /// Sessions of connections that were lost, too.
    sessions: BTreeMap<&'static str, ZooKeeperSession>,
    names: Names,
    mark: i64,
}

/// Plays all steps; gives the outcome of each.
pub(crate) fn play(address: SocketAddr, steps: &[Step]) -> Vec<String> {
    let mut player = Player {
        address,
        connections: BTreeMap::new(),
        sessions: BTreeMap::new(),
        names: Names::default(),
        mark: 0,
    };
    let mut outcomes = Vec::with_capacity(steps.len());
    for (number, step) in steps.iter().enumerate() {
        // What one server does not get through is a difference like any other.
        let outcome = player.step(number, step);
        outcomes.push(outcome.unwrap_or_else(|error| format!("cannot: {error:#}")));
    }
    outcomes
}

impl Player {
    fn step(&mut self, number: usize, step: &Step) -> Result<String> {
        let mut lines = Vec::new();
        let told = self.act(number, step)?;
        if let Some(client) = self.connections.get_mut(step.on) {
            lines.extend(
                client.take_events().iter().map(|told| format!("  before: {}", event(told))),
            );
        }
        lines.insert(0, told);
        if matches!(step.act, Act::Await) {
            self.await_event(step.on, &mut lines)?;
        }
        self.settle(&mut lines)?;
        Ok(lines.join("\n"))
    }

    fn act(&mut self, number: usize, step: &Step) -> Result<String> {
        match &step.act {
            Act::Connect(timeout_ms) => {
                let client = ZooKeeperClient::connect(self.address, *timeout_ms)?;
                let password = client.session().password.len();
                let told = format!("connected for {} ms", client.timeout_ms());
                self.names.name_session(client.session().id, step.on);
                self.sessions.insert(step.on, client.session().clone());
                self.connections.insert(step.on, client);
                Ok(format!("{told}, {password} bytes of password"))
            }
            Act::Resume { of, password, seen } => {
                let known = self.sessions.get(of).context("no such session")?.clone();
                let password = match password {
                    Password::Right => known.password,
                    Password::Wrong => Bytes::from_static(&[7; 16]),
                    Password::Empty => Bytes::new(),
                };
                let session = ZooKeeperSession { id: known.id, password };
                self.resume(step.on, &session, self.seen(*seen))
            }
            Act::ResumeUnknown => {
                let password = Bytes::from_static(&[7; 16]);
                self.resume(step.on, &ZooKeeperSession { id: 0x7_1234_5678, password }, 0)
            }
            Act::Ask(request) => self.ask(number, step.on, request),
            Act::Restore(request, seen) => {
                let mut request = request.clone();
                let zxid = self.seen(*seen);
                match &mut request {
                    Request::SetWatches(watches) => watches.relative_zxid = zxid,
                    Request::SetWatches2(watches) => watches.relative_zxid = zxid,
                    _ => bail!("this restores no watches"),
                }
                self.ask(number, step.on, &request)
            }
            Act::Raw(opcode, body) => {
                let client = self.connections.get_mut(step.on).context("not connected")?;
                let answered = client.ask_raw(*opcode, body)?;
                self.told((number, *opcode), "", answered)
            }
            Act::Drop => {
                self.connections.remove(step.on).context("not connected")?;
                Ok("dropped".to_owned())
            }
            Act::Mark => {
                self.mark = self.names.newest();
                Ok("marked".to_owned())
            }
            Act::Await => Ok("awaited".to_owned()),
        }
    }

    fn seen(&self, seen: Seen) -> i64 {
        match seen {
            Seen::Nothing => 0,
            Seen::Mark => self.mark,
            Seen::Newest => self.names.newest(),
            Seen::Future => self.names.newest() + (1 << 33),
        }
    }

    fn resume(
        &mut self,
        on: &'static str,
        session: &ZooKeeperSession,
        seen: i64,
    ) -> Result<String> {
        let Some(client) = ZooKeeperClient::resume(self.address, TIMEOUT_MS, session, seen)? else {
            return Ok("closed without an answer".to_owned());
        };
        let given = client.session();
        let told = if client.timeout_ms() == 0 {
            let zeros = given.id == 0 && given.password.iter().all(|byte| *byte == 0);
            let zeros = zeros && given.password.len() == 16;
            format!("the session is gone, all zeros: {zeros}")
        } else {
            format!("goes on for {} ms, the same: {}", client.timeout_ms(), given == session)
        };
        self.sessions.insert(on, given.clone());
        self.connections.insert(on, client);
        Ok(told)
    }

    fn ask(&mut self, number: usize, on: &str, request: &Request<'_>) -> Result<String> {
        let client = self.connections.get_mut(on).context("not connected")?;
        let answered = client.ask(request)?;
        self.told((number, request.opcode()), path_of(request), answered)
    }

    fn told(
        &mut self,
        asked: (usize, i32),
        path: &str,
        answered: Option<Answered>,
    ) -> Result<String> {
        let Some(answered) = answered else { return Ok("closed instead of a reply".to_owned()) };
        Ok(self.names.reply(asked, path, &answered.message()?))
    }

    /// Lets every connection tell what it has: notifications, or that the server closed it.
    fn settle(&mut self, lines: &mut Vec<String>) -> Result<()> {
        let mut closed = Vec::new();
        for (name, client) in &mut self.connections {
            let pong = client.ask(&Request::Ping).with_context(|| format!("ping of {name}"))?;
            let told = client.take_events();
            lines.extend(told.iter().map(|told| format!("  {name}: {}", event(told))));
            if pong.is_none() {
                lines.push(format!("  {name}: closed"));
                closed.push(*name);
            }
        }
        for name in closed {
            self.connections.remove(name);
        }
        Ok(())
    }

    /// Asks until the connection tells of something; the others stay alive.
    fn await_event(&mut self, on: &str, lines: &mut Vec<String>) -> Result<()> {
        let (begin, before) = (Instant::now(), lines.len());
        let wanted = format!("  {on}: ");
        while !lines[before..].iter().any(|line| line.starts_with(&wanted)) {
            if begin.elapsed() > PATIENCE {
                bail!("nothing came");
            }
            let client = self.connections.get_mut(on).context("not connected")?;
            client.wait_for_event(PAUSE)?;
            self.settle(lines)?;
        }
        Ok(())
    }
}

/// The path that a reply's stat belongs to.
fn path_of<'a>(request: &Request<'a>) -> &'a str {
    let path = match request {
        Request::Exists(read)
        | Request::GetData(read)
        | Request::GetChildren(read)
        | Request::GetChildren2(read) => read.path,
        Request::SetData(set) => set.path,
        Request::SetAcl(set) => set.path,
        Request::GetAcl(path) => path,
        _ => return "",
    };
    // ZooKeeper finds the root under no name, too.
    if path.is_empty() { "/" } else { path }
}
