//! The ZooKeeper protocol as a target: frames of both sides, and streams of them.
//!
//! Comes in: an input of two bytes, which say how to read it, and a frame or a stream. Goes out:
//! whether it is a message, or the promise broken. The promises: a message that was read is no longer
//! when written, and is itself when read again.

pub mod sample;
pub mod stored;

use crate::random::Random;
use crate::spoil::BYTES_MAX;
use crate::target::Target;
use bytes::Bytes;
use quorate_wire::zookeeper::{
    DecodeError, Frames, Multi, MultiOperation, MultiResult, Opcode, PathVersion, Received, Reply,
    Request, ServerMessage, SetWatches, decode_connect_request, decode_connect_response,
    decode_reply, decode_request, encode_connect_request, encode_connect_response, encode_error,
    encode_notification, encode_reply, encode_request,
};

/// The row of the table of targets.
pub const TARGET: Target = Target {
    name: "zookeeper",
    corpus,
    execute,
    // The worst are replies to multis: an item is 9 bytes or more on the wire and about 100 in memory;
    // a list that grows is there twice for a moment, the second time with up to twice the room it
    // needs. And every message is there once more, read again.
    memory_factor: 64,
    memory_base: 1_024,
};

/// Bytes of a length before a frame.
const PREFIX_BYTES: usize = 4;
/// Frames above this are refused in streams.
const FRAME_LIMIT: u32 = 4_096;
/// Messages of each kind in the corpus.
const SAMPLES: usize = 400;

/// First byte of an input, modulo 5.
const REQUEST: u8 = 0;
const REPLY: u8 = 1;
const CONNECT_REQUEST: u8 = 2;
const CONNECT_RESPONSE: u8 = 3;
const STREAM: u8 = 4;

fn corpus(random: &mut Random) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for _ in 0..SAMPLES {
        inputs.push(input(
            REQUEST,
            0,
            &frame(|out| {
                encode_request(out, 1, &sample::request(random));
            }),
        ));
        let opcode = random.below(Opcode::ALL.len());
        let reply = sample::reply(random, Opcode::ALL[opcode]);
        inputs.push(input(REPLY, opcode as u8, &frame(|out| encode_reply(out, 1, 2, &reply))));
    }
    for _ in 0..SAMPLES / 8 {
        let event = sample::event(random);
        inputs.push(input(REPLY, 0, &frame(|out| encode_notification(out, 1, &event))));
        inputs.push(input(
            CONNECT_REQUEST,
            0,
            &frame(|out| {
                encode_connect_request(out, &sample::connect_request(random));
            }),
        ));
        inputs.push(input(
            CONNECT_RESPONSE,
            0,
            &frame(|out| {
                encode_connect_response(out, &sample::connect_response(random));
            }),
        ));
        inputs.push(input(STREAM, random.next() as u8, &stream(random)));
    }
    inputs.extend(large());
    inputs.push(input(STREAM, 0, b"ruok"));
    inputs.push(input(STREAM, 3, b"stmk\0\0\0\0\0\0\0\x02"));
    inputs
}

/// Many of the smallest items: what takes the most memory for its bytes.
fn large() -> Vec<Vec<u8>> {
    let delete = MultiOperation::Delete(PathVersion { path: "", version: -1 });
    let multi = Request::Multi(Multi(vec![delete; 300]));
    let paths = vec![""; 300];
    let (data, exist, child) = (paths.clone(), paths.clone(), paths.clone());
    let watches = Request::SetWatches(SetWatches { relative_zxid: 1, data, exist, child });
    let results = Reply::Multi(Multi(vec![MultiResult::Check; 300]));
    let opcode_index = |wanted| Opcode::ALL.iter().position(|opcode| *opcode == wanted);
    let reply = |opcode, reply: &Reply<'_>| {
        let how = opcode_index(opcode).unwrap_or_default() as u8;
        input(REPLY, how, &frame(|out| encode_reply(out, 1, 2, reply)))
    };
    vec![
        input(REQUEST, 0, &frame(|out| encode_request(out, 1, &multi))),
        input(REQUEST, 0, &frame(|out| encode_request(out, 1, &watches))),
        reply(Opcode::Multi, &results),
        reply(Opcode::GetChildren, &Reply::Children(paths)),
    ]
}

fn input(kind: u8, how: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, how];
    bytes.extend_from_slice(rest);
    bytes.truncate(BYTES_MAX);
    bytes
}

