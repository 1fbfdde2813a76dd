//! What servers send, byte by byte, written by hand from the protocol.

use crate::{hex, sent};
use bytes::Bytes;
use quorate_types::Permissions;
use quorate_wire::zookeeper::{
    Acl, AclStat, ChildrenStat, ClientInfo, ConnectResponse, DataStat, DecodeError, EventKind,
    Multi, MultiReadResult, MultiResult, Opcode, PathStat, Reply, ReplyHeader, Secret,
    ServerMessage, Stat, WatcherEvent, WatcherState, ZooKeeperError, decode_connect_response,
    decode_reply, encode_connect_response, encode_error, encode_notification, encode_reply, xid,
};

/// The fields of [`stat`] in the order of their bytes.
const STAT: &str = "0000000000000001 0000000000000002 0000000000000003 0000000000000004 \
                    00000005 00000006 00000007 0000000000000008 00000009 0000000a 000000000000000b";

fn stat() -> Stat {
    Stat {
        czxid: 1,
        mzxid: 2,
        ctime_ms: 3,
        mtime_ms: 4,
        version: 5,
        cversion: 6,
        aversion: 7,
        ephemeral_owner: 8,
        data_length: 9,
        children_count: 10,
        pzxid: 11,
    }
}

/// The bytes are the reply, with xid 3 and zxid 256, and the reply is the bytes.
#[track_caller]
fn same(opcode: Opcode, reply: &Reply<'_>, length: &str, body: &str) {
    let bytes = hex(&format!("{length} 00000003 0000000000000100 00000000 {body}"));
    assert_eq!(sent(|out| encode_reply(out, 3, 0x100, reply)), bytes);
    let header = ReplyHeader { xid: 3, zxid: 0x100, error: ZooKeeperError::Ok };
    let expected = ServerMessage::Reply { header, reply: reply.clone() };
    let asked = |xid| (xid == 3).then_some(opcode);
    assert_eq!(decode_reply(&bytes.slice(4..), asked), Ok(expected));
}

#[test]
fn a_connect_response_has_37_bytes_or_36_without_the_last_flag() {
    for (read_only, length, flag) in
        [(None, "00000024", ""), (Some(false), "00000025", "00"), (Some(true), "00000025", "01")]
    {
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: 4_000,
            session_id: 0x0100_0000_0000_0002,
            password: Secret(Some(Bytes::from_static(&[0xaa; 16]))),
            read_only,
        };
        let bytes = hex(&format!(
            "{length} 00000000 00000fa0 0100000000000002 \
             00000010 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa {flag}"
        ));
        assert_eq!(sent(|out| encode_connect_response(out, &response)), bytes);
        assert_eq!(decode_connect_response(&bytes.slice(4..)), Ok(response));
    }
}

#[test]
fn replies_with_a_path_a_stat_and_data() {
    same(Opcode::Create, &Reply::Path("/a"), "00000016", "00000002 2f61");
    same(Opcode::Exists, &Reply::Stat(stat()), "00000054", STAT);
    let created = Reply::PathStat(PathStat { path: "/a", stat: stat() });
    same(Opcode::Create2, &created, "0000005a", &format!("00000002 2f61 {STAT}"));
    let data = Some(Bytes::from_static(b"hi"));
    let read = Reply::DataStat(DataStat { data, stat: stat() });
    same(Opcode::GetData, &read, "0000005a", &format!("00000002 6869 {STAT}"));
    let read = Reply::DataStat(DataStat { data: None, stat: stat() });
    same(Opcode::GetData, &read, "00000058", &format!("ffffffff {STAT}"));
}

#[test]
fn replies_with_lists() {
    let children = Reply::Children(vec!["a", "bc"]);
    same(Opcode::GetChildren, &children, "0000001f", "00000002 00000001 61 00000002 6263");
    let children = Reply::ChildrenStat(ChildrenStat { children: vec![], stat: stat() });
    same(Opcode::GetChildren2, &children, "00000058", &format!("00000000 {STAT}"));
    let entry = Acl { permissions: Permissions::ALL, scheme: "ip", id: "::1" };
    let acl = Reply::AclStat(AclStat { acl: vec![entry], stat: stat() });
    let body = format!("00000001 0000001f 00000002 6970 00000003 3a3a31 {STAT}");
    same(Opcode::GetAcl, &acl, "00000069", &body);
    let known = Reply::WhoAmI(vec![ClientInfo { scheme: "ip", user: "::1" }]);
    same(Opcode::WhoAmI, &known, "00000021", "00000001 00000002 6970 00000003 3a3a31");
}

#[test]
fn add_watch_is_answered_with_a_body_that_says_ok() {
    same(Opcode::AddWatch, &Reply::Error(ZooKeeperError::Ok), "00000014", "00000000");
    same(Opcode::Delete, &Reply::Empty, "00000010", "");
}

