use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::limits::{FILES_MAX, PATHS_BYTES_MAX, PIECE_BYTES_MAX, PIECES_MAX};

fn geometry(piece_length: u64, layout: Layout, files: &[(u64, FileKind)]) -> Geometry {
    let mut builder = GeometryBuilder::new(piece_length, layout).unwrap();
    for (at, (length, kind)) in files.iter().enumerate() {
        builder.push(&std::format!("t/{at}"), *length, *kind).unwrap();
    }
    builder.finish().unwrap()
}

fn block(piece: u32, begin: u32, length: u32) -> BlockRef {
    BlockRef { piece: PieceIndex(piece), begin, length }
}

use FileKind::{Content, Pad};

#[test]
fn a_v1_block_crosses_files_and_skips_empty_ones() {
    let map =
        geometry(10, Layout::Packed, &[(4, Content), (0, Content), (3, Content), (9, Content)]);
    let spans: Vec<Span> = map.spans(block(0, 2, 8)).collect();
    let span = |file, offset, length| Span { file: FileIndex(file), offset, length, is_pad: false };
    assert_eq!(spans, [span(0, 2, 2), span(2, 0, 3), span(3, 0, 3)]);
    assert_eq!(map.piece_count(), 2);
    assert_eq!(map.piece_bytes(PieceIndex(1)), Some(6));
    assert_eq!(map.piece_bytes(PieceIndex(2)), None);
    assert_eq!(map.pieces_of(FileIndex(3)), 0..2);
    assert!(map.pieces_of(FileIndex(1)).is_empty());
    assert_eq!(map.file(FileIndex(2)).unwrap().path, "t/2");
    assert_eq!(map.file(FileIndex(4)), None);
}

#[test]
fn a_v2_file_begins_a_piece_and_its_gap_is_no_block() {
    let map =
        geometry(16, Layout::Aligned, &[(20, Content), (0, Content), (16, Content), (1, Content)]);
    assert_eq!(map.piece_count(), 4);
    let bytes: Vec<u32> = (0..4).map(|p| map.piece_bytes(PieceIndex(p)).unwrap()).collect();
    assert_eq!(bytes, [16, 4, 16, 1]);
    assert_eq!(map.total_bytes(), 37);
    assert_eq!(map.content_bytes(), 37);
    let past = BlockFault::PastPieceEnd { piece: 1, begin: 0, end: 5, piece_bytes: 4 };
    assert_eq!(map.check_block(block(1, 0, 5)), Err(past));
    assert_eq!(map.check_block(block(1, 0, 4)), Ok(()));
}

#[test]
fn a_hybrid_serves_the_pad_to_v1_and_the_file_alone_to_v2() {
    let map = geometry(16, Layout::Packed, &[(20, Content), (12, Pad), (5, Content)]);
    assert_eq!((map.total_bytes(), map.content_bytes()), (37, 25));
    assert_eq!(map.check_block(block(1, 0, 16)), Ok(()));
    let v1: Vec<Span> = map.spans(block(1, 0, 16)).collect();
    assert_eq!((v1[0].length, v1[0].is_pad), (4, false));
    assert_eq!((v1[1].length, v1[1].is_pad), (12, true));
    assert_eq!(map.check_block(block(1, 0, 4)), Ok(()));
    assert_eq!(map.spans(block(1, 0, 4)).count(), 1);
    let of_file: Vec<_> = (0..4).map(|p| map.file_bytes_in(PieceIndex(p))).collect();
    assert_eq!(of_file, [Some(16), Some(4), Some(5), None]);
    assert_eq!(map.file_of(PieceIndex(2)), Some(FileIndex(2)));
}

#[test]
fn blocks_that_are_none_are_named() {
    let map = geometry(1 << 20, Layout::Packed, &[(3 << 20, Content)]);
    let out = BlockFault::PieceOutOfRange { piece: 3, piece_count: 3 };
    assert_eq!(map.check_block(block(3, 0, 1)), Err(out));
    assert_eq!(map.check_block(block(0, 0, 0)), Err(BlockFault::Empty));
    let long = BLOCK_BYTES_MAX + 1;
    assert_eq!(map.check_block(block(0, 0, long)), Err(BlockFault::TooLong { length: long }));
    assert_eq!(map.check_block(block(0, 7, BLOCK_BYTES_MAX)), Ok(()));
    assert!(map.check_block(block(0, (1 << 20) - 1, 2)).is_err());
    assert!(map.check_block(block(0, u32::MAX, BLOCK_BYTES_MAX)).is_err());
    assert!(map.check_block(block(u32::MAX, u32::MAX, u32::MAX)).is_err());
}

