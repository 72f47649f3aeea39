#!/usr/bin/env bash
# Everything that must hold before a change lands, in stages.
#
#   scripts/test.sh [--without-rqbit] [STAGE...]
#
#   fmt      rustfmt agrees with every file
#   lint     clippy, warnings are errors; cargo-deny where it is installed
#   doc      rustdoc, warnings are errors
#   tidy     the rules of the house that no compiler checks
#   unit     tests beside the code, examples in documentation, and the program on loopback
#   sim      the worker under the simulated kernel, faults by seed
#   interop  real clients download from the real program: aria2, Transmission, libtorrent, rqbit;
#            the Python package hdrhistogram reads an interval log of ringseed-swarm;
#            bench/swarm.sh puts load on the real program
#
# Without a stage all are run. What a stage needs is installed first: Debian packages by apt-get,
# libtorrent and hdrhistogram from PyPI into target/venv, rqbit by cargo into target/tools (about
# three minutes, once; --without-rqbit leaves it and its tests out). Ends with a summary, non-zero
# when any stage failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

ALL=(fmt lint doc tidy unit sim interop)
LIBTORRENT=2.1.1
HDRHISTOGRAM=0.10.8
RQBIT=9.1.0
with_rqbit=yes
stages=()

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

for argument in "$@"; do
    case "$argument" in
        --without-rqbit) with_rqbit=no ;;
        -h | --help) usage; exit 0 ;;
        *)
            if [[ " ${ALL[*]} " != *" $argument "* ]]; then
                echo "test.sh: no stage '$argument'; there are: ${ALL[*]}" >&2
                exit 2
            fi
            stages+=("$argument")
            ;;
    esac
