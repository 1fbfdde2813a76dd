//! What holds for every message: it survives the wire, and part of it is an error, not a panic.

use crate::sent;
use bytes::Bytes;
use quorate_fuzz::random::Random;
use quorate_fuzz::zookeeper::sample;
use quorate_wire::zookeeper::{
    DecodeError, MultiOperation, Opcode, ReplyHeader, Request, RequestHeader, ServerMessage,
    ZooKeeperError, decode_connect_request, decode_connect_response, decode_reply, decode_request,
    encode_connect_request, encode_connect_response, encode_notification, encode_reply,
    encode_request,
};

const ROUNDS: u64 = 100;

/// Runs `check` for every opcode, with other numbers each time.
fn for_every_opcode(check: impl Fn(&mut Random, Opcode)) {
    for seed in 0..ROUNDS {
        for opcode in Opcode::ALL {
            let mut random = Random::of_execution(seed, opcode.number() as u64);
            check(&mut random, *opcode);
        }
    }
}

/// A frame without its length, and every part of it from the front.
fn with_parts(sent: &Bytes) -> (Bytes, impl Iterator<Item = Bytes> + use<>) {
    let whole = sent.slice(4..);
    let parts = whole.clone();
    (whole, (0..parts.len()).map(move |bytes| parts.slice(..bytes)))
}

#[test]
fn requests_survive_the_wire_and_parts_of_them_are_short() {
    for_every_opcode(|random, opcode| {
        let request = sample::request_of(random, opcode);
        let (whole, parts) = with_parts(&sent(|out| encode_request(out, -5, &request)));
        let header = RequestHeader { xid: -5, opcode: request.opcode() };
        assert_eq!(decode_request(&whole), Ok((header, request)));
        for part in parts {
            let error = decode_request(&part).expect_err("a part");
            assert!(matches!(error, DecodeError::Short { .. }), "{error}");
        }
    });
}

#[test]
fn replies_survive_the_wire_and_parts_of_them_are_short() {
    for_every_opcode(|random, opcode| {
        let reply = sample::reply(random, opcode);
        let (whole, parts) = with_parts(&sent(|out| encode_reply(out, 5, 77, &reply)));
        let header = ReplyHeader { xid: 5, zxid: 77, error: ZooKeeperError::Ok };
        let decoded = decode_reply(&whole, |_| Some(opcode));
        assert_eq!(decoded, Ok(ServerMessage::Reply { header, reply }));
        for part in parts {
            let error = decode_reply(&part, |_| Some(opcode)).expect_err("a part");
            assert!(matches!(error, DecodeError::Short { .. }), "{error}");
        }
    });
}

#[test]
fn notifications_survive_the_wire_and_parts_of_them_are_short() {
    for seed in 0..ROUNDS {
        let event = sample::event(&mut Random::new(seed));
        let (whole, parts) = with_parts(&sent(|out| encode_notification(out, 7, &event)));
        let decoded = decode_reply(&whole, |_| None);
        assert!(
            matches!(decoded, Ok(ServerMessage::Notification { event: ref second, .. }) if *second == event),
            "{decoded:?}"
        );
        for part in parts {
            let error = decode_reply(&part, |_| None).expect_err("a part");
            assert!(matches!(error, DecodeError::Short { .. }), "{error}");
        }
    }
}

#[test]
fn handshakes_survive_the_wire_and_parts_of_them_are_short_or_lack_the_last_flag() {
    for seed in 0..ROUNDS {
        let mut random = Random::new(seed);
        let request = sample::connect_request(&mut random);
        let (whole, parts) = with_parts(&sent(|out| encode_connect_request(out, &request)));
        assert_eq!(decode_connect_request(&whole), Ok(request.clone()));
        for part in parts {
            match decode_connect_request(&part) {
                Ok(older) => {
                    assert_eq!(part.len() + 1, whole.len());
                    assert_eq!((older.read_only, request.read_only.is_some()), (None, true));
                }
                Err(error) => assert!(matches!(error, DecodeError::Short { .. }), "{error}"),
            }
        }
        let response = sample::connect_response(&mut random);
        let (whole, _) = with_parts(&sent(|out| encode_connect_response(out, &response)));
        assert_eq!(decode_connect_response(&whole), Ok(response));
    }
}

