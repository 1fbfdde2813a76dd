//! What clients send, byte by byte: written by hand from the protocol, and made by kazoo 2.11.

use crate::{hex, sent};
use bytes::Bytes;
use quorate_types::Permissions;
use quorate_wire::zookeeper::{
    Acl, Auth, ConnectRequest, Create, Multi, MultiOperation, PathVersion, Read, Reconfig, Request,
    RequestHeader, Secret, SetAcl, SetData, SetWatches2, decode_connect_request, decode_request,
    encode_connect_request, encode_request, xid,
};

fn buffer(bytes: &'static [u8]) -> Option<Bytes> {
    Some(Bytes::from_static(bytes))
}

fn acl() -> Vec<Acl<'static>> {
    vec![
        Acl { permissions: Permissions::ALL, scheme: "world", id: "anyone" },
        Acl { permissions: Permissions(3), scheme: "digest", id: "bob:x" },
    ]
}

/// The bytes are the request, and the request is the bytes.
#[track_caller]
fn same(xid: i32, request: &Request<'_>, digits: &str) {
    let bytes = hex(digits);
    assert_eq!(sent(|out| encode_request(out, xid, request)), bytes);
    let header = RequestHeader { xid, opcode: request.opcode() };
    let frame = bytes.slice(4..);
    assert_eq!(decode_request(&frame), Ok((header, request.clone())));
}

fn connect(read_only: Option<bool>) -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0x1122_3344_5566_7788,
        timeout_ms: 10_000,
        session_id: 0x0102_0304_0506_0708,
        password: Secret(Some((0..16).collect())),
        read_only,
    }
}

const CONNECT: &str = "00000000 1122334455667788 00002710 0102030405060708 \
                       00000010 000102030405060708090a0b0c0d0e0f";

#[test]
fn a_connect_request_has_45_bytes_or_44_without_the_last_flag() {
    for (read_only, length, flag) in
        [(None, "0000002c", ""), (Some(false), "0000002d", "00"), (Some(true), "0000002d", "01")]
    {
        let bytes = hex(&format!("{length} {CONNECT} {flag}"));
        assert_eq!(sent(|out| encode_connect_request(out, &connect(read_only))), bytes);
        assert_eq!(decode_connect_request(&bytes.slice(4..)), Ok(connect(read_only)));
    }
}

#[test]
fn a_debug_print_shows_no_password() {
    let printed = format!("{:?}", connect(None));
    assert!(printed.contains("password: Secret { .. }"), "{printed}");
}

#[test]
fn set_watches2_has_five_lists() {
    let request = Request::SetWatches2(SetWatches2 {
        relative_zxid: 5,
        data: vec!["/a"],
        exist: vec![],
        child: vec!["/b", "/c"],
        persistent: vec![],
        persistent_recursive: vec!["/"],
    });
    same(
        xid::SET_WATCHES,
        &request,
        "0000003b fffffff8 00000069 0000000000000005 \
         00000001 00000002 2f61 \
         00000000 \
         00000002 00000002 2f62 00000002 2f63 \
         00000000 \
         00000001 00000001 2f",
    );
}

#[test]
fn get_data_and_a_request_without_a_body() {
    let get = Request::GetData(Read { path: "/ab", watch: true });
    same(1, &get, "00000010 00000001 00000004 00000003 2f6162 01");
    same(2, &Request::WhoAmI, "00000008 00000002 0000006b");
}

#[test]
fn nothing_is_copied_out_of_the_frame() {
    let request = Request::SetData(SetData { path: "/a", data: buffer(b"data"), version: -1 });
    let frame = sent(|out| encode_request(out, 1, &request)).slice(4..);
    let inside = frame.as_ptr_range();
    let Ok((_, Request::SetData(SetData { path, data: Some(data), .. }))) = decode_request(&frame)
    else {
        panic!("a request that sets data");
    };
    assert!(inside.contains(&path.as_ptr()) && inside.contains(&data.as_ptr()));
}

#[test]
fn null_is_empty_where_zookeeper_does_not_tell_them_apart_and_bytes_behind_are_passed_over() {
    let frame = hex("00000001 00000007 ffffffff ffffffff ffffffff 0102");
    let expected = Request::SetAcl(SetAcl { path: "", acl: vec![], version: -1 });
    assert_eq!(decode_request(&frame).map(|(_, request)| request), Ok(expected));
}

#[test]
fn numbers_of_no_request_are_unknown_and_no_error() {
    for number in [0, -1, 10, 23, 99, 108, i32::MIN] {
        let frame = [7_i32.to_be_bytes(), number.to_be_bytes()].concat();
        let decoded = decode_request(&Bytes::from(frame)).map(|(_, request)| request.opcode());
        assert_eq!(decoded, Ok(number));
    }
}

