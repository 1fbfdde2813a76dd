//! What ZooKeeper's `reconfig` asks for, in quorate's words.
//!
//! Comes in: its texts: server lines with commas between them, numbers of servers, a version. Goes out:
//! an operation. Invariant: what cannot be read becomes an operation that names nobody, which the
//! machine refuses at its turn: whether another change is under way and the version is right comes
//! first in ZooKeeper. Must never judge who may do it.

use alloc::vec::Vec;
use quorate_types::request::{MembersWanted, WantedMember};
use quorate_types::{Operation, ServerId};
use quorate_wire::zookeeper::{Reconfig, ServerLine};

/// Any version of the configuration.
const ANY: i64 = -1;

pub(super) fn operation_of(asked: &Reconfig<'_>) -> Operation {
    let nobody = || MembersWanted::Exactly(Vec::new());
    let wanted = match asked.new_members {
        // Lines may be told apart by line ends here.
        Some(all) => servers(all, &[',', '\n']).map(MembersWanted::Exactly),
        None => changed(asked),
    };
    let version = (asked.config_id != ANY).then_some(asked.config_id);
    Operation::Reconfigure {
        wanted: wanted.unwrap_or_else(nobody),
        // No configuration has a version below 0, nor this one.
        expected_version: version.map(|version| u64::try_from(version).unwrap_or(u64::MAX)),
    }
}

fn changed(asked: &Reconfig<'_>) -> Option<MembersWanted> {
    let joining = asked.joining.map_or(Some(Vec::new()), |text| servers(text, &[',']))?;
    let leaving = asked.leaving.map_or(Some(Vec::new()), |text| {
        parts(text, &[',']).map(|number| number.parse().ok().map(ServerId)).collect()
    })?;
    Some(MembersWanted::Changed { joining, leaving })
}

fn parts<'a>(text: &'a str, between: &'a [char]) -> impl Iterator<Item = &'a str> {
    text.split(between).map(str::trim).filter(|part| !part.is_empty())
}

fn servers(text: &str, between: &[char]) -> Option<Vec<WantedMember>> {
    // The configuration as it is read ends with its version, and may be given back whole.
    let lines = parts(text, between).filter(|line| !line.starts_with("version="));
    lines.map(server).collect()
}

/// `server.N=host:quorum port:election port[:role];[client address:]client port`: with all of its ports.
fn server(line: &str) -> Option<WantedMember> {
    let (key, value) = line.split_once('=')?;
    let number = key.trim().rsplit_once('.')?.1.parse::<u32>().ok()?;
    let line = ServerLine::parse(value).ok()?;
    let is_whole = line.has_election_port && line.client.is_some();
    is_whole.then(|| WantedMember {
        server: ServerId(u64::from(number)),
        address: line.address(),
        voter: !line.is_observer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use quorate_types::MemberAddress;

    fn asked<'a>(
        joining: Option<&'a str>,
        leaving: Option<&'a str>,
        new_members: Option<&'a str>,
    ) -> MembersWanted {
        let asked = Reconfig { joining, leaving, new_members, config_id: ANY };
        let operation = operation_of(&asked);
        let Operation::Reconfigure { wanted, expected_version: None } = operation else {
            panic!("{operation:?}")
        };
        wanted
    }

    fn wanted(server: u64, host: &str, zookeeper: &str, voter: bool) -> WantedMember {
        let at = |port: u16| alloc::format!("{host}:{port}");
        let zookeeper = Some(String::from(zookeeper));
        let address = MemberAddress { peer: at(1), native: at(2), zookeeper };
        WantedMember { server: ServerId(server), address, voter }
    }

    #[test]
    fn lines_and_numbers_are_read_with_commas_between_them() {
        let joining = "server.4=db4:1:2:observer;2181, server.5=db5:1:2;10.0.0.5:2182";
        assert_eq!(
            asked(Some(joining), Some("1, 2"), None),
            MembersWanted::Changed {
                joining: [
                    wanted(4, "db4", "0.0.0.0:2181", false),
                    wanted(5, "db5", "10.0.0.5:2182", true)
                ]
                .into(),
                leaving: [ServerId(1), ServerId(2)].into(),
            }
        );
        let all = "server.4=db4:1:2:participant;0.0.0.0:2181\nversion=1f";
        let exactly = [wanted(4, "db4", "0.0.0.0:2181", true)].into();
        assert_eq!(asked(None, None, Some(all)), MembersWanted::Exactly(exactly));
    }

    #[test]
    fn what_cannot_be_read_names_nobody() {
        let nobody = MembersWanted::Exactly(Vec::new());
        for joining in [
            "some thing",
            "server.4",
            "server.four=db4:1:2;3",
            "server.4=db4:1;3",
            "server.4=db4:1:2",
            "server.4=db4:1:2:king;3",
            "server.4=db4:1:2;3,server.5",
        ] {
            assert_eq!(asked(Some(joining), None, None), nobody, "{joining}");
        }
        assert_eq!(asked(None, Some("one"), None), nobody);
        assert_eq!(asked(None, None, Some("server.1")), nobody);
    }

    #[test]
    fn any_version_but_one_is_expected() {
        let version = |config_id| {
            let asked =
                Reconfig { joining: None, leaving: Some("1"), new_members: None, config_id };
            match operation_of(&asked) {
                Operation::Reconfigure { expected_version, .. } => expected_version,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([-1, 0, 9].map(version), [None, Some(0), Some(9)]);
        assert_eq!(version(-2), Some(u64::MAX));
    }
}
