//! .torrent files: whatever is accepted has a geometry that adds up and paths that stay inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringseed_meta::geometry::FileKind;
use ringseed_meta::{Magnet, Metainfo, PieceIndex};

fuzz_target!(|input: &[u8]| {
    let Ok(metainfo) = Metainfo::parse(input) else { return };
    let geometry = metainfo.geometry();
    for file in geometry.files() {
        if file.kind == FileKind::Pad {
            continue;
        }
        assert!(!file.path.is_empty() && !file.path.starts_with('/'));
        assert!(file.path.split('/').all(|name| !matches!(name, "" | "." | "..")));
        assert!(!file.path.contains('\0'));
    }
    let pieces = geometry.piece_count().min(1000);
    for piece in (0..pieces).map(PieceIndex) {
        let block = geometry.whole_piece(piece).expect("a piece that exists has a block");
        let bytes: u64 = geometry.spans(block).map(|span| u64::from(span.length)).sum();
        assert_eq!(bytes, u64::from(block.length));
    }
    assert!(geometry.whole_piece(PieceIndex(geometry.piece_count())).is_none());
    assert!(metainfo.swarms().count() >= 1);
    let link = Magnet::of(&metainfo).to_string();
    Magnet::parse(&link).expect("our own magnet link is readable");
});
