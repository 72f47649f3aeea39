//! Real files are compared with libtorrent's in tests/it/create.rs; here stands what is refused.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::bencode::{DictWriter, Fault, Writer};
use crate::geometry::{FileKind, GeometryError};
use crate::limits::{TRACKERS_MAX, WEB_SEEDS_MAX};
use crate::merkle::block_hash;

/// A torrent of what `info` writes, and of what `outer` writes.
fn torrent(
    outer: impl FnOnce(&mut DictWriter<'_>),
    info: impl FnOnce(&mut DictWriter<'_>),
) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.dict(|dict| {
        outer(dict);
        dict.dict(b"info", info);
    });
    writer.finish()
}

fn nothing(_: &mut DictWriter<'_>) {}

/// The start of a v1 info dictionary with pieces of 16 bytes.
fn v1(info: &mut DictWriter<'_>, piece_count: usize) {
    info.bytes(b"name", b"t");
    info.int(b"piece length", 16);
    info.bytes(b"pieces", &vec![7; 20 * piece_count]);
}

/// Path, length and attributes.
type V1File<'a> = (&'a [&'a [u8]], i64, &'a [u8]);

fn v1_files(files: &[V1File<'_>], piece_count: usize) -> Vec<u8> {
    torrent(nothing, |info| {
        v1(info, piece_count);
        info.list(b"files", |list| {
            for (path, length, attr) in files {
                list.dict(|file| {
                    file.int(b"length", *length);
                    file.list(b"path", |names| path.iter().for_each(|name| names.bytes(name)));
                    file.bytes(b"attr", attr);
                });
            }
        });
    })
}

fn refused(bytes: &[u8]) -> MetainfoError {
    Metainfo::parse(bytes).unwrap_err()
}

#[test]
fn a_v1_file_is_read_and_its_info_kept_as_it_stands() {
    let bytes = b"d8:announce8:udp://a:4:infod4:name1:t6:lengthi20e12:piece lengthi16e\
        6:pieces40:aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb7:privatei1eee";
    let metainfo = Metainfo::parse(bytes).unwrap();
    let info = &bytes[27..bytes.len() - 1];
    assert_eq!(&metainfo.info_bytes()[..], info);
    // `name` stands before `length`: read, hashed as it stands, and reported.
    assert_eq!(metainfo.info_hash_v1().unwrap().0[..], Sha1::digest(info)[..]);
    assert_eq!(metainfo.warnings(), [Warning::UnsortedKeys { offset: 37 }]);
    assert_eq!(metainfo.info_hash_v2(), None);
    assert_eq!(metainfo.piece_hash_v1(PieceIndex(1)), Some(b"bbbbbbbbbbbbbbbbbbbb"));
    assert_eq!(metainfo.piece_hash_v1(PieceIndex(2)), None);
    assert!(metainfo.is_private());
    assert_eq!(metainfo.geometry().piece_bytes(PieceIndex(1)), Some(4));
    assert_eq!(metainfo.outer().trackers().collect::<Vec<_>>(), ["udp://a:"]);
}

#[test]
fn the_errors_name_value_place_and_cure() {
    let bytes = torrent(nothing, |info| {
        info.bytes(b"name", b"t");
        info.int(b"length", 1);
        info.int(b"piece length", 0);
        info.bytes(b"pieces", b"");
    });
    assert_eq!(
        refused(&bytes).to_string(),
        "piece length 0 at offset 43; between 1 and 536870912 bytes are needed"
    );
}

#[test]
fn a_piece_length_out_of_range_is_refused() {
    for length in [0, -1, i64::MIN, i64::MAX, 1 << 30] {
        let bytes = torrent(nothing, |info| {
            v1(info, 1);
            info.int(b"length", 1);
            info.int(b"piece length", length);
        });
        let error = refused(&bytes);
        assert!(matches!(error, MetainfoError::PieceLengthV1 { length: l, .. } if l == length));
    }
    for length in [0, 1, 16, 8192, 16385, 49152, 1 << 30] {
        let bytes = torrent(nothing, |info| {
            info.int(b"meta version", 2);
            info.int(b"piece length", length);
        });
        let error = refused(&bytes);
        assert!(matches!(error, MetainfoError::PieceLengthV2 { length: l, .. } if l == length));
    }
}

#[test]
fn lengths_that_are_negative_or_overflow_are_refused() {
    let negative = refused(&v1_files(&[(&[b"a"], -5, b"")], 1));
    assert!(matches!(negative, MetainfoError::Negative { value: -5, .. }), "{negative}");
    let many = refused(&v1_files(&[(&[b"a"], i64::MAX, b""), (&[b"b"], i64::MAX, b"")], 1));
    assert!(matches!(many, MetainfoError::Geometry(GeometryError::TooManyPieces { .. })));
    let huge = b"d4:infod6:lengthi99999999999999999999e4:name1:tee";
    let MetainfoError::Bencode(error) = refused(huge) else { panic!() };
    assert_eq!((error.offset, error.fault), (16, Fault::NumberTooLarge));
}

#[test]
fn a_pieces_string_that_does_not_fit_is_refused() {
    for piece_count in [0, 1, 3] {
        let error = refused(&v1_files(&[(&[b"a"], 20, b"")], piece_count));
        let MetainfoError::PiecesLength { bytes, piece_count: needed, .. } = error else {
            panic!()
        };
        assert_eq!((bytes, needed), (piece_count * 20, 2));
    }
}

#[test]
fn names_that_leave_their_folder_are_refused() {
    let cases: [(&[&[u8]], NameFault); 7] = [
        (&[b".."], NameFault::Dots),
        (&[b"a", b"..", b"b"], NameFault::Dots),
        (&[b"."], NameFault::Dots),
        (&[b"", b"etc", b"passwd"], NameFault::Empty),
        (&[b"/etc/passwd"], NameFault::Separator),
        (&[b"a\0b"], NameFault::Nul),
        (&[&[b'x'; 256]], NameFault::TooLong(256)),
    ];
    for (path, fault) in cases {
        let error = refused(&v1_files(&[(path, 1, b"")], 1));
        assert!(matches!(&error, MetainfoError::Name { fault: f, .. } if *f == fault), "{error}");
    }
    for name in [&b"../x"[..], b"..", b"/", b""] {
        let bytes = torrent(nothing, |info| {
            v1(info, 1);
            info.bytes(b"name", name);
            info.int(b"length", 1);
        });
        assert!(matches!(refused(&bytes), MetainfoError::Name { .. }));
    }
}

#[test]
fn paths_that_are_empty_deep_or_long_are_refused() {
    let deep = vec![&b"d"[..]; 100];
    let long = vec![&[b'x'; 250][..]; 13];
    for path in [&[][..], &deep, &long] {
        let error = refused(&v1_files(&[(path, 1, b"")], 1));
        assert!(matches!(error, MetainfoError::Path { .. }), "{error}");
    }
    assert!(Metainfo::parse(&v1_files(&[(&deep[..99], 1, b"")], 1)).is_ok());
}

#[test]
fn files_that_collide_are_refused() {
    let pairs: [[&[&[u8]]; 2]; 3] =
        [[&[b"a"], &[b"a"]], [&[b"a"], &[b"a", b"b"]], [&[b"x", b"\xff"], &[b"x", b"_"]]];
    for [one, two] in pairs {
        // A file between them in byte order does not hide the collision.
        let files = [(two, 1, &b""[..]), (&[b"a-"], 1, b""), (one, 1, b"")];
        let error = refused(&v1_files(&files, 1));
        assert!(matches!(error, MetainfoError::Collision { .. }), "{error}");
    }
    let symlink = refused(&v1_files(&[(&[b"a"], 0, b"l"), (&[b"a", b"b"], 1, b"")], 1));
    assert!(matches!(symlink, MetainfoError::Collision { .. }));
    let fine = v1_files(&[(&[b"a"], 1, b""), (&[b"a-b"], 1, b""), (&[b"A"], 1, b"")], 1);
    assert!(Metainfo::parse(&fine).is_ok());
}

#[test]
fn pads_and_symlinks_are_no_files_on_disk() {
    let bytes = v1_files(
        &[
            (&[b"a"], 4, b"x"),
            (&[b".pad", b"12"], 12, b"p"),
            (&[b"l"], 0, b"lh"),
            (&[b"b"], 16, b""),
        ],
        2,
    );
    let metainfo = Metainfo::parse(&bytes).unwrap();
    let kinds: Vec<FileKind> = metainfo.geometry().files().map(|file| file.kind).collect();
    assert_eq!(kinds, [FileKind::Content, FileKind::Pad, FileKind::Symlink, FileKind::Content]);
    assert_eq!(metainfo.geometry().content_bytes(), 20);
    assert_eq!(metainfo.warnings(), [Warning::Symlink { path: "t/l".into() }]);
    let error = refused(&v1_files(&[(&[b"l"], 1, b"l")], 1));
    assert!(matches!(error, MetainfoError::SymlinkWithBytes { length: 1, .. }));
}

#[test]
fn the_outside_is_read_leniently() {
    let outer = |dict: &mut DictWriter<'_>| {
        dict.bytes(b"announce", b"http://ignored/");
        dict.list(b"announce-list", |tiers| {
            tiers.list(|tier| {
                tier.bytes(b"http://a/");
                tier.bytes(b"no url");
                tier.bytes(b"http://a/");
            });
            tiers.bytes(b"udp://b:1");
            tiers.list(|_| {});
        });
        dict.list(b"url-list", |list| list.bytes(b"http://w/"));
        dict.int(b"comment", 3);
    };
    let mut bytes = torrent(outer, |info| {
        v1(info, 1);
        info.int(b"length", 1);
    });
    bytes.push(b'\n');
    let metainfo = Metainfo::parse(&bytes).unwrap();
    let tiers: Vec<Vec<Box<str>>> = vec![vec!["http://a/".into()], vec!["udp://b:1".into()]];
    assert_eq!(metainfo.outer().tiers, tiers);
    assert_eq!(metainfo.outer().web_seeds, ["http://w/".into()]);
    assert_eq!(metainfo.outer().comment, None);
    let ignored: Vec<String> = metainfo.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(ignored.len(), 3, "{ignored:?}");
}

#[test]
fn trackers_and_web_seeds_past_their_limits_are_left_out() {
    let outer = |dict: &mut DictWriter<'_>| {
        let urls = |list: &mut Writer| {
            (0..300).for_each(|number| list.bytes(std::format!("http://{number}/").as_bytes()));
        };
        dict.list(b"announce-list", urls);
        dict.list(b"url-list", urls);
    };
    let bytes = torrent(outer, |info| {
        v1(info, 1);
        info.int(b"length", 1);
    });
    let metainfo = Metainfo::parse(&bytes).unwrap();
    assert_eq!(metainfo.outer().trackers().count(), TRACKERS_MAX);
    assert_eq!(metainfo.outer().web_seeds.len(), WEB_SEEDS_MAX);
    assert_eq!(metainfo.warnings().len(), WARNINGS_MAX);
}

#[test]
fn the_link_of_a_torrent_with_many_trackers_can_be_read() {
    let outer = |dict: &mut DictWriter<'_>| {
        dict.list(b"announce-list", |tiers| {
            for number in 0..200 {
                let url = std::format!("http://{number}/{}", "%".repeat(2000));
                tiers.list(|tier| tier.bytes(url.as_bytes()));
            }
        });
    };
    let bytes = torrent(outer, |info| {
        v1(info, 1);
        info.int(b"length", 1);
    });
    let metainfo = Metainfo::parse(&bytes).unwrap();
    assert_eq!(metainfo.outer().trackers().count(), 200);
    let magnet = crate::Magnet::of(&metainfo);
    assert_eq!(crate::Magnet::parse(&magnet.to_string()), Ok(magnet));
}

