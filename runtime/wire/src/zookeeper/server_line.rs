//! The value of `server.N`: one server of the cluster.
//!
//! Comes in: `host:quorum port[:election port][:role][;[client address:]client port]`. Goes out: its
//! parts, or words on what is wrong. Invariant: what is read is a port and could be a host. Must never
//! look up a name.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use quorate_types::MemberAddress;

/// One server line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLine {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// Where peers connect.
    pub quorum_port: u16,
    /// Where native clients connect.
    pub election_port: u16,
    /// Whether the line says so; else it is the port after the quorum port.
    pub has_election_port: bool,
    /// Whether it is to have no vote.
    pub is_observer: bool,
    /// Where ZooKeeper clients connect: host, if given, and port.
    pub client: Option<(Option<String>, u16)>,
}

impl ServerLine {
    /// Reads the value.
    ///
    /// # Errors
    /// What is wrong, in words that follow the value.
    pub fn parse(text: &str) -> Result<ServerLine, String> {
        let (server, client) = match text.split_once(';') {
            Some((server, client)) => (server.trim(), Some(client_address(client.trim())?)),
            None => (text.trim(), None),
        };
        if server.contains('|') {
            return Err(String::from(
                "gives several addresses, and a server has one here: keep the one that all others reach",
            ));
        }
        let (host, rest) = host_of(server)?;
        let mut parts = rest.split(':').map(str::trim).collect::<Vec<_>>();
        let role = parts.pop_if(|last| last.parse::<u32>().is_err());
        let is_observer = match role.map(str::to_ascii_lowercase).as_deref() {
            None | Some("participant") => false,
            Some("observer") => true,
            Some(other) => {
                return Err(format!("has the role `{other}`; roles: participant, observer"));
            }
        };
        let has_election_port = parts.len() > 1;
        let (quorum_port, election_port) = match parts[..] {
            [quorum, election] => (port(quorum)?, port(election)?),
            [quorum] => {
                let quorum = port(quorum)?;
                let next =
                    quorum.checked_add(1).ok_or("needs an election port: 65535 has no next")?;
                (quorum, next)
            }
            _ => return Err(form()),
        };
        Ok(ServerLine { host, quorum_port, election_port, has_election_port, is_observer, client })
    }

    /// Where the server is, as a member: ZooKeeper's client port where the line has one, on any
    /// address of the server unless it says which.
    #[must_use]
    pub fn address(&self) -> MemberAddress {
        let zookeeper = self.client.as_ref().map(|(host, port)| {
            let any = Ipv4Addr::UNSPECIFIED.to_string();
            joined(host.as_deref().unwrap_or(&any), *port)
        });
        let (peer, native) =
            (joined(&self.host, self.quorum_port), joined(&self.host, self.election_port));
        MemberAddress { peer, native, zookeeper }
    }

    /// Whether the host is "any address", which nobody can connect to.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
    }
}

/// `host:port`, an IPv6 address in brackets.
fn joined(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

fn form() -> String {
    String::from(
        "must be like `db1.example:2888:3888` or `[2001:db8::1]:2888:3888`, with `;2181` behind it if \
         clientPort is not in the file",
    )
}

/// The host, and what follows the colon behind it.
fn host_of(text: &str) -> Result<(String, &str), String> {
    if let Some(text) = text.strip_prefix('[') {
        let (host, rest) = text.split_once(']').ok_or_else(form)?;
        let address = host.parse::<Ipv6Addr>().map_err(|_| form())?;
        return Ok((address.to_string(), rest.strip_prefix(':').ok_or_else(form)?));
    }
    let (host, rest) = text.split_once(':').ok_or_else(form)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(is_plain) {
        return Err(form());
    }
    Ok((host.to_owned(), rest))
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse::<u16>().ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("has the port `{text}`; ports are 1 to 65535"))
}

fn client_address(text: &str) -> Result<(Option<String>, u16), String> {
    if !text.contains(':') {
        return Ok((None, port(text)?));
    }
    let (host, rest) = host_of(text)?;
    Ok((Some(host), port(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ServerLine {
        ServerLine::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_line_has_a_host_and_ports_and_perhaps_a_role_and_a_client_port() {
        let line = parse("db1:2888:3888");
        assert_eq!((line.host.as_str(), line.quorum_port, line.election_port), ("db1", 2888, 3888));
        assert_eq!((line.is_observer, line.client), (false, None));
        assert!(parse("db1:2888:3888:Observer;2181").is_observer);
        let line = parse(" db1:2888:3888:participant;0.0.0.0:2181 ");
        assert_eq!(line.client, Some((Some(String::from("0.0.0.0")), 2181)));
        assert_eq!(parse("db1:2888:3888;[::]:2181").client, Some((Some("::".into()), 2181)));
        assert_eq!(parse("db1:2888").election_port, 2889);
        assert!(parse("db1:2888:2889").has_election_port && !parse("db1:2888").has_election_port);
        assert_eq!(parse("db1:2888:observer").election_port, 2889);
    }

    #[test]
    fn addresses_are_written_as_others_dial_them() {
        let address = parse("[2001:DB8::1]:2888:3888;[::]:2181").address();
        assert_eq!(address.peer, "[2001:db8::1]:2888");
        assert_eq!(address.native, "[2001:db8::1]:3888");
        assert_eq!(address.zookeeper.as_deref(), Some("[::]:2181"));
        let address = parse("10.0.0.1:1:2").address();
        assert_eq!((address.native.as_str(), address.zookeeper), ("10.0.0.1:2", None));
        let address = parse("10.0.0.1:1:2;2181").address();
        assert_eq!(address.zookeeper.as_deref(), Some("0.0.0.0:2181"));
        assert!(parse("0.0.0.0:1:2").is_unspecified() && parse("[::]:1:2").is_unspecified());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, wanted) in [
            ("", "must be like"),
            ("db1", "must be like"),
            (":2888:3888", "must be like"),
            ("2001:db8::1:2888:3888", "must be like"),
            ("[db1]:2888:3888", "must be like"),
            ("d b:2888:3888", "must be like"),
            ("db1:2888:3888:9:9", "must be like"),
            ("db1:0:3888", "the port `0`"),
            ("db1:2888:99999", "the port `99999`"),
            ("db1:2888:3888:leader", "the role `leader`"),
            ("db1:2888:3888;", "the port ``"),
            ("db1:2888:3888;x:y", "the port `y`"),
            ("db1:1:2|db1b:1:2", "several addresses"),
            ("db1:65535", "65535 has no next"),
        ] {
            let error = ServerLine::parse(text).expect_err(text);
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
