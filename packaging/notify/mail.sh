#!/bin/sh
# Mails the report of each ban, and a line at its end. Needs mail(1), of the package bsd-mailx or
# mailutils, and a mail server on this machine.
#
#     notify_script_path = /usr/local/bin/mail.sh       in fastnetmon.conf
#     [[script]]                                        in tidewall.toml
#     path = "/usr/local/bin/mail.sh"
#
# Called with: address direction pps action
set -eu

# Who gets the mail.
to=root

if [ $# -ne 4 ]; then
    echo "usage: ${0##*/} address direction pps action" >&2
    exit 2
fi
address=$1
direction=$2
power=$3
action=$4

case $action in
ban)
    # The report is on standard input, and becomes the text of the mail.
    mail -s "[ddos] $address is banned: $direction, $power packets/s" "$to"
    ;;
attack_details)
    # The same report with sampled packets, after each ban. It is read and left alone.
    cat >/dev/null
    ;;
unban)
    # Nothing is on standard input.
    echo "The ban of $address is over." | mail -s "[ddos] $address is free again" "$to"
    ;;
*)
    echo "${0##*/}: nothing is known of the action $action" >&2
    exit 2
    ;;
esac