/// A blueprint whose hashes are made up, consistent in themselves.
fn built(format: Format, files: &[(&str, u64)]) -> Vec<u8> {
    let files = files.iter().map(|(path, length)| ((*path).to_string(), *length)).collect();
    let blueprint = Blueprint::new(format, Root::Folder, "t", 32 << 10, files).unwrap();
    let pieces = blueprint.geometry().piece_count();
    let hashes = PieceHashes {
        v1: (0..pieces).map(|_| [9; 20]).collect(),
        v2: (0..pieces).map(|piece| block_hash(&piece.to_be_bytes())).collect(),
    };
    blueprint.write(&hashes, false, None, &Outer::default()).unwrap()
}

const FILES: [(&str, u64); 5] =
    [("b", 20_000), ("a-b", 70_000), ("a/y", 40_000), ("a/x", 0), ("c", 32_768)];

#[test]
fn what_is_built_is_read_in_all_formats() {
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        let bytes = built(format, &FILES);
        let metainfo = Metainfo::parse(&bytes).unwrap();
        assert!(metainfo.warnings().is_empty());
        assert_eq!(metainfo.format(), format);
        assert_eq!(metainfo.swarms().count(), if format == Format::Hybrid { 2 } else { 1 });
        let content = metainfo.geometry().files().filter(|file| file.kind == FileKind::Content);
        let paths: Vec<&str> = content.map(|file| file.path).collect();
        assert_eq!(paths, ["t/a/x", "t/a/y", "t/a-b", "t/b", "t/c"]);
        if format.has_v2() {
            let last = metainfo.geometry().piece_count() - 1;
            let hash = block_hash(&last.to_be_bytes());
            assert_eq!(metainfo.piece_hash_v2(PieceIndex(last)), Some(&hash));
            let file = metainfo.file_by_root(&hash).unwrap();
            assert_eq!(metainfo.geometry().file(file).unwrap().path, "t/c");
            assert_eq!(metainfo.pieces_root(file), Some(&hash));
            assert_eq!(metainfo.file_by_root(&[0; 32]), None);
            let two = metainfo.geometry().file_of(PieceIndex(0)).unwrap();
            assert_eq!(metainfo.piece_layer(two).unwrap().len(), 2);
        }
    }
}

