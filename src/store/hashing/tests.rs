use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use ringseed_meta::limits::BLOCK_BYTES;
use ringseed_meta::merkle;
use ringseed_meta::metainfo::{Blueprint, Outer, Root};
use sha1::{Digest, Sha1};

use super::*;

static NEVER: AtomicBool = AtomicBool::new(false);

/// Writes files of these lengths below `t` and lays them out.
fn content(dir: &Path, format: Format, piece_length: u32, lengths: &[usize]) -> Blueprint {
    fs::create_dir_all(dir.join("t/d")).unwrap();
    let mut files = Vec::new();
    for (number, length) in lengths.iter().enumerate() {
        let path = format!("{}{number:02}", if number % 2 == 1 { "d/" } else { "" });
        let byte = |at: usize| u8::try_from((at * 31 + at / 251 + number * 7) % 256).unwrap();
        fs::write(dir.join("t").join(&path), (0..*length).map(byte).collect::<Vec<u8>>()).unwrap();
        files.push((path, *length as u64));
    }
    Blueprint::new(format, Root::Folder, "t", piece_length, files).unwrap()
}

thread_local! {
    /// One for all that a test does: it is used again and again.
    static RUNTIME: &'static Runtime = Box::leak(Box::new(Runtime::new(Reads::Ring).unwrap()));
}

fn options(threads: usize) -> Options<'static> {
    Options { threads, cancel: &NEVER, runtime: RUNTIME.with(|runtime| *runtime) }
}

fn hashed(blueprint: &Blueprint, dir: &Path) -> Hashed {
    hash(blueprint.geometry(), blueprint.format(), dir, &options(2), &mut |_| ()).unwrap()
}

fn metainfo(blueprint: &Blueprint, dir: &Path) -> Metainfo {
    let pieces = hashed(blueprint, dir).pieces;
    Metainfo::parse(&blueprint.write(&pieces, false, None, &Outer::default()).unwrap()).unwrap()
}

fn check(metainfo: &Metainfo, dir: &Path) -> Verified {
    verify(metainfo, dir, &options(2), &mut |_| ()).unwrap()
}

/// The hashes, computed one piece and one span at a time.
fn naive(blueprint: &Blueprint, dir: &Path) -> PieceHashes {
    let geometry = blueprint.geometry();
    let mut hashes = PieceHashes::default();
    for piece in (0..geometry.piece_count()).map(PieceIndex) {
        let (mut all, mut unpadded) = (Vec::new(), Vec::new());
        for span in geometry.spans(geometry.whole_piece(piece).unwrap()) {
            let length = span.length as usize;
            if span.is_pad {
                all.resize(all.len() + length, 0);
                continue;
            }
            let path = dir.join(geometry.file(span.file).unwrap().path);
            let start = usize::try_from(span.offset).unwrap();
            let bytes = &fs::read(path).unwrap()[start..start + length];
            all.extend_from_slice(bytes);
            unpadded.extend_from_slice(bytes);
        }
        if blueprint.format().has_v1() {
            hashes.v1.push(Sha1::digest(&all).into());
        }
        if blueprint.format().has_v2() {
            let blocks = unpadded.chunks(BLOCK_BYTES as usize);
            let leaves: Vec<_> = blocks.map(merkle::block_hash).collect();
            let file = geometry.file(geometry.file_of(piece).unwrap()).unwrap();
            let piece_length = geometry.piece_length();
            hashes.v2.push(merkle::piece_hash(&leaves, piece_length, file.length));
        }
    }
    hashes
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::V1), Just(Format::V2), Just(Format::Hybrid)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn hashes_are_those_of_the_naive_model(
        format in format(),
        shift in 0u32..9,
        threads in 1usize..4,
        lengths in prop::collection::vec(
            prop_oneof![Just(0usize), 1usize..70_000, 60_000usize..2_600_000], 1..6,
        ),
    ) {
        prop_assume!(lengths.iter().any(|length| *length > 0));
        let dir = tempfile::tempdir().unwrap();
        let blueprint = content(dir.path(), format, BLOCK_BYTES << shift, &lengths);
        let data_dir = match blueprint.paths_begin_with_name() {
            true => dir.path().to_owned(),
            false => dir.path().join("t"),
        };
        let expected = naive(&blueprint, &data_dir);
        let geometry = blueprint.geometry();
        let mut last = None;
        let result = hash(geometry, format, &data_dir, &options(threads), &mut |progress| {
            last = Some(progress);
        });
        prop_assert_eq!(&result.unwrap().pieces, &expected);
        let total_bytes = geometry.total_bytes();
        prop_assert_eq!(last, Some(Progress { done_bytes: total_bytes, total_bytes }));
    }
}

