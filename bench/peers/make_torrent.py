"""Makes the one torrent that all seeders of a comparison serve: v1, private, no tracker."""

import argparse
import json
import os
import sys

import libtorrent as lt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the file to describe")
    parser.add_argument("--piece-bytes", type=int, required=True)
    parser.add_argument("--torrent", required=True, help="where to write it")
    arguments = parser.parse_args()

    files = lt.list_files(arguments.data)
    torrent = lt.create_torrent(files, arguments.piece_bytes, lt.create_torrent.v1_only)
    torrent.set_priv(True)
    lt.set_piece_hashes(torrent, os.path.dirname(os.path.abspath(arguments.data)))
    entry = torrent.generate()
    with open(arguments.torrent, "wb") as out:
        out.write(lt.bencode(entry))
    info = lt.torrent_info(arguments.torrent)
    print(json.dumps({
        "info_hash": str(info.info_hashes().v1),
        "piece_length": info.piece_length(),
        "total_bytes": info.total_size(),
        "libtorrent": lt.version,
    }))
    return 0


if __name__ == "__main__":
    sys.exit(main())
