//! One meaning of CBOR on both ends: the guests' codec against the clients' `serde_cbor`.
//!
//! The vectors are shared: each is written by one end and read by the other, both ways round.

use quorate_recipe::Blob;
use quorate_recipe::codec::{DEPTH_MAX, decode, encode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair(u8, String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Nothing,
    One(Option<u32>),
    Two(i8, bool),
    Named { at_ms: u64, note: String },
    Holds(Unit),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    number: u64,
    option: Option<Box<Everything>>,
    list: Vec<Choice>,
    map: BTreeMap<String, i64>,
    blob: Blob,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_out: Option<u8>,
    letter: char,
    unit: (),
}

fn everything() -> Everything {
    let inner = Everything {
        number: u64::MAX,
        option: None,
        list: vec![],
        map: BTreeMap::new(),
        blob: Blob(vec![]),
        left_out: Some(9),
        letter: 'x',
        unit: (),
    };
    Everything {
        number: 0,
        option: Some(Box::new(inner)),
        list: choices(),
        map: [("a".to_owned(), i64::MIN), ("ü".to_owned(), -1)].into(),
        blob: Blob((0..=255).collect()),
        left_out: None,
        letter: '\u{1f512}',
        unit: (),
    }
}

fn choices() -> Vec<Choice> {
    vec![
        Choice::Nothing,
        Choice::One(None),
        Choice::One(Some(70_000)),
        Choice::Two(-128, true),
        Choice::Named { at_ms: 1 << 40, note: "wait".into() },
        Choice::Holds(Unit),
    ]
}

/// Both ends write the same bytes, and each reads what the other wrote.
#[track_caller]
fn agrees<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let by_guest = encode(value).unwrap();
    let by_client = serde_cbor::to_vec(value).unwrap();
    assert_eq!(by_guest, by_client, "{value:?}");
    assert_eq!(&decode::<T>(&by_client).unwrap(), value);
    assert_eq!(&serde_cbor::from_slice::<T>(&by_guest).unwrap(), value);
}

/// As [`agrees`], where the two may choose other widths.
#[track_caller]
fn agrees_in_meaning<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    assert_eq!(&decode::<T>(&serde_cbor::to_vec(value).unwrap()).unwrap(), value);
    assert_eq!(&serde_cbor::from_slice::<T>(&encode(value).unwrap()).unwrap(), value);
    assert_eq!(&decode::<T>(&encode(value).unwrap()).unwrap(), value);
}

#[test]
fn unit_is_null_on_both_ends() {
    assert_eq!(encode(&()).unwrap(), [0xf6]);
    assert_eq!(serde_cbor::to_vec(&()).unwrap(), [0xf6]);
    agrees(&());
    agrees(&Unit);
    agrees(&vec![(), ()]);
}

#[test]
fn an_option_is_the_value_or_null() {
    agrees(&Some(5u8));
    agrees(&None::<u8>);
    agrees(&Some(String::new()));
    agrees(&vec![Some(-1i64), None]);
}

#[test]
fn structs_newtypes_and_tuples_agree() {
    agrees(&Newtype(1 << 33));
    agrees(&Pair(7, "seven".into()));
    agrees(&(1u8, -300i16, "three".to_owned()));
    agrees(&everything());
}

#[test]
fn every_form_of_enum_agrees() {
    for choice in choices() {
        agrees(&choice);
    }
    agrees(&choices());
    agrees(&Ok::<u8, String>(1));
    agrees(&Err::<u8, String>("no".into()));
}

#[test]
fn maps_agree_whatever_their_keys() {
    agrees(&BTreeMap::from([(1u64, "one".to_owned()), (1 << 50, "many".to_owned())]));
    agrees(&BTreeMap::from([(-1i8, ()), (3, ())]));
    agrees(&BTreeMap::from([(String::new(), vec![1u8])]));
}

#[test]
fn integers_agree_at_every_width() {
    for shift in 0..64 {
        for near in -2i128..=2 {
            let value = (1i128 << shift) + near;
            agrees(&value);
            agrees(&(-value));
            if let Ok(value) = u64::try_from(value) {
                agrees(&value);
            }
            if let Ok(value) = i64::try_from(value) {
                agrees(&value);
                agrees(&value.wrapping_neg());
            }
        }
    }
    agrees(&i128::from(u64::MAX));
    agrees(&(-i128::from(u64::MAX) - 1));
    agrees(&u128::from(u64::MAX));
}

