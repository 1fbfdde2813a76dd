//! A short run of the ZooKeeper target, and proofs that a run can fail.

use bytes::Bytes;
use quorate_fuzz::allocation::{Counting, peak_of};
use quorate_fuzz::run::{Failure, run};
use quorate_fuzz::target::Target;
use quorate_fuzz::zookeeper::TARGET;
use quorate_wire::zookeeper::{
    Multi, MultiOperation, Opcode, PathVersion, Request, decode_reply, decode_request,
    encode_request,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn two_hundred_thousand_spoilt_inputs_break_no_promise() {
    let seed = 20_261_123;
    let figures = run(&TARGET, seed, 0..200_000, |_| {}).unwrap_or_else(|failure| {
        panic!("seed {seed}: {failure}");
    });
    assert_eq!(figures.executions, 200_000);
    assert!(figures.messages > 20_000 && figures.messages < 180_000, "{figures:?}");
    assert!(figures.memory_max > 0, "the memory is not measured");
}

/// Bytes of a frame as large as ZooKeeper takes by default.
const FRAME_BYTES: usize = 1_048_575;

/// A frame that begins so and is as large as it may be.
fn frame_of(mut front: Vec<u8>) -> Bytes {
    front.resize(FRAME_BYTES, 0);
    Bytes::from(front)
}

#[test]
fn a_count_that_is_only_claimed_sets_nothing_aside() {
    for opcode in Opcode::ALL {
        for count in [i32::MAX, i32::MAX / 4, FRAME_BYTES as i32] {
            let claims = count.to_be_bytes().repeat(10);
            let request = [[0, 0, 0, 1], opcode.number().to_be_bytes()].concat();
            let path = b"\0\0\0\x02/a".to_vec();
            // The claims stand wherever a count or a length can: behind the header, or a path.
            for front in [request.clone(), [request, path].concat()] {
                let frame = frame_of([front, claims.clone()].concat());
                let (_, memory) = peak_of(|| decode_request(&frame).is_ok());
                assert!(memory < 1_024, "request {opcode:?}: {memory} bytes");
            }
            let frame = frame_of([vec![0; 16], claims].concat());
            let (_, memory) = peak_of(|| decode_reply(&frame, |_| Some(*opcode)).is_ok());
            assert!(memory < 1_024, "reply {opcode:?}: {memory} bytes");
        }
    }
}

#[test]
fn a_frame_full_of_the_smallest_operations_takes_a_small_multiple_of_its_bytes() {
    let delete = MultiOperation::Delete(PathVersion { path: "", version: -1 });
    let mut sent = Vec::new();
    let items = vec![delete; FRAME_BYTES / 17 - 2];
    encode_request(&mut sent, 1, &Request::Multi(Multi(items)));
    let frame = Bytes::from(sent).slice(4..);
    assert!(frame.len() <= FRAME_BYTES && frame.len() > FRAME_BYTES - 100);
    let (read, memory) = peak_of(|| decode_request(&frame).is_ok());
    assert!(read && memory <= 20 * frame.len(), "{memory} bytes for {}", frame.len());
}

fn failure_of(execute: fn(&Bytes) -> Result<bool, String>) -> Failure {
    let target = Target { execute, ..TARGET };
    let failure = *run(&target, 5, 0..10_000, |_| {}).expect_err("the promise is broken");
    let again = run(&target, 5, failure.execution..failure.execution + 1, |_| {});
    assert_eq!(again.expect_err("it fails alone too"), Box::new(failure.clone()));
    failure
}

#[test]
fn a_decoder_that_believes_a_count_is_found() {
    let failure = failure_of(|input| {
        let Some(count) = input.get(10..14).and_then(|bytes| bytes.try_into().ok()) else {
            return Ok(false);
        };
        let count = usize::try_from(i32::from_be_bytes(count)).unwrap_or(0).min(1 << 24);
        Ok(Vec::<u8>::with_capacity(count).capacity() > 0)
    });
    assert!(failure.what.contains("bytes of memory"), "{failure}");
}

#[test]
fn a_decoder_that_panics_is_found() {
    let failure = failure_of(|input| Ok(input[40] == 0));
    assert!(failure.what.contains("panic"), "{failure}");
    assert!(failure.to_string().contains("--seed 5 --first"), "{failure}");
}

#[test]
fn a_message_that_is_read_differently_again_is_found() {
    let failure =
        failure_of(
            |input| {
                if input.len() > 300 { Err(String::from("another message")) } else { Ok(true) }
            },
        );
    assert_eq!(failure.what, "another message");
}