/// A frame of so many opcodes, counts and lengths that the bytes do not bear out.
fn request_frame(opcode: Opcode, body: &[&[u8]]) -> Bytes {
    let header = [1_i32.to_be_bytes(), opcode.number().to_be_bytes()].concat();
    Bytes::from([header, body.concat()].concat())
}

#[test]
fn counts_and_lengths_are_not_believed() {
    let path = b"\0\0\0\x02/a".as_slice();
    for hostile in [i32::MAX, i32::MAX / 12, 1_000, 1] {
        let count = hostile.to_be_bytes();
        let refused = |frame: Bytes, field| {
            let error = decode_request(&frame).expect_err("a claim");
            assert_eq!(error, DecodeError::Short { field }, "{hostile}");
        };
        refused(request_frame(Opcode::GetData, &[&count]), "Read.path");
        refused(request_frame(Opcode::SetData, &[path, &count]), "SetData.data");
        refused(request_frame(Opcode::SetAcl, &[path, &count, &[0; 11]]), "SetAcl.acl");
        refused(request_frame(Opcode::SetWatches, &[&[0; 8], &count]), "SetWatches.data");
    }
    for negative in [-2, i32::MIN] {
        let frame = request_frame(Opcode::SetAcl, &[path, &i32::to_be_bytes(negative)]);
        let error = DecodeError::Negative { field: "SetAcl.acl", length: negative };
        assert_eq!(decode_request(&frame), Err(error));
    }
}

#[test]
fn text_that_is_not_utf8_names_its_field() {
    let frame = request_frame(Opcode::GetData, &[b"\0\0\0\x01\xff\0"]);
    assert_eq!(decode_request(&frame), Err(DecodeError::NotText { field: "Read.path" }));
}

#[test]
fn an_operation_that_cannot_stand_in_a_multi_is_an_error() {
    for (opcode, inside) in [
        (Opcode::Multi, Opcode::GetData),
        (Opcode::MultiRead, Opcode::Create),
        (Opcode::Multi, Opcode::Multi),
    ] {
        let number = inside.number();
        let frame = request_frame(opcode, &[&number.to_be_bytes(), &[0; 40]]);
        let field = if opcode == Opcode::Multi { "Request::Multi" } else { "Request::MultiRead" };
        assert_eq!(decode_request(&frame), Err(DecodeError::UnknownNumber { field, number }));
    }
}

#[test]
fn a_multi_of_the_smallest_items_is_read_whole() {
    let item = [&Opcode::Delete.number().to_be_bytes()[..], &[0; 5], &[0; 8]].concat();
    let end = [0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0];
    let frame = request_frame(Opcode::Multi, &[&item.repeat(50_000), &end]);
    let Ok((_, Request::Multi(multi))) = decode_request(&frame) else { panic!("a multi") };
    assert_eq!(multi.0.len(), 50_000);
    let bytes = multi.0.capacity() * size_of::<MultiOperation<'_>>();
    assert!(bytes <= 16 * frame.len(), "{bytes} bytes for {}", frame.len());
}

#[test]
fn every_number_stands_for_itself() {
    for opcode in Opcode::ALL {
        assert_eq!(Opcode::from_number(opcode.number()), Some(*opcode));
    }
    for error in ZooKeeperError::ALL {
        assert_eq!(ZooKeeperError::from_number(error.number()), Some(*error));
    }
    assert_eq!((Opcode::ALL.len(), ZooKeeperError::ALL.len()), (32, 32));
    assert_eq!(ZooKeeperError::from_number(-126), None);
}
