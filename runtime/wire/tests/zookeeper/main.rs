//! The ZooKeeper protocol: bytes as they are on the wire, and properties of every message.

mod bytes_of_clients;
mod bytes_of_servers;
mod frames;
mod properties;
mod stored_files;

use bytes::Bytes;

/// Bytes from hexadecimal digits; spaces between fields are passed over.
fn hex(digits: &str) -> Bytes {
    let digits: Vec<u8> = digits.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("digits")
        })
        .collect()
}

/// What `encode` appends.
fn sent(encode: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    Bytes::from(bytes)
}
