#!/bin/sh
# The five-minute start: a small data centre is learned, then one of its VMs opens a shell port.
set -eu
bin=${1:-target/ci/eastwatch}
dir=demo
say() { printf '\n\033[1m%s\033[0m\n' "$1"; }
if [ ! -t 1 ] || [ -n "${NO_COLOR:-}" ]; then say() { printf '\n%s\n' "$1"; }; fi
rm -rf "$dir"
mkdir -p "$dir"
cargo run --quiet --locked --profile ci --example datacentre -- "$dir"

say "1. Learning from $dir/learn.pcap"
"$bin" read --state "$dir/state" --fresh --inventory "$dir/inventory.toml" --eve "$dir/eve.json" "$dir/learn.pcap"

say "2. Reading $dir/incident.pcap, the hour after"
"$bin" read --state "$dir/state" --inventory "$dir/inventory.toml" --eve "$dir/eve.json" "$dir/incident.pcap"

say "3. The inventory"
"$bin" services --state "$dir/state" --quiet

say "4. The incident, and why"
for id in $("$bin" incidents list --state "$dir/state" --quiet --format csv | awk -F, 'NR>1{print $1}'); do
    "$bin" incidents show "$id" --state "$dir/state" --quiet
done

say "5. Where things lie"
echo "  EVE events      $dir/eve.json ($(wc -l <"$dir/eve.json") lines)"
echo "  captures        $dir/learn.pcap, $dir/incident.pcap"
echo "  state           $dir/state"
echo "  ask further     $bin why web-02 tcp/4444 --state $dir/state"
