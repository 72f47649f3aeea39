use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use std::collections::BTreeMap;

use bendy::decoding::{Decoder, Object};
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { bytes_max: 1 << 20, depth_max: 16, values_max: 10_000 };

fn fault(bytes: &[u8]) -> (usize, Fault) {
    let error = parse(bytes, &LIMITS).unwrap_err();
    (error.offset, error.fault)
}

#[test]
fn each_kind_is_read_with_its_range() {
    let document = parse(b"d1:ai-5e1:bl2:xy0:e1:cdee", &LIMITS).unwrap();
    let root = document.root();
    assert_eq!(root.get(b"a").unwrap().as_int(), Some(-5));
    assert_eq!(root.get(b"a").unwrap().as_uint(), None);
    let list = root.get(b"b").unwrap();
    let items: Vec<_> = list.as_list().unwrap().iter().map(|v| v.as_bytes().unwrap()).collect();
    assert_eq!(items, [&b"xy"[..], b""]);
    assert_eq!(list.raw(), b"l2:xy0:e");
    assert_eq!(list.range(), 11..19);
    assert_eq!(root.get(b"c").unwrap().as_dict().unwrap().iter().count(), 0);
    assert_eq!(document.unsorted_key(), None);
}

#[test]
fn numbers_must_be_canonical() {
    for bad in ["i01e", "i-0e", "i-e", "ie", "i+1e", "i 1e", "i1.0e", "01:a", "i--1e", "00:"] {
        assert_eq!(fault(bad.as_bytes()).1, Fault::NumberNotCanonical, "{bad}");
    }
    let document = parse(b"i0e", &LIMITS).unwrap();
    assert_eq!(document.root().as_int(), Some(0));
}

#[test]
fn numbers_past_64_bits_are_refused() {
    assert_eq!(fault(b"i9223372036854775808e"), (0, Fault::NumberTooLarge));
    assert_eq!(fault(b"i999999999999999999999999e").1, Fault::NumberTooLarge);
    assert_eq!(fault(b"99999999999999999999:").1, Fault::NumberTooLarge);
    let least = parse(b"i-9223372036854775808e", &LIMITS).unwrap();
    assert_eq!(least.root().as_int(), Some(i64::MIN));
}

#[test]
fn a_string_past_the_end_is_refused_with_both_lengths() {
    assert_eq!(fault(b"l5:abce"), (1, Fault::StringPastEnd { length: 5, left: 4 }));
    let length = u64::MAX;
    assert_eq!(fault(b"18446744073709551615:a"), (0, Fault::StringPastEnd { length, left: 1 }));
}

#[test]
fn truncation_anywhere_is_an_error() {
    let whole = b"d4:infod6:lengthi12e4:name3:abce4:listli1ei2eee";
    for length in 0..whole.len() {
        assert!(parse(&whole[..length], &LIMITS).is_err(), "{length}");
    }
    assert!(parse(whole, &LIMITS).is_ok());
}

#[test]
fn a_megabyte_of_open_lists_is_refused_at_the_depth_limit() {
    let deep = vec![b'l'; 1 << 20];
    assert_eq!(fault(&deep), (16, Fault::TooDeep { limit: 16 }));
    let just = [vec![b'l'; 16], vec![b'e'; 16]].concat();
    assert!(parse(&just, &LIMITS).is_ok());
}

#[test]
fn the_limits_of_bytes_and_values_hold() {
    let limits = Limits { bytes_max: 8, depth_max: 2, values_max: 3 };
    assert!(parse(b"l0:0:e", &limits).is_ok());
    let error = parse(b"l0:0:0:e", &limits).unwrap_err();
    assert_eq!(error.fault, Fault::TooManyValues { limit: 3 });
    let error = parse(b"l0:0:0:0:e", &limits).unwrap_err();
    assert_eq!(error.fault, Fault::TooManyBytes { bytes: 10, limit: 8 });
}

#[test]
fn unsorted_keys_are_read_and_reported_but_duplicates_refused() {
    let document = parse(b"d1:bi1e1:ai2e1:ci3ee", &LIMITS).unwrap();
    assert_eq!(document.unsorted_key(), Some(7));
    assert_eq!(document.root().get(b"a").unwrap().as_int(), Some(2));
    assert_eq!(fault(b"d1:ai1e1:ai2ee"), (7, Fault::DuplicateKey));
    assert_eq!(fault(b"d1:ai1e1:bi2e1:ai3ee"), (13, Fault::DuplicateKey));
}

#[test]
fn keys_are_strings_and_have_values() {
    assert_eq!(fault(b"di1ei2ee"), (1, Fault::KeyNotString));
    assert_eq!(fault(b"d1:ae"), (4, Fault::ValueMissing));
    assert_eq!(fault(b"x"), (0, Fault::UnexpectedByte(b'x')));
    assert_eq!(fault(b"e"), (0, Fault::UnexpectedByte(b'e')));
    assert_eq!(fault(b""), (0, Fault::Truncated));
}