#[test]
fn kazoo_connects() {
    let bytes = hex(
        "0000002d00000000112233445566778800002710010203040506070800000010000102030405060708090a0b0c\
         0d0e0f01",
    );
    assert_eq!(sent(|out| encode_connect_request(out, &connect(Some(true)))), bytes);
}

#[test]
fn kazoo_creates() {
    let data = buffer(b"hello");
    same(
        7,
        &Request::Create(Create { path: "/größe", data, acl: acl(), mode: 3 }),
        "000000530000000700000001000000082f6772c3b6c39f650000000568656c6c6f000000020000001f00000005\
         776f726c6400000006616e796f6e65000000030000000664696765737400000005626f623a7800000003",
    );
    let acl = acl()[..1].to_vec();
    same(
        7,
        &Request::Create2(Create { path: "/a", data: buffer(b""), acl, mode: 0 }),
        "00000031000000070000000f000000022f6100000000000000010000001f00000005776f726c6400000006616e\
         796f6e6500000000",
    );
}

#[test]
fn kazoo_reads() {
    let left = Read { path: "/a", watch: false };
    same(7, &Request::Exists(left), "0000000f0000000700000003000000022f6100");
    let watched = Read { path: "/a", watch: true };
    same(7, &Request::GetData(watched), "0000000f0000000700000004000000022f6101");
    let top = Read { path: "/", watch: false };
    same(7, &Request::GetChildren(top), "0000000e0000000700000008000000012f00");
    let top = Read { path: "/", watch: true };
    same(7, &Request::GetChildren2(top), "0000000e000000070000000c000000012f01");
    same(7, &Request::GetAcl("/a"), "0000000e0000000700000006000000022f61");
    same(7, &Request::Sync("/a"), "0000000e0000000700000009000000022f61");
}

#[test]
fn kazoo_writes() {
    let any = PathVersion { path: "/a", version: -1 };
    same(7, &Request::Delete(any), "000000120000000700000002000000022f61ffffffff");
    same(
        7,
        &Request::SetData(SetData { path: "/a", data: buffer(b"\0\x01\x02"), version: 5 }),
        "000000190000000700000005000000022f610000000300010200000005",
    );
    same(
        7,
        &Request::SetAcl(SetAcl { path: "/a", acl: acl(), version: 2 }),
        "000000440000000700000007000000022f61000000020000001f00000005776f726c6400000006616e796f6e65\
         000000030000000664696765737400000005626f623a7800000002",
    );
    same(
        7,
        &Request::Reconfig(Reconfig {
            joining: Some("server.4=h:1:2;3"),
            leaving: Some("2,3"),
            new_members: None,
            config_id: -1,
        }),
        "0000002f0000000700000010000000107365727665722e343d683a313a323b3300000003322c33ffffffffffff\
         ffffffffffff",
    );
}

#[test]
fn kazoo_commits_a_transaction() {
    let operations = vec![
        MultiOperation::Create(Create { path: "/a", data: buffer(b"hi"), acl: acl(), mode: 1 }),
        MultiOperation::Delete(PathVersion { path: "/b", version: 3 }),
        MultiOperation::SetData(SetData { path: "/c", data: buffer(b"\0\xff"), version: -1 }),
        MultiOperation::Check(PathVersion { path: "/d", version: 7 }),
    ];
    same(
        7,
        &Request::Multi(Multi(operations)),
        "0000009b000000070000000e0000000100ffffffff000000022f61000000026869000000020000001f00000005\
         776f726c6400000006616e796f6e65000000030000000664696765737400000005626f623a7800000001000000\
         0200ffffffff000000022f62000000030000000500ffffffff000000022f630000000200ffffffffff0000000d\
         00ffffffff000000022f6400000007ffffffff01ffffffff",
    );
}

#[test]
fn kazoo_proves_an_identity_pings_and_closes() {
    let auth = Auth { kind: 0, scheme: "digest", auth: Secret(buffer(b"bob:secret")) };
    same(
        xid::AUTH,
        &Request::Auth(auth),
        "00000024fffffffc0000006400000000000000066469676573740000000a626f623a736563726574",
    );
    let token = Secret(buffer(b"token"));
    same(7, &Request::Sasl(token), "00000011000000070000006600000005746f6b656e");
    same(xid::PING, &Request::Ping, "00000008fffffffe0000000b");
    same(7, &Request::CloseSession, "0000000800000007fffffff5");
}
