#!/usr/bin/env bash
# compare.sh [quick|full|tracker] [FLAG]...: ringseed beside other seeders and two floors, or its tracker
# beside other trackers, one run, one table.
#
# Every seeder serves the same 2 GiB from the page cache on one core; ringseed-swarm asks on another,
# each leecher from an address of its own; all of it in a network namespace (ns.sh). See
# docs/benchmarking.md for the method, and `compare.sh quick --help` for the flags. The report goes to
# reports/DATE/.
#
#   quick   100 x 64 and 1 x 1, 5 s each, once (about four minutes)
#   full    1 x 1, 100 x 1, 10 x 64, 100 x 64 and 1000 x 16, 10 s each, three times over (default)
#   tracker ringseed-tracker, aquatic_udp with both back ends, aquatic_http, opentracker and a floor for
#           each protocol: 100,000 torrents, 1,000,000 peers (about ten minutes; --only NAME,... a part)
#
# libtorrent comes from PyPI and rqbit from crates.io into target/ (where scripts/test.sh puts them as
# well), transmission-daemon and rtorrent from Debian by apt-get, which needs root; no service of theirs is
# left running. What cannot be
# installed stands in the table as missing, with the reason. Others can be named:
#   COMPARE_BUILT=1          our own programs are built already
#   RQBIT=PATH               a rqbit binary                        [target/tools/bin/rqbit]
#   LIBTORRENT_PYTHON=PATH   a python that can import libtorrent   [target/venv/bin/python]
#   AQUATIC_UDP_MIO=PATH, AQUATIC_UDP_URING=PATH, AQUATIC_HTTP=PATH   [target/tools/aquatic-*/bin/...]
#
# Ends non-zero when a seeder is missing or a run failed.
set -euo pipefail

RQBIT_VERSION=9.1.0
LIBTORRENT_VERSION=2.1.1
export AQUATIC_VERSION=0.9.0
POLICY=/usr/sbin/policy-rc.d # asked by Debian's packages whether they may start a service

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
logs=$root/target/compare-logs

say() { echo "compare.sh: $*" >&2; }

mode=full
case ${1-} in
    quick | full | tracker) mode=$1 && shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" && exit 0 ;;
    -* | '') ;;
    *) say "no mode '$1'; there are quick, full and tracker" && exit 2 ;;
esac

# get NAME COMMAND...: tries to install; when it fails, WHY_NAME tells compare.py why.
get() {
    local name=$1
    shift
    mkdir -p "$logs"
    if ! "$@" >"$logs/$name.log" 2>&1; then
        local last
        last=$(grep -v '^[[:space:]]*$' "$logs/$name.log" | tail -n 1) || true
        export "WHY_${name^^}=${last:-it cannot be installed}"
        say "$name cannot be installed: ${last:-unknown} (all of it: $logs/$name.log)"
    fi
}

install_rqbit() {
    CARGO_TARGET_DIR=$root/target/tools/build cargo install --locked \
        --root "$root/target/tools" --version "$RQBIT_VERSION" rqbit
}

install_libtorrent() {
    python3 -m venv "$root/target/venv" || return
    "$root/target/venv/bin/python" -m pip install --disable-pip-version-check \
        "libtorrent==$LIBTORRENT_VERSION"
}

# Debian starts a service with its package, and at each boot from then on. It would run beside the
# measurement, and stay: what we install is not started, and a service that was not there is disabled.
install_debian() (
    if ! command -v apt-get >/dev/null; then
        echo "no apt-get here: install $1 by hand"
        return 1
    fi
    if [[ $(id -u) -ne 0 ]]; then
        echo "not root: 'apt-get install $1' as root"
        return 1
    fi
    local was_there=''
    ! systemctl cat "$1.service" &>/dev/null || was_there=yes
    if [[ ! -e $POLICY ]]; then
        trap 'rm -f "$POLICY"' EXIT
        printf '#!/bin/sh\nexit 101 # not allowed: written by compare.sh for one installation\n' >"$POLICY"
        chmod 755 "$POLICY"
    fi
    apt-get update && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install --yes --no-install-recommends "$1" || return
    if [[ -z $was_there ]] && systemctl cat "$1.service" &>/dev/null; then
        systemctl disable --now "$1.service"
    fi
)

find_rqbit() {
    export RQBIT=${RQBIT:-$root/target/tools/bin/rqbit}
    [[ -x $RQBIT ]] && return
    say "building rqbit $RQBIT_VERSION into target/tools (some minutes)"
    RQBIT=$root/target/tools/bin/rqbit
    get rqbit install_rqbit
}

# install_aquatic PACKAGE BACK_END FEATURES: without its metrics, which today's compilers refuse.
install_aquatic() {
    CARGO_TARGET_DIR=$root/target/tools/build cargo install --locked --root "$root/target/tools/aquatic-$2" \
        --version "$AQUATIC_VERSION" --no-default-features --features "$3" "$1"
}

# find_aquatic VARIABLE PACKAGE BACK_END FEATURES
find_aquatic() {
    local built=$root/target/tools/aquatic-$3/bin/$2
    export "$1=${!1:-$built}"
    [[ -x ${!1} ]] && return
    say "building $2 $AQUATIC_VERSION ($3) into target/tools (some minutes)"
    export "$1=$built"
    get "$2" install_aquatic "$2" "$3" "$4"
}

find_libtorrent() {
    export LIBTORRENT_PYTHON=${LIBTORRENT_PYTHON:-$root/target/venv/bin/python}
    "$LIBTORRENT_PYTHON" -c 'import libtorrent' 2>/dev/null && return
    say "installing libtorrent $LIBTORRENT_VERSION into target/venv"
    LIBTORRENT_PYTHON=$root/target/venv/bin/python
    get libtorrent install_libtorrent
}

# find_debian NAME PROGRAM=PACKAGE
find_debian() {
    command -v "${2%%=*}" >/dev/null && return
    say "installing ${2#*=} by apt-get"
    get "$1" install_debian "${2#*=}"
}

for tool in taskset setpriv fincore ip unshare python3; do
    if ! command -v "$tool" >/dev/null; then
        say "'$tool' is missing (Debian: util-linux, util-linux-extra, iproute2, python3)"
        exit 1
    fi
done
cd "$root"
script=compare.py
packages=(-p ringseed -p ringseed-swarm)
if [[ $mode == tracker ]]; then
    script=compare_trackers.py
    packages=(-p ringseed-tracker -p ringseed-swarm)
    find_aquatic AQUATIC_UDP_MIO aquatic_udp mio mimalloc
    find_aquatic AQUATIC_UDP_URING aquatic_udp uring mimalloc,io-uring
    find_aquatic AQUATIC_HTTP aquatic_http mio mimalloc
    find_debian opentracker opentracker=opentracker
else
    find_rqbit
    find_libtorrent
    find_debian transmission transmission-daemon=transmission-daemon
    find_debian rtorrent rtorrent=rtorrent
fi
if [[ -z ${COMPARE_BUILT-} ]]; then
    cargo build --quiet --release "${packages[@]}"
    cargo build --quiet --release -p ringseed-ring --examples
fi

# A thousand connections need more descriptors than most sessions begin with.
ulimit -n "$(ulimit -Hn)"
exec "$here/ns.sh" python3 "$here/peers/$script" "$mode" --target "$target" "$@"