#[test]
fn a_prefix_leaves_the_rest_to_the_caller() {
    let document = parse_prefix(b"d1:ai1eeRAW", &LIMITS).unwrap();
    assert_eq!(document.end(), 8);
    assert_eq!(fault(b"d1:ai1eeRAW"), (8, Fault::TrailingBytes(3)));
}

#[test]
fn the_writer_sorts_and_keeps_the_last_of_two_equal_keys() {
    let mut writer = Writer::new();
    writer.dict(|dict| {
        dict.int(b"b", i64::MIN);
        dict.dict(b"a", |inner| {
            inner.raw(b"z", b"le");
            inner.bytes(b"y", b"");
        });
        dict.int(b"b", 10);
    });
    assert_eq!(writer.finish(), b"d1:ad1:y0:1:zlee1:bi10ee");
}

#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Integer(i64),
    String(Vec<u8>),
    List(Vec<Tree>),
    Dict(BTreeMap<Vec<u8>, Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let string = prop::collection::vec(any::<u8>(), 0..12);
    let leaf = prop_oneof![
        any::<i64>().prop_map(Tree::Integer),
        (-12i64..12).prop_map(Tree::Integer),
        string.clone().prop_map(Tree::String),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::List),
            prop::collection::btree_map(string.clone(), inner, 0..6).prop_map(Tree::Dict),
        ]
    })
}

fn write(tree: &Tree, writer: &mut Writer) {
    match tree {
        Tree::Integer(value) => writer.int(*value),
        Tree::String(value) => writer.bytes(value),
        Tree::List(items) => writer.list(|list| items.iter().for_each(|item| write(item, list))),
        // In reverse, so that the writer has to sort.
        Tree::Dict(entries) => writer.dict(|dict| {
            entries.iter().rev().for_each(|(key, value)| write(value, dict.entry(key)));
        }),
    }
}

fn read(value: Value<'_>) -> Tree {
    match value.kind() {
        Kind::Integer => Tree::Integer(value.as_int().unwrap()),
        Kind::String => Tree::String(value.as_bytes().unwrap().to_vec()),
        Kind::List => Tree::List(value.as_list().unwrap().iter().map(read).collect()),
        Kind::Dict => {
            let entries = value.as_dict().unwrap();
            Tree::Dict(entries.iter().map(|(key, value)| (key.to_vec(), read(value))).collect())
        }
    }
}

type BendyError = Box<dyn std::error::Error>;

/// The same through bendy, an independent reader.
fn read_by_bendy(object: Object<'_, '_>) -> Result<Tree, BendyError> {
    Ok(match object {
        Object::Integer(digits) => Tree::Integer(digits.parse()?),
        Object::Bytes(bytes) => Tree::String(bytes.to_vec()),
        Object::List(mut list) => {
            let mut items = Vec::new();
            while let Some(item) = list.next_object().map_err(text)? {
                items.push(read_by_bendy(item)?);
            }
            Tree::List(items)
        }
        Object::Dict(mut dict) => {
            let mut entries = BTreeMap::new();
            while let Some((key, value)) = dict.next_pair().map_err(text)? {
                entries.insert(key.to_vec(), read_by_bendy(value)?);
            }
            Tree::Dict(entries)
        }
    })
}

fn text(error: bendy::decoding::Error) -> BendyError {
    std::format!("{error}").into()
}

fn bendy(bytes: &[u8]) -> Result<Tree, BendyError> {
    let mut decoder = Decoder::new(bytes).with_max_depth(LIMITS.depth_max);
    let tree = match decoder.next_object().map_err(text)? {
        Some(object) => read_by_bendy(object)?,
        None => return Err("nothing".into()),
    };
    match decoder.next_object().map_err(text)? {
        None => Ok(tree),
        Some(_) => Err("trailing".into()),
    }
}

/// Bytes that look like bencode more often than chance would have it.
fn near_bencode() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"i".to_vec()),
        Just(b"e".to_vec()),
        Just(b"l".to_vec()),
        Just(b"d".to_vec()),
        Just(b"1:a".to_vec()),
        Just(b"1:b".to_vec()),
        Just(b"0:".to_vec()),
        Just(b"-".to_vec()),
        Just(b"i7e".to_vec()),
        Just(b"0".to_vec()),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_was_written_is_read_back_by_us_and_by_bendy(tree in tree()) {
        let mut writer = Writer::new();
        write(&tree, &mut writer);
        let bytes = writer.finish();
        let document = parse(&bytes, &LIMITS).unwrap();
        prop_assert_eq!(document.unsorted_key(), None);
        prop_assert_eq!(document.root().raw(), &bytes[..]);
        prop_assert_eq!(&read(document.root()), &tree);
        prop_assert_eq!(&bendy(&bytes).unwrap(), &tree);
    }

    #[test]
    fn we_and_bendy_agree_on_what_is_canonical(bytes in near_bencode()) {
        let ours = parse(&bytes, &LIMITS).ok().filter(|d| d.unsorted_key().is_none());
        let theirs = bendy(&bytes).ok();
        prop_assert_eq!(ours.map(|document| read(document.root())), theirs);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = parse_prefix(&bytes, &LIMITS) {
            prop_assert!(document.end() <= bytes.len());
            read(document.root());
        }
    }
}
