//! `ringseed create`, `show` and `check` as programs; infohashes compared with libtorrent's for
//! the same files, piece length and flags.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Makes a torrent with libtorrent, or only loads ours, and prints its infohashes.
///
/// Its own order of files in v1 is that of the directory; ours is sorted, so it is given sorted.
const LIBTORRENT: &str = r#"
import os, sys
import libtorrent as lt
action, path, piece_length, *flags = sys.argv[1:]
if action == "create":
    bits = 0
    for flag in flags:
        bits |= 0 if flag == "--private" else getattr(lt.create_torrent, flag)
    files = sorted(lt.list_files(path), key=lambda file: file.filename.encode().split(b"/"))
    torrent = lt.create_torrent(files, int(piece_length), bits)
    torrent.set_priv("--private" in flags)
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    info = lt.torrent_info(lt.bencode(torrent.generate()))
else:
    info = lt.torrent_info(path)
hashes = info.info_hashes()
print(hashes.v1 if hashes.has_v1() else "-", hashes.v2 if hashes.has_v2() else "-")
print(info.num_pieces(), info.total_size())
"#;

/// A Python that has libtorrent 2.1.
fn python() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    std::env::var_os("RINGSEED_LIBTORRENT_PYTHON").map_or(default, PathBuf::from)
}

fn libtorrent(arguments: &[&str]) -> String {
    let python = python();
    let mut command = Command::new(&python);
    command.args(["-W", "ignore", "-c", LIBTORRENT]).args(arguments);
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "cannot run '{}': {error}; run scripts/test.sh, which makes it, or set \
             RINGSEED_LIBTORRENT_PYTHON to a Python with libtorrent 2.1",
            python.display()
        )
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "libtorrent in '{}' failed: {errors}", python.display());
    String::from_utf8(output.stdout).unwrap()
}

/// Runs ringseed in a folder; its exit code, stdout and stderr.
fn ringseed(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringseed"));
    let output = command.current_dir(dir).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The value of a field that `create` or `show` prints.
fn field<'a>(output: &'a str, name: &str) -> Option<&'a str> {
    let line = output.lines().find(|line| line.split("  ").next() == Some(name))?;
    Some(line[name.len()..].trim())
}

fn write(dir: &Path, files: &[(&str, usize)]) {
    for (number, (path, length)) in files.iter().enumerate() {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let byte = |at: usize| u8::try_from((at * 17 + at / 255 + number) % 256).unwrap();
        fs::write(path, (0..*length).map(byte).collect::<Vec<u8>>()).unwrap();
    }
}

const NESTED: &[(&str, usize)] = &[
    ("tree/a/deep/er/x.bin", 32_768),
    ("tree/a/deep/y.bin", 32_769),
    ("tree/a/empty", 0),
    ("tree/b", 16_384),
    ("tree/c", 200_000),
    ("tree/c2", 1),
    ("tree/d/empty first", 0),
    ("tree/d/ünïcode", 70_000),
    ("tree/e", 65_536),
    ("tree/f", 200_000),
    ("tree/z", 0),
];

/// Our flag, and libtorrent's for the same: no attributes (we write none), and for a hybrid the
/// default, in which the files are canonical with a pad behind the last one too.
const FORMATS: [(&str, &[&str]); 3] = [
    ("--v1", &["v1_only", "no_attributes"]),
    ("--v2", &["v2_only", "no_attributes"]),
    ("--hybrid", &["canonical_files", "no_attributes"]),
];

fn compare(dir: &TempDir, root: &str, piece_length: &str, more: &[&str]) {
    let path = dir.path().join(root);
    for (format, flags) in FORMATS {
        let arguments = [
            "create",
            root,
            "-o",
            "out.torrent",
            "--force",
            "--piece-length",
            piece_length,
            format,
        ];
        let (code, stdout, stderr) = ringseed(dir.path(), &[&arguments, more].concat());
        assert_eq!(code, 0, "{stderr}");
        let path = path.to_str().unwrap();
        let theirs = libtorrent(&[&["create", path, piece_length], flags, more].concat());
        let ours =
            [field(&stdout, "Infohash"), field(&stdout, "v2")].map(|hash| hash.unwrap_or("-"));
        let hashes = theirs.lines().next().unwrap();
        assert_eq!(ours.join(" "), hashes, "{root} {piece_length} {format}");
        let torrent = dir.path().join("out.torrent");
        let loaded = libtorrent(&["load", torrent.to_str().unwrap(), "0"]);
        assert_eq!(loaded, theirs, "{root} {piece_length} {format}");
    }
}

#[test]
fn created_infohashes_of_a_folder_equal_those_of_libtorrent() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), NESTED);
    for piece_length in ["16384", "65536"] {
        compare(&dir, "tree", piece_length, &[]);
    }
}

#[test]
fn created_infohashes_of_one_file_equal_those_of_libtorrent() {
    let dir = tempfile::tempdir().unwrap();
    for length in [1, 32_768, 32_769, 3 << 20] {
        write(dir.path(), &[("single", length)]);
        compare(&dir, "single", "32768", &[]);
    }
}

#[test]
fn created_infohashes_of_a_folder_with_one_file_equal_those_of_libtorrent() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("folder/only", 50_000), ("two/0", 0), ("two/1", 50_000)]);
    compare(&dir, "folder", "16384", &["--private"]);
    compare(&dir, "two", "32768", &[]);
}

