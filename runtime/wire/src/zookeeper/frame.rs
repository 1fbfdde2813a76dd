//! Cuts a TCP stream into frames, and knows the words that stand in the place of the first one.
//!
//! Comes in: the part of the stream received so far. Goes out: what its front is, and frames that
//! are slices of what was received. Invariant: a length that is negative or above the limit is
//! refused as soon as its four bytes are there, and is refused again whenever asked; nothing is set
//! aside for bytes that have not come. Must never take a word anywhere but at the start of a stream.

use super::record::DecodeError;
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length before each frame, and of a word.
const PREFIX_BYTES: usize = 4;

macro_rules! words {
    ($( $(#[$doc:meta])* $variant:ident = $text:literal, )*) => {
        /// A question in four letters, without a session. It is answered with text, and the
        /// connection is closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FourLetterWord { $( $(#[$doc])* $variant, )* }

        impl FourLetterWord {
            /// All of them, in the order of the table.
            pub const ALL: &'static [FourLetterWord] = &[$( FourLetterWord::$variant, )*];

            /// Its letters.
            #[must_use]
            pub fn letters(self) -> &'static str {
                match self { $( FourLetterWord::$variant => $text, )* }
            }

            /// The word with these letters.
            #[must_use]
            pub fn from_letters(letters: &[u8]) -> Option<FourLetterWord> {
                FourLetterWord::ALL.iter().copied().find(|word| word.letters().as_bytes() == letters)
            }
        }
    };
}

words! {
    /// The server's configuration.
    Conf = "conf",
    /// Every connection with its figures.
    Cons = "cons",
    /// Sets the figures of connections to zero.
    Crst = "crst",
    /// Bytes of snapshots and logs.
    Dirs = "dirs",
    /// Sessions and their ephemerals.
    Dump = "dump",
    /// The environment.
    Envi = "envi",
    /// The trace mask.
    Gtmk = "gtmk",
    /// Is the server there?
    Ruok = "ruok",
    /// Sets the trace mask, to 8 bytes that follow.
    Stmk = "stmk",
    /// Sets the server's figures to zero.
    Srst = "srst",
    /// The server's figures.
    Srvr = "srvr",
    /// The server's figures and connections.
    Stat = "stat",
    /// Watches by session.
    Wchc = "wchc",
    /// Watches by path.
    Wchp = "wchp",
    /// How many watches.
    Wchs = "wchs",
    /// Figures for monitoring.
    Mntr = "mntr",
    /// Does the server only read?
    Isro = "isro",
    /// The digests of the tree.
    Hash = "hash",
}

/// What the front of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Part of a frame, or of a word.
    More {
        /// Bytes missing at least.
        bytes: usize,
    },
    /// A whole frame.
    Frame {
        /// Bytes of the frame behind the four of its length.
        bytes: usize,
    },
    /// A word of four bytes.
    Word(FourLetterWord),
}

/// Says what the front of `received` is. `first`: it is the start of the stream, where a word can
/// stand. `limit`: bytes allowed in a frame behind its length.
///
/// # Errors
/// [`DecodeError::FrameLength`]: the length is negative or above the limit; the stream is to be closed.
pub fn cut(received: &[u8], first: bool, limit: u32) -> Result<Cut, DecodeError> {
    let Some(prefix) = received.first_chunk::<PREFIX_BYTES>() else {
        return Ok(Cut::More { bytes: PREFIX_BYTES - received.len() });
    };
    if first && let Some(word) = FourLetterWord::from_letters(prefix) {
        return Ok(Cut::Word(word));
    }
    let length = i32::from_be_bytes(*prefix);
    let bytes = u32::try_from(length)
        .ok()
        .filter(|bytes| *bytes <= limit)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or(DecodeError::FrameLength { length, limit })?;
    let there = received.len() - PREFIX_BYTES;
    Ok(if there < bytes { Cut::More { bytes: bytes - there } } else { Cut::Frame { bytes } })
}

/// What was taken from the front of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A frame, without its length.
    Frame(Bytes),
    /// A word. What follows it is in [`Frames::received`].
    Word(FourLetterWord),
}

/// The received part of a stream that has not been taken yet.
#[derive(Debug)]
pub struct Frames {
    received: BytesMut,
    first: bool,
}

impl Frames {
    /// At the start of a stream from a client: a word can come.
    #[must_use]
    pub fn new() -> Frames {
        Frames { received: BytesMut::new(), first: true }
    }

    /// Behind the first frame, or on the client's side: frames only.
    #[must_use]
    pub fn after_handshake() -> Frames {
        Frames { received: BytesMut::new(), first: false }
    }

    /// Where the next bytes of the stream go, at the end. Take every frame before adding again: then
    /// no more than one unfinished frame and one piece are ever held.
    pub fn received(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// Takes the next frame or word, not copied; `None`: not all of it is there yet. `limit`: bytes
    /// allowed in a frame behind its length.
    ///
    /// # Errors
    /// [`DecodeError::FrameLength`], and the same from then on; the stream is to be closed.
    pub fn next(&mut self, limit: u32) -> Result<Option<Received>, DecodeError> {
        let taken = match cut(&self.received, self.first, limit)? {
            Cut::More { .. } => return Ok(None),
            Cut::Word(word) => {
                self.received.advance(PREFIX_BYTES);
                Received::Word(word)
            }
            Cut::Frame { bytes } => {
                self.received.advance(PREFIX_BYTES);
                Received::Frame(self.received.split_to(bytes).freeze())
            }
        };
        self.first = false;
        Ok(Some(taken))
    }
}

impl Default for Frames {
    fn default() -> Frames {
        Frames::new()
    }
}