#[test]
fn a_folder_with_one_file_is_a_single_file_in_v2() {
    let path = |format| {
        let metainfo = Metainfo::parse(&built(format, &[("q", 50_000)])).unwrap();
        metainfo.geometry().file(FileIndex(0)).unwrap().path.to_string()
    };
    assert_eq!(path(Format::V1), "t/q");
    assert_eq!(path(Format::Hybrid), "t/q");
    assert_eq!(path(Format::V2), "q");
}

/// Replaces the one place where `from` stands.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn piece_layers_that_do_not_fit_are_refused() {
    let bytes = built(Format::V2, &FILES);
    let metainfo = Metainfo::parse(&bytes).unwrap();
    let hash = metainfo.piece_hash_v2(PieceIndex(0)).unwrap();
    let wrong = patched(&bytes, hash, &[1; 32]);
    assert_eq!(refused(&wrong), MetainfoError::LayerMismatch { path: "t/a/y".into() });
    let none = patched(&bytes, b"12:piece layers", b"12:other layers");
    assert_eq!(refused(&none), MetainfoError::LayerMissing { path: "t/a/y".into() });
    let second = metainfo.piece_hash_v2(PieceIndex(1)).unwrap();
    let whole = [b"64:".as_slice(), hash, second].concat();
    let short = patched(&bytes, &whole, &[b"32:".as_slice(), hash].concat());
    assert!(matches!(refused(&short), MetainfoError::LayerLength { bytes: 32, needed: 64, .. }));
    let rootless = patched(&bytes, b"11:pieces root", b"11:pieces-root");
    assert!(matches!(refused(&rootless), MetainfoError::PiecesRoot { .. }));
}

