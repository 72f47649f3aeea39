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
# The peers are found where scripts/test.sh puts them, or installed there (nothing outside target/ is
# written), unless these name others:
#   RQBIT=PATH               a rqbit binary                        [target/tools/bin/rqbit]
#   LIBTORRENT_PYTHON=PATH   a python that can import libtorrent   [target/venv/bin/python]
set -euo pipefail

RQBIT_VERSION=9.1.0
LIBTORRENT_VERSION=2.1.1

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

mode=full
case ${1-} in
    quick | full) mode=$1 && shift ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 0 ;;
esac

find_rqbit() {
    export RQBIT=${RQBIT:-$root/target/tools/bin/rqbit}
    [[ -x $RQBIT ]] && return
    echo "compare-seeders.sh: building rqbit $RQBIT_VERSION into target/tools (some minutes)" >&2
    CARGO_TARGET_DIR=$root/target/tools/build cargo install --quiet --locked \
        --root "$root/target/tools" --version "$RQBIT_VERSION" rqbit
    RQBIT=$root/target/tools/bin/rqbit
}

find_libtorrent() {
    export LIBTORRENT_PYTHON=${LIBTORRENT_PYTHON:-$root/target/venv/bin/python}
    "$LIBTORRENT_PYTHON" -c 'import libtorrent' 2>/dev/null && return
    echo "compare-seeders.sh: installing libtorrent $LIBTORRENT_VERSION into target/venv" >&2
    python3 -m venv "$root/target/venv"
    LIBTORRENT_PYTHON=$root/target/venv/bin/python
    "$LIBTORRENT_PYTHON" -m pip install --quiet "libtorrent==$LIBTORRENT_VERSION"
}

for tool in taskset fincore ip unshare python3; do
    if ! command -v "$tool" >/dev/null; then
        echo "compare-seeders.sh: '$tool' is missing (Debian: util-linux, util-linux-extra, iproute2, python3)" >&2
        exit 1
    fi
done
find_rqbit
find_libtorrent
cd "$root"
cargo build --quiet --release -p ringseed -p ringseed-swarm
cargo build --quiet --release -p ringseed-ring --examples

# A thousand connections need more descriptors than most sessions begin with.
ulimit -n "$(ulimit -Hn)"
exec "$here/ns.sh" "$LIBTORRENT_PYTHON" "$here/peers/compare.py" "$mode" --target "$target" "$@"