#[test]
fn plain_reads_give_the_same_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let lengths = [70_000, 0, 3 << 20, 5];
    let blueprint = content(dir.path(), Format::Hybrid, 2 << 20, &lengths);
    let runtime = Runtime::new(Reads::Plain).unwrap();
    let plain = Options { runtime: &runtime, ..options(2) };
    let (geometry, format) = (blueprint.geometry(), blueprint.format());
    let hashed = hash(geometry, format, dir.path(), &plain, &mut |_| ()).unwrap();
    assert_eq!(hashed.pieces, naive(&blueprint, dir.path()));
}

#[test]
fn good_data_is_complete_and_one_wrong_byte_costs_one_piece() {
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        let dir = tempfile::tempdir().unwrap();
        let blueprint = content(dir.path(), format, 32 << 10, &[100_000, 50_000]);
        let metainfo = metainfo(&blueprint, dir.path());
        let good = check(&metainfo, dir.path());
        assert!(good.is_complete());
        assert_eq!(good.bad_pieces(), []);
        assert_eq!(good.files, hashed(&blueprint, dir.path()).files);

        let path = dir.path().join("t/00");
        let mut bytes = fs::read(&path).unwrap();
        bytes[70_000] ^= 1;
        fs::write(&path, bytes).unwrap();
        let bad = check(&metainfo, dir.path());
        assert_eq!(bad.bad_pieces().len(), 1);
        assert_eq!(bad.have.count(), bad.have.piece_count() - 1);
        assert_eq!(bad.faults, []);
        assert!(!bad.is_complete());
    }
}

fn problems(verified: &Verified) -> Vec<&FileProblem> {
    verified.faults.iter().map(|fault| &fault.problem).collect()
}

#[test]
fn missing_short_and_long_files_are_named_and_the_rest_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let lengths = [100_000, 20_000, 64 << 10, 40_000, 0];
    let blueprint = content(dir.path(), Format::V2, 32 << 10, &lengths);
    let metainfo = metainfo(&blueprint, dir.path());
    let path = |name: &str| dir.path().join("t").join(name);
    // Pieces: 00 has 0-3, 02 has 4-5, d/01 has 6, d/03 has 7-8; 04 is empty.
    fs::OpenOptions::new().write(true).open(path("00")).unwrap().set_len(50_000).unwrap();
    fs::remove_file(path("02")).unwrap();
    fs::OpenOptions::new().write(true).open(path("d/03")).unwrap().set_len(40_001).unwrap();
    fs::remove_file(path("04")).unwrap();
    fs::create_dir(path("04")).unwrap();
    let verified = check(&metainfo, dir.path());
    assert_eq!(format!("{:?}", verified.bad_pieces()), "[1..6]");
    let expected = [
        &FileProblem::Shorter { is: 50_000, needed: 100_000 },
        &FileProblem::Missing,
        &FileProblem::NotAFile,
        &FileProblem::Longer { is: 40_001, needed: 40_000 },
    ];
    assert_eq!(problems(&verified), expected);
    let text = verified.faults[0].to_string();
    assert!(text.ends_with("t/00' has 50000 bytes, 50000 too few"), "{text}");
    let error = hash(blueprint.geometry(), Format::V2, dir.path(), &options(1), &mut |_| ());
    assert!(matches!(error, Err(HashingError::File(fault)) if fault.path == path("00")));
}