#[test]
fn halves_of_a_hybrid_that_differ_are_refused() {
    let bytes = built(Format::Hybrid, &FILES);
    // The last file of the v1 list; it ends a piece, so that no pad follows.
    let last = &b"d6:lengthi32768e4:pathl1:cee"[..];
    let more = |entry: &[u8]| [last, entry].concat();
    let cases: [(&[u8], &[u8], &str); 6] = [
        (b"4:pathl1:a1:y", b"4:pathl1:a1:z", "another name or order in v2"),
        (b"6:lengthi20000e4:path", b"6:lengthi20001e4:path", "another length or kind in v2"),
        (
            b"1:p6:lengthi25536e",
            b"1:p6:lengthi25537e",
            "it begins no piece in v1: a pad is missing or too long",
        ),
        (last, b"", "only v2 has it"),
        (last, &more(b"d6:lengthi5e4:pathl1:zee"), "only v1 has it"),
        (last, &more(b"d4:attr1:p6:lengthi40000ee"), "the numbers of pieces"),
    ];
    for (from, to, expected) in cases {
        let error = refused(&patched(&bytes, from, to));
        let MetainfoError::HybridMismatch { what, .. } = error else { panic!("{error}") };
        assert_eq!(what, expected);
    }
}

#[test]
fn broken_file_trees_are_refused() {
    let tree = |write: fn(&mut DictWriter<'_>)| {
        let bytes = torrent(nothing, |info| {
            info.bytes(b"name", b"t");
            info.int(b"piece length", 16 << 10);
            info.int(b"meta version", 2);
            info.dict(b"file tree", write);
        });
        refused(&bytes)
    };
    let file = |entry: &mut DictWriter<'_>| {
        entry.dict(b"", |file| {
            file.int(b"length", 1);
            file.bytes(b"pieces root", &[1; 32]);
        });
    };
    assert!(matches!(tree(file), MetainfoError::FileWithSiblings { .. }));
    let siblings = tree(|tree| {
        tree.dict(b"a", |entry| {
            entry.dict(b"", |file| file.int(b"length", 0));
            entry.dict(b"b", |_| {});
        });
    });
    assert!(matches!(siblings, MetainfoError::FileWithSiblings { .. }));
    let dots = tree(|tree| tree.dict(b"..", |entry| entry.dict(b"", |_| {})));
    assert!(matches!(dots, MetainfoError::Name { fault: NameFault::Dots, .. }));
    fn nest(folder: &mut DictWriter<'_>, name: &[u8], depth: usize) {
        match depth {
            0 => folder.dict(b"", |file| file.int(b"length", 0)),
            _ => folder.dict(name, |folder| nest(folder, name, depth - 1)),
        }
    }
    for too_far in [tree(|tree| nest(tree, b"a", 100)), tree(|tree| nest(tree, &[b'a'; 250], 13))] {
        assert!(matches!(too_far, MetainfoError::Path { .. }), "{too_far}");
    }
    assert_eq!(
        tree(|tree| nest(tree, b"a", 99)),
        MetainfoError::Geometry(GeometryError::NoContent)
    );
    let number = tree(|tree| tree.int(b"a", 1));
    assert!(matches!(number, MetainfoError::WrongKind { .. }));
    let empty = tree(nothing);
    assert_eq!(empty, MetainfoError::Geometry(GeometryError::NoContent));
}