#[test]
fn libtorrent_reads_a_hybrid_whose_paths_and_names_sort_differently() {
    // "a-b" < "a/x" as paths, but "a" < "a-b" as names, and the file tree is sorted by names.
    // libtorrent 2.1.1 writes the one order in v1 and the other in v2, and refuses its own file.
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("t/a/x", 40_000), ("t/a-b", 5), ("t/b", 9)]);
    let (code, stdout, stderr) = ringseed(dir.path(), &["create", "t", "--hybrid"]);
    assert_eq!(code, 0, "{stderr}");
    let torrent = dir.path().join("t.torrent");
    let loaded = libtorrent(&["load", torrent.to_str().unwrap(), "0"]);
    let ours = [field(&stdout, "Infohash"), field(&stdout, "v2")].map(Option::unwrap).join(" ");
    assert_eq!(loaded.lines().next(), Some(ours.as_str()));
}

#[test]
fn what_was_created_is_shown_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), NESTED);
    let arguments = [
        &["create", "tree", "--hybrid", "--piece-length", "32768", "--private"][..],
        &["--tracker", "http://one/announce", "--tracker", "udp://two:1"],
        &["--comment", "hello", "--source", "S", "--web-seed", "http://web/"],
    ];
    let (code, created, stderr) = ringseed(dir.path(), &arguments.concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("hashed 100%"), "{stderr}");

    let (code, shown, _) = ringseed(dir.path(), &["show", "tree.torrent"]);
    assert_eq!(code, 0);
    for (name, value) in [
        ("Name", "tree"),
        ("Format", "hybrid (v1 and v2)"),
        ("Comment", "hello"),
        ("Source", "S"),
        ("Tier 1", "http://one/announce"),
        ("Tier 2", "udp://two:1"),
        ("Web seeds", "http://web/"),
        ("Private", "yes: peers from trackers only"),
    ] {
        assert_eq!(field(&shown, name), Some(value));
    }
    assert_eq!(field(&shown, "Infohash v1"), field(&created, "Infohash"));
    assert!(shown.contains("32769  tree/a/deep/y.bin"), "{shown}");

    let magnet = field(&created, "Magnet").unwrap();
    let (code, of_magnet, _) = ringseed(dir.path(), &["show", magnet]);
    assert_eq!(code, 0);
    for name in ["Name", "Infohash v1", "Infohash v2", "Size", "Trackers", "Web seeds"] {
        let name_there = if name == "Trackers" { "Tier 1" } else { name };
        assert_eq!(field(&of_magnet, name), field(&shown, name_there), "{name}");
    }

    let (code, stdout, stderr) = ringseed(dir.path(), &["check", "tree.torrent", "--data", "."]);
    assert_eq!((code, stdout.lines().count()), (0, 1), "{stdout}{stderr}");
}

#[test]
fn bad_data_is_listed_by_pieces_and_files_with_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("t/a", 100_000), ("t/b", 100_000), ("t/c", 10)]);
    let (code, ..) = ringseed(dir.path(), &["create", "t", "--v1", "--piece-length", "10000"]);
    assert_eq!(code, 0);
    let mut bytes = fs::read(dir.path().join("t/a")).unwrap();
    bytes[35_000] ^= 1;
    bytes[99_999] ^= 1;
    fs::write(dir.path().join("t/a"), bytes).unwrap();
    fs::remove_file(dir.path().join("t/c")).unwrap();
    let (code, stdout, _) = ringseed(dir.path(), &["check", "t.torrent", "--data", "."]);
    assert_eq!(code, 1);
    let expected = "t: 18 of 21 pieces are good\n\
        './t/c' is missing; give the folder that contains it with --data\n\
        Bad pieces: 3, 9, 20\n\
        \x20 t/a: 3, 9\n\
        \x20 t/c: 20\n";
    assert_eq!(stdout, expected);
}

#[test]
fn errors_are_one_line_with_exit_code_2_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("t/a", 10), ("empty/a", 0), ("t.torrent", 3), ("x.torrent", 40)]);
    fs::create_dir(dir.path().join("none")).unwrap();
    for (arguments, message) in [
        (&["create", "t"][..], "'t.torrent' exists; --force overwrites it"),
        (&["create", "missing"], "cannot make a torrent of 'missing': cannot read '"),
        (&["create", "empty"], "all files are empty"),
        (&["create", "none"], "contains no file"),
        (&["create", "t", "-o", "o", "--v2", "--piece-length", "10000"], "power of two from 16384"),
        (&["create", "t", "-o", "o", "--piece-length", "0"], "piece length 0; between 1 and"),
        (&["create", "t", "-o", "no/such/folder/o"], "cannot write 'no/such/folder/o': No such"),
        (&["create", "t", "-o", "none", "--force"], "cannot write 'none': Is a directory"),
        (&["check", "x.torrent", "--data", "."], "cannot read 'x.torrent': bencode is broken"),
        (&["check", "t.torrent", "--data", "nowhere"], "cannot read 't.torrent'"),
        (&["show", "magnet:?dn=x"], "has no infohash"),
        (&["show", "missing"], "cannot read 'missing': No such file"),
    ] {
        let (code, stdout, stderr) = ringseed(dir.path(), arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?} {stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with("ringseed: ") && last.contains(message), "{arguments:?} {stderr}");
    }
    assert_eq!(fs::read(dir.path().join("t.torrent")).unwrap().len(), 3);
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 5, "a partial file was left behind");
    let both = ringseed(dir.path(), &["create", "t", "--v1", "--v2"]);
    assert_eq!(both.0, 2);
}

#[test]
fn links_in_a_folder_are_left_out_and_said_so() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("t/a", 10), ("secret", 10)]);
    std::os::unix::fs::symlink("../secret", dir.path().join("t/link")).unwrap();
    let (code, _, stderr) = ringseed(dir.path(), &["create", "t"]);
    assert_eq!(code, 0);
    assert!(stderr.contains("t/link' is no regular file and was left out"), "{stderr}");
    let (_, shown, _) = ringseed(dir.path(), &["show", "t.torrent"]);
    assert!(!shown.contains("link"), "{shown}");
}
