//! A running sum over everything that a run does, to compare two runs of one seed.
//!
//! Not for security: it only has to change when anything does.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    pub fn add(&mut self, words: &[u64]) {
        for word in words {
            self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(&[u64::from_le_bytes(*word)]);
        }
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(&[u64::from_le_bytes(last), bytes.len() as u64]);
    }

    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}
