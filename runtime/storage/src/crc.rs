//! Checksums: CRC-32C over frames and chunks, CRC-64/XZ over whole snapshot files.
//!
//! Comes in: bytes. Goes out: a number that changes when any burst of bytes up to its width does.
//! Both are computed eight bytes at a time from tables built at compile time, because this room may
//! not name a processor instruction. Must never: be used against an adversary; it finds accidents.

/// Castagnoli's polynomial, bits reversed (RFC 3720, section 12.1).
const POLYNOMIAL_32: u32 = 0x82f6_3b78;
/// The polynomial of ECMA-182, bits reversed, as in the .xz format.
const POLYNOMIAL_64: u64 = 0xc96c_5795_d787_0f42;

static TABLES_32: [[u32; 256]; 8] = tables_32();
static TABLES_64: [[u64; 256]; 8] = tables_64();

const fn tables_32() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL_32 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

const fn tables_64() -> [[u64; 256]; 8] {
    let mut tables = [[0u64; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL_64 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

/// CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_extend(0, bytes)
}

/// CRC-32C of what `crc` covers followed by `bytes`. Any `crc` may be given: as a seed it binds the
/// bytes to where they belong.
#[must_use]
pub fn crc32c_extend(crc: u32, bytes: &[u8]) -> u32 {
    let mut state = !crc;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let [a, b, c, d, e, f, g, h] = (u64::from_le_bytes(*word) ^ u64::from(state)).to_le_bytes();
        state = TABLES_32[7][usize::from(a)]
            ^ TABLES_32[6][usize::from(b)]
            ^ TABLES_32[5][usize::from(c)]
            ^ TABLES_32[4][usize::from(d)]
            ^ TABLES_32[3][usize::from(e)]
            ^ TABLES_32[2][usize::from(f)]
            ^ TABLES_32[1][usize::from(g)]
            ^ TABLES_32[0][usize::from(h)];
    }
    for byte in rest {
        let [low, ..] = state.to_le_bytes();
        state = state >> 8 ^ TABLES_32[0][usize::from(low ^ byte)];
    }
    !state
}

/// CRC-64/XZ of `bytes`.
#[must_use]
pub fn crc64(bytes: &[u8]) -> u64 {
    let mut state = !0u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let [a, b, c, d, e, f, g, h] = (u64::from_le_bytes(*word) ^ state).to_le_bytes();
        state = TABLES_64[7][usize::from(a)]
            ^ TABLES_64[6][usize::from(b)]
            ^ TABLES_64[5][usize::from(c)]
            ^ TABLES_64[4][usize::from(d)]
            ^ TABLES_64[3][usize::from(e)]
            ^ TABLES_64[2][usize::from(f)]
            ^ TABLES_64[1][usize::from(g)]
            ^ TABLES_64[0][usize::from(h)];
    }
    for byte in rest {
        let [low, ..] = state.to_le_bytes();
        state = state >> 8 ^ TABLES_64[0][usize::from(low ^ byte)];
    }
    !state
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_published_check_values_come_out() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc64(b"123456789"), 0x995d_c9bb_df19_39fa);
        // RFC 3720, appendix B.4: 32 bytes of zeros, of ones, and counting up.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(&[]), 0);
        assert_eq!(crc64(&[]), 0);
    }

    #[test]
    fn extending_is_the_same_as_one_run_at_every_cut() {
        let bytes: Vec<u8> = (0u8..100).map(|byte| byte.wrapping_mul(37)).collect();
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(crc32c_extend(crc32c(head), tail), crc32c(&bytes), "cut at {cut}");
        }
    }
}
