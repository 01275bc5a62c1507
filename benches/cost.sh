#!/bin/sh
# What a packet costs on one worker: instructions by cachegrind, and user time as the median of paired runs (the
# kernel's share is that of reading the file, and follows how its pages lie in the cache). Plain Ethernet by an older
# binary and by this one, and the same packets plain and wrapped in VXLAN. `make bench-cost`.
#
#   CORPUS=FOLDER    captures to repeat (../shared/corpus)     MEGABYTES=100  size of the plain capture
#   EASTWATCH=BIN    a binary that is built already            RUNS=20        pairs of runs of each comparison
#   BEFORE=BIN       an older one to compare with (none: left out)
set -eu
cd "$(dirname "$0")/.."
corpus="${CORPUS:-../shared/corpus}"
megabytes="${MEGABYTES:-100}"
runs="${RUNS:-20}"
target="${CARGO_TARGET_DIR:-target}"
before="${BEFORE:-}"
for tool in valgrind /usr/bin/time; do
    command -v "$tool" >/dev/null || { echo "benches/cost.sh: no $tool: apt-get install valgrind time" >&2; exit 1; }
done
[ -d "$corpus" ] || { echo "benches/cost.sh: no captures in $corpus: say where with CORPUS=FOLDER" >&2; exit 1; }
bin="${EASTWATCH:-}"
if [ -z "$bin" ]; then
    cargo build --locked --release
    bin="$target/release/eastwatch"
fi
make="$target/ci/examples/make_capture"
[ -x "$make" ] || cargo build --locked --profile ci --example make_capture
work="$(mktemp -d "${TMPDIR:-/tmp}/eastwatch-cost.XXXXXX")"
trap 'rm -rf "$work"' EXIT INT TERM

# The run's user seconds, or with `counted` its instructions, to stdout.
run() { # counted|timed, binary, capture
    how="$1"
    set -- "$2" --quiet read --fresh --workers 1 --state "$work/state" --home 0.0.0.0/0,::/0 "$3"
    if [ "$how" = counted ]; then
        # The counts go to a file of their own: valgrind removes what it is given before it writes.
        valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file="$work/counts" "$@" >"$work/out" 2>"$work/err" ||
            { tail -n 5 "$work/err" >&2; exit 1; }
        sed -n 's/.*I *refs: *//p' "$work/err" | tr -d ,
    else
        /usr/bin/time -o "$work/time" -f %U "$@" >"$work/out" 2>"$work/err" || { tail -n 5 "$work/err" >&2; exit 1; }
        tail -n 1 "$work/time"
    fi
    rm -rf "$work/state"
}

# Instructions vary less than times, so a tenth of the packets is enough.
for kind in plain padded vxlan hosts; do
    "$make" "$corpus" "$((megabytes / 10))" "$work/$kind-counted.pcap" "$kind" | tee "$work/$kind-counted"
    "$make" "$corpus" "$megabytes" "$work/$kind-timed.pcap" "$kind" | tee "$work/$kind-timed"
done
head -c 24 "$work/plain-counted.pcap" >"$work/empty.pcap"
packets() { sed -n 's/.* bytes, \([0-9]*\) packets.*/\1/p' "$work/plain-$1"; }

# name, binary and capture of either side
compare() {
    # Threads that wait count, too, and wait longer on a busy machine: the least of three.
    least() { for _ in 1 2 3; do run counted "$@"; done | sort -n | head -n 1; }
    # Without what a run needs that reads no packet.
    counted_a="$(($(least "$2" "$work/$3-counted.pcap") - $(least "$2" "$work/empty.pcap")))"
    counted_b="$(($(least "$4" "$work/$5-counted.pcap") - $(least "$4" "$work/empty.pcap")))"
    : >"$work/pairs"
    for n in $(seq "$runs"); do
        # In turns, so that neither is always the first.
        if [ $((n % 2)) = 0 ]; then
            a="$(run timed "$2" "$work/$3-timed.pcap")"
            b="$(run timed "$4" "$work/$5-timed.pcap")"
        else
            b="$(run timed "$4" "$work/$5-timed.pcap")"
            a="$(run timed "$2" "$work/$3-timed.pcap")"
        fi
        echo "$a $b" >>"$work/pairs"
    done
    middle() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
    of_a="$(awk '{ print $1 }' "$work/pairs" | middle)"
    more="$(awk '{ print $2 - $1 }' "$work/pairs" | middle)"
    awk -v name="$1" -v a="$counted_a" -v b="$counted_b" -v counted="$(packets counted)" -v timed="$(packets timed)" \
        -v of_a="$of_a" -v more="$more" 'BEGIN {
        printf "%-26s %9.0f %9.0f %+8.0f (%+5.1f %%) %10.0f %+8.0f (%+5.1f %%)\n", name, a / counted, b / counted,
            (b - a) / counted, (b / a - 1) * 100, of_a * 1e9 / timed, more * 1e9 / timed, more / of_a * 100 }'
}
echo
echo "a packet                     instructions, then, more           user ns, then more (median of $runs pairs)"
[ -z "$before" ] || compare "plain, before and now" "$before" plain "$bin" plain
# The same number of bytes to read and to digest, so that the layer alone is left.
compare "padded and in VXLAN" "$bin" padded "$bin" vxlan
compare "padded and by 16 hosts" "$bin" padded "$bin" hosts
[ -z "$before" ] || compare "VXLAN, before and now" "$before" vxlan "$bin" vxlan
