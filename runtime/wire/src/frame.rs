//! Cuts a stream of bytes into frames: four bytes of length, little-endian, then that many bytes.
//!
//! Comes in: pieces of the stream, of any size. Goes out: the body of each frame, not copied again.
//! Invariant: a length above the limit is refused as soon as its four bytes are there, and nothing
//! is set aside for bytes that have not come. A broken stream stays broken: every later call gives
//! the same error, so that nothing after a wrong frame is ever believed.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::{Buf, Bytes, BytesMut};
use core::fmt;
use quorate_types::LayoutError;

/// Bytes of the length before each body.
pub(crate) const PREFIX_BYTES: usize = 4;

/// Why bytes are not a frame. The stream that brought them is to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length before the body is larger than allowed here.
    TooLong {
        /// Bytes claimed.
        bytes: u32,
        /// Bytes allowed.
        limit: u32,
    },
    /// The body is not the CBOR expected.
    Cbor {
        /// What was expected.
        what: &'static str,
        /// The codec's words, with the offset.
        reason: String,
    },
    /// The body is not the fixed layout expected.
    Layout(LayoutError),
    /// The first byte of the body names no kind of frame.
    UnknownKind {
        /// The byte.
        kind: u8,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { bytes, limit } => {
                write!(f, "a frame of {bytes} bytes is over the limit of {limit} bytes")
            }
            FrameError::Cbor { what, reason } => write!(f, "this is no {what}: {reason}"),
            FrameError::Layout(error) => write!(f, "this is no frame of a peer: {error}"),
            FrameError::UnknownKind { kind } => write!(f, "no frame has the kind {kind}"),
        }
    }
}

impl core::error::Error for FrameError {}

impl From<LayoutError> for FrameError {
    fn from(error: LayoutError) -> FrameError {
        FrameError::Layout(error)
    }
}

/// The received part of a stream that has not been taken as frames yet.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    received: BytesMut,
    broken: Option<FrameError>,
}

impl FrameBuffer {
    /// An empty buffer, at the start of a stream.
    #[must_use]
    pub fn new() -> FrameBuffer {
        FrameBuffer::default()
    }

    /// Adds the next piece of the stream. Take every frame before pushing again: then no more than
    /// one unfinished frame and one piece are ever held.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.received.extend_from_slice(bytes);
        }
    }

    /// Bytes received and not taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// Whether the stream so far ends between two frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// Takes the next frame, if it is there, and hands its body to `decode`. `limit` is in bytes of
    /// body.
    pub(crate) fn next<T>(
        &mut self,
        limit: u32,
        decode: impl FnOnce(Bytes) -> Result<T, FrameError>,
    ) -> Result<Option<T>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let next = self.next_body(limit).and_then(|body| body.map(decode).transpose());
        if let Err(error) = &next {
            self.broken = Some(error.clone());
            self.received = BytesMut::new();
        }
        next
    }

    fn next_body(&mut self, limit: u32) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = self.received.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let bytes = u32::from_le_bytes(*prefix);
        if bytes > limit {
            return Err(FrameError::TooLong { bytes, limit });
        }
        let body_bytes = usize::try_from(bytes).expect("usize has 32 bits or more");
        if self.received.len() - PREFIX_BYTES < body_bytes {
            return Ok(None);
        }
        self.received.advance(PREFIX_BYTES);
        Ok(Some(self.received.split_to(body_bytes).freeze()))
    }
}

/// Starts a frame of about `capacity` bytes: room for the length, filled in by [`finish`].
pub(crate) fn start(capacity: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(PREFIX_BYTES + capacity);
    frame.extend_from_slice(&[0; PREFIX_BYTES]);
    frame
}

/// Writes the length of the body at the front.
pub(crate) fn finish(mut frame: Vec<u8>) -> Vec<u8> {
    let body_bytes = frame.len() - PREFIX_BYTES;
    let length = u32::try_from(body_bytes).expect("limits keep frames below 4 GiB");
    if let Some(prefix) = frame.first_chunk_mut::<PREFIX_BYTES>() {
        *prefix = length.to_le_bytes();
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(body: Bytes) -> Result<Bytes, FrameError> {
        Ok(body)
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut() {
        let stream = [3, 0, 0, 0, b'o', b'n', b'e', 0, 0, 0, 0, 1, 0, 0, 0, b'2'];
        for piece_bytes in 1..=stream.len() {
            let mut buffer = FrameBuffer::new();
            let mut bodies = Vec::new();
            for piece in stream.chunks(piece_bytes) {
                buffer.push(piece);
                while let Some(body) = buffer.next(8, whole).unwrap() {
                    bodies.push(body);
                }
            }
            assert_eq!(bodies, [&b"one"[..], b"", b"2"], "pieces of {piece_bytes}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_body_comes_and_for_good() {
        let mut buffer = FrameBuffer::new();
        buffer.push(&[9, 0, 0, 0]);
        let error = FrameError::TooLong { bytes: 9, limit: 8 };
        assert_eq!(buffer.next(8, whole), Err(error.clone()));
        buffer.push(&[0; 100]);
        assert_eq!((buffer.next(8, whole), buffer.len()), (Err(error), 0));
    }

    #[test]
    fn a_claimed_length_sets_no_memory_aside() {
        let mut buffer = FrameBuffer::new();
        buffer.push(&[0xff; 4]);
        assert_eq!(buffer.next(u32::MAX, whole), Ok(None));
        assert!(buffer.received.capacity() < 1_024);
    }
}
