#!/usr/bin/env bash
# compare-seeders.sh [quick|full] [FLAG]...: ringseed beside other seeders, one run, one table.
#
# Every seeder serves the same 2 GiB from the page cache on core 0; ringseed-swarm asks on core 1; all
# of it in a network namespace of its own (ns.sh). See docs/benchmarking.md for the method, and
# `peers/compare.py --help` for the flags. The report goes to reports/DATE/.
#
#   quick   100 x 64 and 1 x 1, 5 s each, once
#   full    1 x 1, 100 x 1, 10 x 64, 100 x 64 and 1000 x 16, 10 s each, three times over (default)
#
# The peers are found or installed here (nothing outside target/ is written):
#   RQBIT=PATH               a rqbit binary      [default: from PATH, or `cargo install` into target/tools]
#   LIBTORRENT_PYTHON=PATH   a python that can import libtorrent   [default: python3, or a venv in target/tools]
set -euo pipefail

RQBIT_VERSION=9.1.0
LIBTORRENT_VERSION=2.1.1

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/tools

mode=full
case ${1-} in
    quick | full) mode=$1 && shift ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 0 ;;
esac

find_rqbit() {
    if [[ -z ${RQBIT-} ]]; then
        RQBIT=$(command -v rqbit || echo "$tools/bin/rqbit")
    fi
    if [[ ! -x $RQBIT ]]; then
        echo "compare-seeders.sh: building rqbit $RQBIT_VERSION into $tools (some minutes)" >&2
        cargo install --quiet --locked --root "$tools" "rqbit@$RQBIT_VERSION"
    fi
    export RQBIT
}

find_libtorrent() {
    local python=${LIBTORRENT_PYTHON:-python3}
    if ! "$python" -c 'import libtorrent' 2>/dev/null; then
        python=$tools/libtorrent/bin/python
        if [[ ! -x $python ]]; then
            echo "compare-seeders.sh: installing libtorrent $LIBTORRENT_VERSION into $tools" >&2
            python3 -m venv "$tools/libtorrent"
            "$tools/libtorrent/bin/pip" install --quiet "libtorrent==$LIBTORRENT_VERSION"
        fi
    fi
    export LIBTORRENT_PYTHON=$python
}

find_rqbit
find_libtorrent
cd "$root"
cargo build --quiet --release -p ringseed -p ringseed-swarm
cargo build --quiet --release -p ringseed-ring --examples

# A thousand connections need more descriptors than most sessions begin with.
ulimit -n "$(ulimit -Hn)"
exec "$here/ns.sh" "$LIBTORRENT_PYTHON" "$here/peers/compare.py" "$mode" --target "$target" "$@"