#[test]
fn integers_beyond_64_bits_are_refused_on_both_ends() {
    for value in [i128::from(u64::MAX) + 1, -i128::from(u64::MAX) - 2, i128::MIN, i128::MAX] {
        assert!(encode(&value).is_err(), "{value}");
        assert!(serde_cbor::to_vec(&value).is_err(), "{value}");
    }
    assert!(encode(&u128::MAX).is_err());
    assert!(serde_cbor::to_vec(&u128::MAX).is_err());
    let bignum = [0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(decode::<u128>(&bignum).is_err());
    assert!(serde_cbor::from_slice::<u128>(&bignum).is_err());
}

#[test]
fn integers_that_do_not_fit_are_errors_not_other_integers() {
    assert!(decode::<u8>(&encode(&256u32).unwrap()).is_err());
    assert!(decode::<u64>(&encode(&-1i8).unwrap()).is_err());
    assert!(decode::<i64>(&encode(&u64::MAX).unwrap()).is_err());
    assert!(decode::<i64>(&encode(&(-i128::from(u64::MAX))).unwrap()).is_err());
}

#[test]
fn bytes_are_bytes_and_a_list_of_numbers_will_do() {
    for length in [0, 1, 23, 24, 255, 256, 65_535, 65_536] {
        agrees(&Blob(vec![0xa5; length]));
    }
    assert_eq!(decode::<Blob>(&encode(&[1u8, 2, 3]).unwrap()).unwrap(), Blob(vec![1, 2, 3]));
    assert!(decode::<Blob>(&encode("text").unwrap()).is_err());
}

#[test]
fn text_and_letters_agree() {
    for text in ["", "a", "grüß", "\u{0}", "🔒", &"long".repeat(20_000)] {
        agrees(&text.to_owned());
    }
    agrees(&'ß');
    assert!(decode::<char>(&encode("ab").unwrap()).is_err());
    assert!(decode::<String>(&[0x61, 0xff]).is_err(), "not UTF-8");
}

#[test]
fn floats_agree_in_every_width() {
    let halves = [0.0, -0.0, 1.5, -2.0, 65_504.0, 6e-8, f64::INFINITY, f64::NEG_INFINITY];
    let others = [0.1, f64::MAX, f64::MIN_POSITIVE, 1e300, 16_777_217.0, f64::from(f32::MAX)];
    for value in halves.into_iter().chain(others) {
        agrees_in_meaning(&value);
        agrees_in_meaning(&(value as f32));
    }
    let nan = serde_cbor::to_vec(&f64::NAN).unwrap();
    assert!(decode::<f64>(&nan).unwrap().is_nan());
    assert_eq!(decode::<f64>(&encode(&3u8).unwrap()).unwrap(), 3.0, "JSON writes 3 for 3.0");
}

#[test]
fn a_field_not_known_is_passed_over_whatever_it_holds() {
    #[derive(Serialize)]
    struct Newer {
        strange: Vec<Everything>,
        float: f32,
        number: u64,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Older {
        number: u64,
    }
    let newer = Newer { strange: vec![everything()], float: 0.5, number: 8 };
    for bytes in [encode(&newer).unwrap(), serde_cbor::to_vec(&newer).unwrap()] {
        assert_eq!(decode::<Older>(&bytes).unwrap(), Older { number: 8 });
    }
}

#[test]
fn an_error_names_the_fields_that_lead_to_it() {
    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(rename = "inner")]
        _inner: BTreeMap<String, u64>,
    }
    let given = BTreeMap::from([("inner", BTreeMap::from([("a", "text")]))]);
    let error = decode::<Outer>(&serde_cbor::to_vec(&given).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "inner: a: invalid type: text, expected u64");
}

#[test]
fn items_without_a_count_are_read() {
    assert_eq!(decode::<Vec<u8>>(&[0x9f, 1, 2, 0xff]).unwrap(), [1, 2]);
    assert_eq!(decode::<String>(&[0x7f, 0x61, b'a', 0x61, b'b', 0xff]).unwrap(), "ab");
    assert_eq!(decode::<Blob>(&[0x5f, 0x41, 1, 0x41, 2, 0xff]).unwrap(), Blob(vec![1, 2]));
    let map = decode::<BTreeMap<String, u8>>(&[0xbf, 0x61, b'a', 1, 0xff]).unwrap();
    assert_eq!(map, BTreeMap::from([("a".to_owned(), 1)]));
    assert!(decode::<IgnoredAny>(&[0x9f, 0xbf, 0x61, b'a', 0x5f, 0xff, 0xff, 0xff]).is_ok());
}

#[test]
fn bytes_left_over_and_bytes_missing_are_errors() {
    let bytes = encode(&everything()).unwrap();
    for end in 0..bytes.len() {
        assert!(decode::<Everything>(&bytes[..end]).is_err(), "cut at {end}");
        assert!(decode::<IgnoredAny>(&bytes[..end]).is_err(), "cut at {end}");
    }
    let longer = [bytes.as_slice(), &[0xf6]].concat();
    assert!(decode::<Everything>(&longer).is_err());
    assert!(serde_cbor::from_slice::<Everything>(&longer).is_err());
    assert!(decode::<(u8,)>(&encode(&[1u8, 2]).unwrap()).is_err());
}

