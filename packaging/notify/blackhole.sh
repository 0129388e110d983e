#!/bin/sh
# Drops all traffic from and to a banned host on this machine, a Linux router, by a route into
# nowhere. Needs ip(8), of the package iproute2, and the right to change routes. Where other routers
# are to drop it, announce the host by BGP instead: see docs/bgp.md.
#
# Called with: address direction pps action
set -eu

if [ $# -ne 4 ]; then
    echo "usage: ${0##*/} address direction pps action" >&2
    exit 2
fi
address=$1
action=$4

# An address and nothing else: a slash would make it a network.
case $address in
'' | *[!0-9A-Fa-f.:]*)
    echo "${0##*/}: $address is no address" >&2
    exit 2
    ;;
*:*) family=-6 prefix=$address/128 ;;
*) family=-4 prefix=$address/32 ;;
esac

case $action in
ban)
    # The report is not needed; a script that does not read it does no harm here. `replace`
    # succeeds as well when the route is there.
    ip "$family" route replace blackhole "$prefix"
    ;;
unban)
    # Gone is gone, whoever removed it.
    if [ -n "$(ip "$family" route show type blackhole exact "$prefix")" ]; then
        ip "$family" route del blackhole "$prefix"
    fi
    ;;
esac