/// A frame without its length.
fn frame(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes.split_off(PREFIX_BYTES)
}

fn stream(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_connect_request(&mut bytes, &sample::connect_request(random));
    for _ in 0..random.below(4) {
        encode_request(&mut bytes, 1, &sample::request(random));
    }
    bytes
}

fn execute(input: &Bytes) -> Result<bool, String> {
    let [kind, how, ..] = **input else { return Ok(false) };
    let frame = input.slice(2..);
    match kind % 5 {
        REQUEST => request(&frame),
        REPLY => reply(&frame, Opcode::ALL[usize::from(how) % Opcode::ALL.len()]),
        CONNECT_REQUEST => read_again(&frame, decode_connect_request, encode_connect_request),
        CONNECT_RESPONSE => read_again(&frame, decode_connect_response, encode_connect_response),
        _ => frames(&frame, usize::from(how) + 1),
    }
}

/// Holds both promises for one message.
fn read_again<T: PartialEq>(
    bytes: &Bytes,
    decode: impl Fn(&Bytes) -> Result<T, DecodeError>,
    encode: impl Fn(&mut Vec<u8>, &T),
) -> Result<bool, String> {
    let Ok(message) = decode(bytes) else { return Ok(false) };
    let again = Bytes::from(frame(|out| encode(out, &message)));
    if again.len() > bytes.len() {
        return Err(format!("{} bytes became {}", bytes.len(), again.len()));
    }
    match decode(&again) {
        Ok(second) if second == message => Ok(true),
        Ok(_) => Err(format!("written and read again it is another message: {again:02x?}")),
        Err(error) => Err(format!("written it cannot be read again: {error}: {again:02x?}")),
    }
}

fn request(bytes: &Bytes) -> Result<bool, String> {
    let Ok((header, request)) = decode_request(bytes) else { return Ok(false) };
    let again = Bytes::from(frame(|out| encode_request(out, header.xid, &request)));
    if again.len() > bytes.len() {
        return Err(format!("{} bytes became {}", bytes.len(), again.len()));
    }
    match decode_request(&again) {
        Ok(second) if second == (header, request) => Ok(true),
        other => Err(format!("written and read again: {other:?}: {again:02x?}")),
    }
}

fn reply(bytes: &Bytes, opcode: Opcode) -> Result<bool, String> {
    let Ok(message) = decode_reply(bytes, |_| Some(opcode)) else { return Ok(false) };
    let again = Bytes::from(frame(|out| match &message {
        ServerMessage::Notification { header, event } => {
            encode_notification(out, header.zxid, event);
        }
        ServerMessage::Refused(header) => encode_error(out, header.xid, header.zxid, header.error),
        ServerMessage::Reply { header, reply } => {
            encode_reply(out, header.xid, header.zxid, reply);
        }
    }));
    if again.len() > bytes.len() {
        return Err(format!("{} bytes became {}", bytes.len(), again.len()));
    }
    match (decode_reply(&again, |_| Some(opcode)), &message) {
        // A notification has no error; one that came with it is written without.
        (
            Ok(ServerMessage::Notification { event: second, .. }),
            ServerMessage::Notification { event, .. },
        ) if second == *event => Ok(true),
        (Ok(second), message) if second == *message => Ok(true),
        (other, _) => Err(format!("written and read again: {other:?}: {again:02x?}")),
    }
}

/// Cuts a stream that comes in pieces of so many bytes.
fn frames(stream: &Bytes, piece_bytes: usize) -> Result<bool, String> {
    let mut frames = Frames::new();
    let (mut taken, mut any) = (0, false);
    for piece in stream.chunks(piece_bytes) {
        frames.received().extend_from_slice(piece);
        loop {
            match frames.next(FRAME_LIMIT) {
                Ok(None) => break,
                Ok(Some(Received::Word(_))) if taken == 0 => taken += PREFIX_BYTES,
                Ok(Some(Received::Word(_))) => return Err(String::from("a word inside a stream")),
                Ok(Some(Received::Frame(frame))) => {
                    let start = taken + PREFIX_BYTES;
                    taken = start + frame.len();
                    if stream.get(start..taken) != Some(&*frame) {
                        return Err(format!("the frame before byte {taken} is not what was sent"));
                    }
                    any |= request(&frame)?;
                }
                Err(error) if frames.next(FRAME_LIMIT) == Err(error) => return Ok(any),
                Err(error) => return Err(format!("the stream is broken only once: {error}")),
            }
        }
    }
    Ok(any)
}
