#!/bin/sh
# Times `eastwatch read` on one worker, with everything on, against tcpdump and nDPI on the same large capture, in
# turns; prints every run, medians and ratios, and what a flow and a VM cost. `make bench`.
#
#   CORPUS=FOLDER  captures to repeat (../shared/corpus)     MEGABYTES=525  size of the large capture
#   RUNS=5         runs of each                              EASTWATCH=BIN  a binary that is built already
set -eu
cd "$(dirname "$0")/.."
corpus="${CORPUS:-../shared/corpus}"
megabytes="${MEGABYTES:-525}"
runs="${RUNS:-5}"
target="${CARGO_TARGET_DIR:-target}"
for tool in tcpdump ndpiReader; do
    command -v "$tool" >/dev/null || { echo "benches/replay.sh: no $tool: apt-get install tcpdump libndpi-bin time" >&2; exit 1; }
done
[ -x /usr/bin/time ] || { echo "benches/replay.sh: no /usr/bin/time: apt-get install time" >&2; exit 1; }
[ -d "$corpus" ] || { echo "benches/replay.sh: no captures in $corpus: say where with CORPUS=FOLDER" >&2; exit 1; }
bin="${EASTWATCH:-}"
if [ -z "$bin" ]; then
    cargo build --locked --release
    bin="$target/release/eastwatch"
fi
cargo build --locked --profile ci --example make_capture
work="$(mktemp -d "${TMPDIR:-/tmp}/eastwatch-bench.XXXXXX")"
trap 'rm -rf "$work"' EXIT INT TERM
capture="$work/replay.pcap"
"$target/ci/examples/make_capture" "$corpus" "$megabytes" "$capture" | tee "$work/made"
packets="$(sed -n 's/.* bytes, \([0-9]*\) packets.*/\1/p' "$work/made")"

# One run: name, then wall, user and system seconds and peak RSS in KiB, to $work/runs.
timed() {
    name="$1"
    shift
    if ! /usr/bin/time -o "$work/time" -f '%e %U %S %M' "$@" >"$work/out" 2>"$work/err"; then
        echo "benches/replay.sh: $name failed:" >&2
        tail -n 5 "$work/err" >&2
        exit 1
    fi
    echo "$name $(tail -n 1 "$work/time")" | tee -a "$work/runs"
}
cat "$capture" >/dev/null # into the page cache, for the first run as for the last
echo "run wall user system rss_kib"
for _ in $(seq "$runs"); do
    timed tcpdump tcpdump -nr "$capture" -w /dev/null
    timed ndpi ndpiReader -i "$capture" -q
    timed eastwatch "$bin" --quiet read --fresh --workers 1 --state "$work/state" --home 0.0.0.0/0,::/0 "$capture"
done

median() { # name, column
    awk -v name="$1" -v column="$2" '$1 == name { print column == "cpu" ? $3 + $4 : $column }' "$work/runs" |
        sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
echo
echo "medians of $runs    wall s    CPU s    ns a packet (CPU)    peak RSS MiB    wall / nDPI    CPU / nDPI"
for name in tcpdump ndpi eastwatch; do
    awk -v name="$name" -v packets="$packets" -v wall="$(median "$name" 2)" -v cpu="$(median "$name" cpu)" \
        -v rss="$(median "$name" 5)" -v ndpi_wall="$(median ndpi 2)" -v ndpi_cpu="$(median ndpi cpu)" 'BEGIN {
        printf "%-12s %10.2f %8.2f %20.0f %15.1f %14.2f %13.2f\n", name, wall, cpu, cpu * 1e9 / packets, rss / 1024,
            wall / ndpi_wall, cpu / ndpi_cpu }'
done
echo
if ! cargo test --locked --profile ci --lib -- --nocapture flow_costs 2>/dev/null | grep "bytes per flow"; then
    echo "the test that tells the bytes per flow failed or was renamed: a_flow_costs… in src/flow/record.rs" >&2
    exit 1
fi
vms="$("$bin" --quiet --state "$work/state" vms --format csv | tail -n +2 | wc -l)"
disk="$(du -sb "$work/state" | cut -f 1)"
echo "bytes per VM on disk, its services, peers and baseline included: $((disk / vms)) ($disk for $vms VMs)"