#[test]
fn the_limits_of_geometry_hold() {
    let layout = Layout::Packed;
    assert_eq!(GeometryBuilder::new(0, layout).unwrap_err(), GeometryError::PieceLength(0));
    let long = u64::from(PIECE_BYTES_MAX) + 1;
    assert_eq!(GeometryBuilder::new(long, layout).unwrap_err(), GeometryError::PieceLength(long));
    let mut builder = GeometryBuilder::new(1, layout).unwrap();
    builder.push("a", u64::from(PIECES_MAX), Content).unwrap();
    assert!(matches!(builder.push("b", 1, Content), Err(GeometryError::TooManyPieces { .. })));
    assert!(builder.push("b", u64::MAX, Content).is_err());
    let mut many = GeometryBuilder::new(1, layout).unwrap();
    (0..FILES_MAX).for_each(|_| many.push("", 0, Content).unwrap());
    assert_eq!(many.push("", 0, Content), Err(GeometryError::TooManyFiles));
    let mut long = GeometryBuilder::new(1, layout).unwrap();
    let path = "x".repeat(PATHS_BYTES_MAX / 4);
    (0..4).for_each(|_| long.push(&path, 0, Content).unwrap());
    assert_eq!(long.push("x", 0, Content), Err(GeometryError::PathsTooLong));
    let mut empty = GeometryBuilder::new(1, layout).unwrap();
    empty.push("a", 0, Content).unwrap();
    empty.push("", 5, Pad).unwrap();
    assert_eq!(empty.finish().unwrap_err(), GeometryError::NoContent);
}

/// The naive model: every byte of the line, with the file it belongs to.
fn line(piece_length: u64, layout: Layout, files: &[(u64, FileKind)]) -> Vec<Option<(u32, u64)>> {
    let mut line = Vec::new();
    for (index, (length, _)) in files.iter().enumerate() {
        while layout == Layout::Aligned
            && *length > 0
            && !(line.len() as u64).is_multiple_of(piece_length)
        {
            line.push(None);
        }
        line.extend((0..*length).map(|at| Some((index as u32, at))));
    }
    line
}

proptest! {
    #[test]
    fn spans_are_those_of_the_naive_model(
        piece_length in 1u64..40,
        aligned in any::<bool>(),
        files in prop::collection::vec((0u64..60, prop::bool::weighted(0.2)), 1..12),
        piece in 0u32..50, begin in 0u32..45, length in 0u32..45,
    ) {
        let layout = if aligned { Layout::Aligned } else { Layout::Packed };
        let files: Vec<_> =
            files.into_iter().map(|(l, pad)| (l, if pad { Pad } else { Content })).collect();
        prop_assume!(files.iter().any(|(length, kind)| *length > 0 && *kind == Content));
        let map = geometry(piece_length, layout, &files);
        let line = line(piece_length, layout, &files);
        prop_assert_eq!(u64::from(map.piece_count()), (line.len() as u64).div_ceil(piece_length));

        let start = u64::from(piece) * piece_length;
        let in_piece: Vec<_> =
            line.iter().skip(start as usize).take(piece_length as usize).collect();
        let real = in_piece.iter().take_while(|byte| byte.is_some()).count() as u64;
        prop_assert_eq!(map.piece_bytes(PieceIndex(piece)).map(u64::from), (real > 0).then_some(real));

        let block = block(piece, begin, length);
        let legal = length > 0 && u64::from(begin) + u64::from(length) <= real;
        prop_assert_eq!(map.check_block(block).is_ok(), legal);
        if legal {
            let mut bytes = Vec::new();
            for span in map.spans(block) {
                prop_assert!(span.length > 0);
                prop_assert_eq!(span.is_pad, files[span.file.0 as usize].1 == Pad);
                bytes.extend((0..u64::from(span.length)).map(|at| Some((span.file.0, span.offset + at))));
            }
            let from = (start + u64::from(begin)) as usize;
            prop_assert_eq!(&bytes[..], &line[from..from + length as usize]);
        }
    }
}