done
[ ${#stages[@]} -gt 0 ] || stages=("${ALL[@]}")

# Swarms hold a descriptor for each connection.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"

say() { printf '\n== %s\n' "$*"; }

# Installs the Debian packages of those programs that are missing: install PROGRAM=PACKAGE...
install() {
    local missing=() pair
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "test.sh: no apt-get here; install by hand: ${missing[*]}" >&2
        return 1
    fi
    if [ "$(id -u)" != 0 ]; then
        echo "test.sh: not root; run 'apt-get install ${missing[*]}' as root" >&2
        return 1
    fi
    say "installing ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# libtorrent's Python module, into a virtual environment of our own.
install_libtorrent() {
    has_libtorrent() { "$RINGSEED_LIBTORRENT_PYTHON" -c "import libtorrent as l; assert l.__version__.startswith('$LIBTORRENT')" 2>/dev/null; }
    has_libtorrent && return 0
    install python3=python3 || return 1
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
        install no-such-program=python3-venv || return 1
    fi
    say "installing libtorrent $LIBTORRENT into target/venv"
    python3 -m venv --clear target/venv &&
        target/venv/bin/pip install --quiet --disable-pip-version-check "libtorrent==$LIBTORRENT" &&
        has_libtorrent
}

# The Python package that reads interval logs, beside libtorrent.
install_hdrhistogram() {
    "$RINGSEED_HDRHISTOGRAM_PYTHON" -c 'import hdrh' 2>/dev/null && return 0
    say "installing hdrhistogram $HDRHISTOGRAM into target/venv"
    { [ -x target/venv/bin/pip ] || python3 -m venv target/venv; } &&
        target/venv/bin/pip install --quiet --disable-pip-version-check "hdrhistogram==$HDRHISTOGRAM"
}

# Builds rqbit beside everything else, at the lowest priority.
rqbit_build=
start_rqbit() {
    [ "$with_rqbit" = yes ] || return 0
    "$RINGSEED_RQBIT" --version 2>/dev/null | grep -q " $RQBIT" && return 0
    mkdir -p target/tools
    say "building rqbit $RQBIT in the background (target/tools/rqbit.log)"
    CARGO_TARGET_DIR=target/tools/build nice -n 19 \
        cargo install --locked --force --root target/tools --version "$RQBIT" rqbit \
        >target/tools/rqbit.log 2>&1 &
    rqbit_build=$!
}

wait_for_rqbit() {
    [ -n "$rqbit_build" ] || return 0
    say "waiting for rqbit"
    local build=$rqbit_build
    rqbit_build=
    if ! wait "$build"; then
        tail -n 20 target/tools/rqbit.log >&2
        echo "test.sh: rqbit did not build; --without-rqbit leaves it out" >&2
        return 1
    fi
    rm -rf target/tools/build
}

if cargo nextest --version >/dev/null 2>&1; then runner=nextest; else runner='test'; fi

# The tests of the integration binary whose names start with "$1::", without those that match "$2".
run_it() {
    local skip=${2:-}
    if [ $runner = nextest ]; then
        cargo nextest run --workspace --no-fail-fast \
            -E "binary(it) & test(/^$1::/)${skip:+ & not test($skip)}"
    else
        cargo test --workspace --test it "$1::" -- ${skip:+--skip "$skip"}
    fi
}

stage_fmt() { cargo fmt --all --check; }

stage_lint() {
    cargo clippy --workspace --all-targets --all-features -- -D warnings || return 1
    local script
    for script in scripts/*.sh bench/*.sh bench/*/*.sh .ci/run; do
        [ ! -e "$script" ] || bash -n "$script" || return 1
    done
    if command -v shellcheck >/dev/null; then
        shellcheck --severity=warning scripts/*.sh bench/*.sh .ci/run || return 1
    else
        echo "shellcheck is not installed: scripts were only parsed"
    fi
    ! command -v python3 >/dev/null || python3 -m compileall -q bench || return 1
    if cargo deny --version >/dev/null 2>&1; then
        cargo deny --all-features check
    else
        echo "cargo-deny is not installed: licences and advisories were not checked"
    fi
}

stage_doc() { RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --all-features; }

stage_tidy() { run_it tidy; }

stage_unit() {
    if [ $runner = nextest ]; then
        cargo nextest run --workspace --no-fail-fast \
            -E 'not (binary(it) & test(/^(tidy|sim|interop)::/))'
    else
        cargo test --workspace --no-fail-fast --lib --bins --examples &&
            cargo test --no-fail-fast -p ringseed-swarm --test '*' &&
            cargo test --workspace --test it -- --skip tidy:: --skip sim:: --skip interop::
    fi && cargo test --workspace --doc
}

stage_sim() { run_it sim; }

# Infohashes are compared with libtorrent's.
prepare_unit() { install_libtorrent; }

prepare_interop() {
    install aria2c=aria2 transmission-cli=transmission-cli kill=procps ip=iproute2 &&
        install_libtorrent && install_hdrhistogram &&
        cargo build -p ringseed-swarm -p ringseed-tracker && wait_for_rqbit
}

stage_interop() {
    if [ "$with_rqbit" = yes ]; then run_it interop; else run_it interop rqbit; fi &&
        cargo test -p ringseed-swarm --test reports -- --ignored
}

# The lines in which a runner says how it went; a compiler's where no test ran.
closing_lines() {
    local plain
    plain=$(sed 's/\x1b\[[0-9;]*m//g' "$1")
    grep -E '^ *Summary \[|^test result: (FAILED|ok\. [1-9])' <<<"$plain" ||
        grep -E '^ +Finished ' <<<"$plain" | tail -n 1
}

# Where the tests find what was installed here, unless the caller knows better.
export RINGSEED_LIBTORRENT_PYTHON="${RINGSEED_LIBTORRENT_PYTHON:-$PWD/target/venv/bin/python}"
export RINGSEED_HDRHISTOGRAM_PYTHON="${RINGSEED_HDRHISTOGRAM_PYTHON:-$PWD/target/venv/bin/python}"
export RINGSEED_RQBIT="${RINGSEED_RQBIT:-$PWD/target/tools/bin/rqbit}"

logs=target/test-logs
mkdir -p "$logs"
# Tests that cannot run on this machine write a line here; the summary has them.
export RINGSEED_LEFT_OUT="$PWD/$logs/left-out.txt"
: >"$RINGSEED_LEFT_OUT"
failed=0
summary=()
if [[ " ${stages[*]} " == *" interop "* ]]; then
    start_rqbit
    trap '[ -z "$rqbit_build" ] || kill "$rqbit_build" 2>/dev/null' EXIT
fi
for stage in "${stages[@]}"; do
    say "$stage"
    began=$SECONDS
    : >"$logs/$stage.log"
    verdict=FAILED
    if [ "$(type -t "prepare_$stage")" != function ] || "prepare_$stage"; then
        if "stage_$stage" 2>&1 | tee "$logs/$stage.log"; then verdict=ok; fi
    fi
    [ $verdict = ok ] || failed=1
    took=$((SECONDS - began))
    summary+=("$(printf '%-8s %-6s %4d s' "$stage" "$verdict" "$took")")
    while IFS= read -r line; do
        summary+=("         ${line#"${line%%[! ]*}"}")
    done < <(closing_lines "$logs/$stage.log")
done

say "summary after $SECONDS s (logs in $logs)"
printf '%s\n' "${summary[@]}"
cat "$RINGSEED_LEFT_OUT"
exit "$failed"
