#!/bin/sh
# Adds a line to a file for each event of an attack: time, event, target, why. It shows the other way
# to call a script: for every event and target, with a JSON document. Needs jq(1).
#
#     [[script]]
#     path = "/usr/local/bin/journal.sh"
#     format = "json"
#
# Called with: event target
set -eu

# Where the lines go.
file=${JOURNAL:-/var/log/tidewall_attacks.log}

if [ $# -ne 2 ]; then
    echo "usage: ${0##*/} event target" >&2
    exit 2
fi

# What is true of every attack is beneath `attack_details`, as FastNetMon has it; what only Tidewall
# knows is beneath `tidewall`.
jq -r '[
    .tidewall.time,
    .action,
    .ip,
    .tidewall.direction,
    .tidewall.class,
    (.attack_details.initial_attack_power | tostring) + " packets/s",
    (.tidewall.reason | if . then "\(.metric) \(.value | floor)/\(.limit)" else "by hand" end),
    .tidewall.note
] | join("\t")' >>"$file"
