//! Streams in pieces, words, and lengths that are none.

use quorate_wire::zookeeper::{Cut, DecodeError, FourLetterWord, Frames, Received, cut};

const LIMIT: u32 = 1_048_575;

#[test]
fn frames_come_out_whole_however_the_stream_is_cut() {
    let stream = [0, 0, 0, 3, b'o', b'n', b'e', 0, 0, 0, 0, 0, 0, 0, 1, b'2'];
    for piece_bytes in 1..=stream.len() {
        let mut frames = Frames::new();
        let mut taken = Vec::new();
        for piece in stream.chunks(piece_bytes) {
            frames.received().extend_from_slice(piece);
            while let Some(Received::Frame(frame)) = frames.next(8).expect("frames") {
                taken.push(frame);
            }
        }
        assert_eq!(taken, [&b"one"[..], b"", b"2"], "pieces of {piece_bytes}");
        assert!(frames.received().is_empty());
    }
}

#[test]
fn the_front_of_a_stream_says_how_many_bytes_are_missing() {
    assert_eq!(cut(&[], true, LIMIT), Ok(Cut::More { bytes: 4 }));
    assert_eq!(cut(&[0, 0, 0], true, LIMIT), Ok(Cut::More { bytes: 1 }));
    assert_eq!(cut(&[0, 0, 0, 9], true, LIMIT), Ok(Cut::More { bytes: 9 }));
    assert_eq!(cut(&[0, 0, 0, 2, 1], true, LIMIT), Ok(Cut::More { bytes: 1 }));
    assert_eq!(cut(&[0, 0, 0, 1, 1, 2], true, LIMIT), Ok(Cut::Frame { bytes: 1 }));
    assert_eq!(cut(&[0, 0, 0, 0], true, LIMIT), Ok(Cut::Frame { bytes: 0 }));
}

#[test]
fn a_length_that_is_negative_or_above_the_limit_is_refused_at_once_and_for_good() {
    for (length, limit) in [(-1, LIMIT), (i32::MIN, u32::MAX), (9, 8), (i32::MAX, LIMIT)] {
        let error = DecodeError::FrameLength { length, limit };
        let mut frames = Frames::new();
        frames.received().extend_from_slice(&length.to_be_bytes());
        assert_eq!(frames.next(limit), Err(error));
        frames.received().extend_from_slice(&[0; 100]);
        assert_eq!(frames.next(limit), Err(error));
    }
    let mut frames = Frames::new();
    frames.received().extend_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(frames.next(u32::MAX), Ok(None));
    assert!(frames.received().capacity() < 1_024, "memory for bytes that have not come");
}

#[test]
fn words_stand_at_the_start_of_a_stream_only() {
    assert_eq!(FourLetterWord::ALL.len(), 18);
    for word in FourLetterWord::ALL {
        let letters = word.letters().as_bytes();
        let mut frames = Frames::new();
        frames.received().extend_from_slice(&letters[..3]);
        assert_eq!(frames.next(LIMIT), Ok(None));
        frames.received().extend_from_slice(&letters[3..]);
        assert_eq!(frames.next(LIMIT), Ok(Some(Received::Word(*word))));
        let mut frames = Frames::after_handshake();
        frames.received().extend_from_slice(letters);
        assert!(matches!(frames.next(LIMIT), Err(DecodeError::FrameLength { .. })));
    }
    let mut frames = Frames::new();
    frames.received().extend_from_slice(b"stmk\0\0\0\0\0\0\0\x02");
    assert_eq!(frames.next(LIMIT), Ok(Some(Received::Word(FourLetterWord::Stmk))));
    assert_eq!(frames.received().len(), 8);
    assert!(matches!(cut(b"ruin", true, LIMIT), Err(DecodeError::FrameLength { .. })));
}