#[test]
fn a_length_that_lies_allocates_nothing_of_it() {
    for major in [0x5b, 0x7b, 0x9b, 0xbb] {
        let bytes = [major, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        assert!(decode::<Vec<u64>>(&bytes).is_err());
        assert!(decode::<String>(&bytes).is_err());
        assert!(decode::<Blob>(&bytes).is_err());
        assert!(decode::<BTreeMap<String, u64>>(&bytes).is_err());
        assert!(decode::<IgnoredAny>(&bytes).is_err());
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Chain {
    End,
    Link(Box<Chain>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

fn chain(links: u32) -> Chain {
    (0..links).fold(Chain::End, |chain, _| Chain::Link(Box::new(chain)))
}

#[test]
fn what_nests_as_deep_as_allowed_agrees() {
    agrees(&chain(DEPTH_MAX));
    let nest = (1..DEPTH_MAX).fold(Nest(vec![]), |nest, _| Nest(vec![nest]));
    agrees(&nest);
}

#[test]
fn what_nests_deeper_is_refused_before_it_is_written() {
    assert!(encode(&chain(DEPTH_MAX + 1)).is_err());
    let nest = (0..DEPTH_MAX).fold(Nest(vec![]), |nest, _| Nest(vec![nest]));
    assert!(encode(&nest).is_err());
}

#[test]
fn deeply_nested_input_is_an_error_not_an_abort() {
    let link = [&[0xa1, 0x64][..], b"Link"].concat();
    let links = [link.repeat(100_000).as_slice(), &[0x63], b"End"].concat();
    assert!(decode::<Chain>(&links).is_err());
    for opening in [0x81, 0x9f, 0xa1, 0xbf] {
        let bytes = vec![opening; 1_000_000];
        assert!(decode::<Nest>(&bytes).is_err());
        assert!(decode::<IgnoredAny>(&bytes).is_err());
        assert!(decode::<BTreeMap<IgnoredOrd, IgnoredAny>>(&bytes).is_err());
    }
    assert!(decode::<IgnoredAny>(&vec![0xc1; 1_000_000]).is_err(), "tags without end");
}

/// A map key that is passed over.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct IgnoredOrd;

#[test]
fn after_an_error_within_a_list_depth_is_not_lost() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Lists(Vec<Vec<u64>>),
    }
    let lists: Vec<Vec<u64>> = vec![vec![1]; 100];
    assert_eq!(decode::<Either>(&encode(&lists).unwrap()).unwrap(), Either::Lists(lists));
    let siblings = vec![chain(DEPTH_MAX - 1); 50];
    agrees(&siblings);
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[test]
fn damaged_input_gives_a_value_or_an_error() {
    let sound = encode(&everything()).unwrap();
    for seed in 0..20_000u64 {
        let mut state = seed;
        let mut bytes = sound.clone();
        for _ in 0..=splitmix64(&mut state) % 4 {
            let at = (splitmix64(&mut state) % bytes.len() as u64) as usize;
            bytes[at] = splitmix64(&mut state) as u8;
        }
        let decoded = decode::<Everything>(&bytes);
        if let Ok(value) = decoded {
            let again = encode(&value).unwrap();
            assert_eq!(decode::<Everything>(&again).unwrap(), value, "seed {seed}");
        }
        let _ = decode::<IgnoredAny>(&bytes);
    }
}

#[test]
fn what_both_ends_read_from_random_bytes_is_the_same() {
    for seed in 0..50_000u64 {
        let mut state = seed ^ 0x5eed;
        let length = splitmix64(&mut state) % 12;
        let bytes: Vec<u8> = (0..length).map(|_| splitmix64(&mut state) as u8).collect();
        same_meaning::<Choice>(&bytes, seed);
        same_meaning::<i64>(&bytes, seed);
        same_meaning::<Option<Vec<u16>>>(&bytes, seed);
        same_meaning::<String>(&bytes, seed);
        same_meaning::<BTreeMap<i32, ()>>(&bytes, seed);
    }
}

/// The ends may differ in what they refuse, never in what they read.
fn same_meaning<T: DeserializeOwned + PartialEq + Debug>(bytes: &[u8], seed: u64) {
    if let (Ok(guest), Ok(client)) = (decode::<T>(bytes), serde_cbor::from_slice::<T>(bytes)) {
        assert_eq!(guest, client, "seed {seed}, bytes {bytes:02x?}");
    }
}