/// A fresh buffer is zeros too, so that only the reader can tell what it has not read.
fn zeros(dir: &Path, piece_length: u32, lengths: &[u64]) -> Blueprint {
    fs::create_dir_all(dir.join("t")).unwrap();
    let name = |number: usize| format!("{number:02}");
    for (number, length) in lengths.iter().enumerate() {
        fs::File::create(dir.join("t").join(name(number))).unwrap().set_len(*length).unwrap();
    }
    let files = lengths.iter().enumerate().map(|(number, length)| (name(number), *length));
    Blueprint::new(Format::V1, Root::Folder, "t", piece_length, files.collect()).unwrap()
}

#[test]
fn bytes_that_were_not_read_are_not_believed_to_be_zeros() {
    let dir = tempfile::tempdir().unwrap();
    // Piece 3 has bytes of both the second file and the third.
    let blueprint = zeros(dir.path(), 16 << 10, &[32 << 10, 20 << 10, 60 << 10]);
    let metainfo = metainfo(&blueprint, dir.path());
    fs::remove_file(dir.path().join("t/01")).unwrap();
    let verified = check(&metainfo, dir.path());
    assert_eq!(format!("{:?}", verified.bad_pieces()), "[2..4]");
}

#[test]
fn a_file_that_was_replaced_since_the_survey_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let blueprint = zeros(dir.path(), 16 << 10, &[32 << 10, 20 << 10, 60 << 10]);
    let geometry = blueprint.geometry();
    let (mut stamps, _) = survey(geometry, dir.path());
    stamps[1].inode += 1;
    let job = reader::Job { geometry, format: Format::V1, data_dir: dir.path(), stamps: &stamps };
    let mut pieces = Vec::new();
    let faults = reader::run(&job, &options(1), &mut |_| (), &mut |digest| {
        pieces.push(digest.piece.0);
    });
    pieces.sort_unstable();
    assert_eq!(pieces, [0, 1, 4, 5, 6]);
    let problems: Vec<FileProblem> = faults.unwrap().into_iter().map(|f| f.problem).collect();
    assert_eq!(problems, [FileProblem::Changed]);
}

#[test]
fn progress_reaches_the_end_when_a_large_piece_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let blueprint = zeros(dir.path(), 8 << 20, &[9 << 20, 1]);
    let metainfo = metainfo(&blueprint, dir.path());
    fs::remove_file(dir.path().join("t/00")).unwrap();
    let mut last = None;
    verify(&metainfo, dir.path(), &options(1), &mut |progress| last = Some(progress)).unwrap();
    let total_bytes = (9 << 20) + 1;
    assert_eq!(last, Some(Progress { done_bytes: total_bytes, total_bytes }));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let blueprint = content(dir.path(), Format::V1, 32 << 10, &[5 << 20, 40_000]);
    let metainfo = metainfo(&blueprint, dir.path());
    let path = dir.path().join("t/00");
    let touched = AtomicBool::new(false);
    let verified = verify(&metainfo, dir.path(), &options(1), &mut |_| {
        if !touched.swap(true, Ordering::Relaxed) {
            let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    });
    let verified = verified.unwrap();
    assert_eq!(problems(&verified), [&FileProblem::Changed]);
    // Piece 160 is the first without a byte of the changed file.
    assert_eq!(format!("{:?}", verified.bad_pieces()), "[0..160]");
}

#[test]
fn hashing_stops_when_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let length = 100u64 << 20;
    fs::File::create(dir.path().join("t")).unwrap().set_len(length).unwrap();
    let files = vec![("t".into(), length)];
    let blueprint = Blueprint::new(Format::V1, Root::File, "t", 1 << 20, files).unwrap();
    let cancel = AtomicBool::new(false);
    let options = Options { cancel: &cancel, ..options(1) };
    let mut reports = 0;
    let result = hash(blueprint.geometry(), Format::V1, dir.path(), &options, &mut |_| {
        reports += 1;
        cancel.store(true, Ordering::Relaxed);
    });
    assert!(matches!(result, Err(HashingError::Cancelled)));
    assert!(reports < 20, "{reports} of 100 pieces were hashed");
}