#[test]
fn a_multi_that_was_done() {
    let results = vec![
        MultiResult::Create("/a"),
        MultiResult::Create2(PathStat { path: "/b", stat: stat() }),
        MultiResult::Delete,
        MultiResult::SetData(stat()),
        MultiResult::Check,
    ];
    let body = format!(
        "00000001 00 00000000 00000002 2f61 \
         0000000f 00 00000000 00000002 2f62 {STAT} \
         00000002 00 00000000 \
         00000005 00 00000000 {STAT} \
         0000000d 00 00000000 \
         ffffffff 01 ffffffff"
    );
    same(Opcode::Multi, &Reply::Multi(Multi(results)), "000000da", &body);
}

#[test]
fn a_multi_that_was_not_done() {
    let results = vec![
        MultiResult::Error(ZooKeeperError::Ok),
        MultiResult::Error(ZooKeeperError::NodeExists),
        MultiResult::Error(ZooKeeperError::RuntimeInconsistency),
    ];
    same(
        Opcode::Multi,
        &Reply::Multi(Multi(results)),
        "00000040",
        "ffffffff 00 00000000 00000000 \
         ffffffff 00 ffffff92 ffffff92 \
         ffffffff 00 fffffffe fffffffe \
         ffffffff 01 ffffffff",
    );
}

#[test]
fn several_reads_have_an_error_each() {
    let results = vec![
        MultiReadResult::GetChildren(vec!["a"]),
        MultiReadResult::Error(ZooKeeperError::NoNode),
    ];
    same(
        Opcode::MultiRead,
        &Reply::MultiRead(Multi(results)),
        "00000038",
        "00000008 00 00000000 00000001 00000001 61 \
         ffffffff 00 ffffff9b ffffff9b \
         ffffffff 01 ffffffff",
    );
}

#[test]
fn a_notification_tells_its_transaction() {
    let event =
        WatcherEvent { kind: EventKind::Deleted, state: WatcherState::SyncConnected, path: "/a" };
    let bytes = hex("0000001e ffffffff 0000000000000100 00000000 00000002 00000003 00000002 2f61");
    assert_eq!(sent(|out| encode_notification(out, 0x100, &event)), bytes);
    let header = ReplyHeader { xid: xid::NOTIFICATION, zxid: 0x100, error: ZooKeeperError::Ok };
    let expected = ServerMessage::Notification { header, event };
    assert_eq!(decode_reply(&bytes.slice(4..), |_| None), Ok(expected));
}

#[test]
fn an_error_is_a_header_alone() {
    let bytes = hex("00000010 00000003 0000000000000100 ffffff9b");
    assert_eq!(sent(|out| encode_error(out, 3, 0x100, ZooKeeperError::NoNode)), bytes);
    let header = ReplyHeader { xid: 3, zxid: 0x100, error: ZooKeeperError::NoNode };
    let expected = ServerMessage::Refused(header);
    assert_eq!(decode_reply(&bytes.slice(4..), |_| None), Ok(expected));
}

#[test]
fn replies_to_pings_proofs_and_watches_need_no_opcode() {
    for xid in [xid::PING, xid::AUTH, xid::SET_WATCHES] {
        let bytes = sent(|out| encode_reply(out, xid, 9, &Reply::Empty));
        let header = ReplyHeader { xid, zxid: 9, error: ZooKeeperError::Ok };
        let expected = ServerMessage::Reply { header, reply: Reply::Empty };
        assert_eq!(decode_reply(&bytes.slice(4..), |_| None), Ok(expected));
    }
}

#[test]
fn a_reply_to_no_request_and_an_error_that_zookeeper_does_not_have_are_refused() {
    let frame = sent(|out| encode_reply(out, 4, 9, &Reply::Empty)).slice(4..);
    let field = "ReplyHeader.xid";
    let error = DecodeError::UnknownNumber { field, number: 4 };
    assert_eq!(decode_reply(&frame, |_| None), Err(error));
    let frame = hex("00000003 0000000000000100 ffffff82");
    let field = "ReplyHeader.error";
    let error = DecodeError::UnknownNumber { field, number: -126 };
    assert_eq!(decode_reply(&frame, |_| None), Err(error));
}

#[test]
fn many_replies_go_out_as_one_piece() {
    let apart = [
        sent(|out| encode_reply(out, 1, 9, &Reply::Path("/a"))),
        sent(|out| encode_error(out, 2, 9, ZooKeeperError::NoAuth)),
    ];
    let together = sent(|out| {
        encode_reply(out, 1, 9, &Reply::Path("/a"));
        encode_error(out, 2, 9, ZooKeeperError::NoAuth);
    });
    assert_eq!(together, apart.concat());
}