#[test]
fn a_newer_meta_version_is_named_before_anything_else() {
    let bytes = torrent(nothing, |info| info.int(b"meta version", 3));
    assert_eq!(
        refused(&bytes).to_string(),
        "meta version 3 at offset 23; this program reads 1 and 2"
    );
    let neither = torrent(nothing, |info| info.bytes(b"name", b"t"));
    assert!(matches!(refused(&neither), MetainfoError::NeitherFormat { offset: 7 }));
}

#[test]
fn piece_lengths_grow_with_the_content() {
    assert_eq!(piece_length_for(0), 32 << 10);
    assert_eq!(piece_length_for(64 << 20), 32 << 10);
    assert_eq!(piece_length_for((64 << 20) + 1), 64 << 10);
    assert_eq!(piece_length_for(700 << 30), 16 << 20);
    assert_eq!(piece_length_for(u64::MAX), 512 << 20);
}

proptest! {
    #[test]
    fn damaged_torrents_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        hybrid: bool,
    ) {
        let mut bytes = built(if hybrid { Format::Hybrid } else { Format::V2 }, &FILES);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(metainfo) = Metainfo::parse(&bytes) {
            for piece in (0..metainfo.geometry().piece_count()).map(PieceIndex) {
                prop_assert!(!metainfo.format().has_v1() || metainfo.piece_hash_v1(piece).is_some());
                prop_assert!(!metainfo.format().has_v2() || metainfo.piece_hash_v2(piece).is_some());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Metainfo::parse(&bytes);
    }
}
