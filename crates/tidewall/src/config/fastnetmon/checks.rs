//! What keys mean together, and which of them do nothing: warnings that no single value gives.

use super::super::sink::Sink;
use super::super::table::Place;
use super::keys::{Kind, Standing};
use super::reference::{Entry, Reference};
use super::value::{means_on, plain, quoted};

/// With the first key on, the second must say something; what FastNetMon does without it.
const NEEDS: &[(&str, &str, &str)] = &[
    ("sflow", "sflow_port", "FastNetMon listens nowhere"),
    ("netflow", "netflow_port", "FastNetMon listens nowhere"),
    ("mirror_afpacket", "interfaces", "FastNetMon captures nothing"),
    ("mirror_afxdp", "interfaces", "FastNetMon captures nothing"),
    ("mirror_netmap", "interfaces", "FastNetMon captures nothing"),
    ("pcap", "interfaces", "FastNetMon captures nothing"),
    (
        "logging_remote_syslog_logging",
        "logging_remote_syslog_server",
        "FastNetMon logs to no other machine",
    ),
    (
        "logging_remote_syslog_logging",
        "logging_remote_syslog_port",
        "FastNetMon logs to no other machine",
    ),
    ("kafka_traffic_export", "kafka_traffic_export_brokers", "FastNetMon sends nothing"),
];

/// Two that are not on together, for FastNetMon stops.
const EXCLUSIVE: &[(&str, &str)] =
    &[("mirror_afpacket", "mirror_afxdp"), ("mirror", "mirror_netmap")];

/// Warns of everything that does nothing here or there.
pub(super) fn check(reference: &Reference, sink: &mut Sink) {
    for (name, entry) in reference.entries() {
        let at = entry.place(name);
        if let Some(feature) = reference.starts(name, entry) {
            let reason = format!(
                "{} is recognised and inactive: this version of Tidewall does not have it",
                feature.name()
            );
            sink.warn(&at, reason, "nothing need be done; its keys are kept");
        }
        does_nothing(reference, name, entry, &at, sink);
    }
    for (switch, needed, what) in NEEDS {
        if let Some(entry) = reference.get(switch)
            && reference.switch(switch)
            && matches!(reference.text(needed), "" | "0")
        {
            let reason = format!("`{switch}` is on without `{needed}`: {what}");
            sink.warn(&entry.place(switch), reason, format!("add `{needed}`"));
        }
    }
    for (one, other) in EXCLUSIVE {
        if let Some(entry) = reference.get(other)
            && reference.switch(one)
            && reference.switch(other)
        {
            let reason = format!("`{one}` is on too: FastNetMon does not start with both");
            sink.error_fix(&entry.place(other), reason, "turn one of the two off");
        }
    }
    listen_hosts(reference, sink);
    mirrors(reference, sink);
    single_keys(reference, sink);
}

/// What is no address would be listened on nowhere, or, worse, everywhere.
fn listen_hosts(reference: &Reference, sink: &mut Sink) {
    for (switch, key) in [("sflow", "sflow_host"), ("netflow", "netflow_host")] {
        let Some(entry) = reference.get(key) else { continue };
        let (on, text, at) = (reference.switch(switch), reference.text(key), entry.place(key));
        let fix = format!(
            "write an address of this machine: `{key} = 192.0.2.1`; `{key} = 0.0.0.0` is all of \
             IPv4, and `{key} = ::` all of both versions"
        );
        if text.is_empty() && on {
            let reason =
                "there is no address: all IPv4 addresses are listened on, as in FastNetMon";
            sink.warn(&at, reason, fix);
        } else if reference.listen_host(key).is_none() {
            let reason =
                format!("{} is not an IP address, and names are not looked up", quoted(text));
            if on {
                sink.error_fix(&at, reason, fix);
            } else {
                sink.warn(&at, format!("{reason}; `{switch}` is off"), fix);
            }
        }
    }
}

/// Frames that AF_XDP takes are lost to the machine itself, and here it takes more of them.
fn mirrors(reference: &Reference, sink: &mut Sink) {
    let (switch, interfaces) = ("mirror_afxdp", reference.list("interfaces"));
    let (Some(entry), Some(first)) = (reference.get(switch), interfaces.first()) else { return };
    if reference.switch(switch) {
        let reason = format!(
            "FastNetMon takes what comes on receive queue 0 of {}; here all queues of {} are \
             taken, and nothing that comes there reaches this machine's own network any more",
            plain(first),
            plain(&interfaces.join(", ")),
        );
        let fix = "name mirror ports only in `interfaces`, none that this machine is reached \
                   through; `mirror_afpacket = on` leaves the frames to the machine";
        sink.warn(&entry.place(switch), reason, fix);
    }
}

/// Keys that FastNetMon never used, or does not have any more, with a value that asks for more than
/// happens.
fn does_nothing(reference: &Reference, name: &str, entry: &Entry, at: &Place, sink: &mut Sink) {
    let key = entry.key();
    let typed = entry.typed();
    let asks = match key.kind {
        Kind::Switch => means_on(typed).is_some_and(|on| on != (key.absent == "on")),
        Kind::Ipv4 => typed != key.absent,
        _ => false,
    };
    match key.standing {
        Standing::Useless(why) if asks => sink.warn(at, why, "remove the line"),
        Standing::Removed(instead) if asks => {
            let reason = format!(
                "newer releases of FastNetMon do not know `{name}`, and neither does \
                         Tidewall: {instead}"
            );
            let fix = instead_of(name, reference).unwrap_or_else(|| "remove the line".to_owned());
            sink.warn(at, reason, fix);
        }
        _ => {}
    }
}

/// What to write for a capture that is gone, as lines to paste.
fn instead_of(name: &str, reference: &Reference) -> Option<String> {
    let typed = reference.list("interfaces");
    let names = if typed.is_empty() { vec!["eth1"] } else { typed };
    let mirror = |engine: &str, names: &[&str]| {
        let names = names.iter().map(|name| toml::Value::from(*name)).collect();
        let names = toml::Value::Array(names);
        format!("[[mirror]]\nengine = \"{engine}\"\ninterfaces = {names}")
    };
    match name {
        "mirror" => Some(format!(
            "write `mirror_afpacket = on`, which needs nothing else, or `pcap = on`, which takes \
             PF_RING's devices where its libpcap is installed; in TOML:\n{}",
            mirror("pcap", &names)
        )),
        "enable_pf_ring_zc_mode" => {
            let devices: Vec<_> = names.iter().map(|name| format!("zc:{}", plain(name))).collect();
            Some(format!("beside `pcap = on` write `interfaces = {}`", devices.join(",")))
        }
        "mirror_snabbswitch" => Some(format!(
            "have SnabbSwitch's `PcapWriter` write to a FIFO, and put this into what `tidewall \
             import` prints:\n{}",
            mirror("pipe", &["/run/snabbswitch.pcap"])
        )),
        _ => None,
    }
}

fn single_keys(reference: &Reference, sink: &mut Sink) {
    let fanout = "mirror_af_packet_fanout_mode";
    if let Some(entry) = reference.get(fanout)
        && reference.text(fanout) != "cpu"
    {
        let reason = "FastNetMon loses what is written here and takes a mode it does not know";
        sink.warn(&entry.place(fanout), reason, "write `cpu`, or nothing need be done");
    }
    let script = "notify_script_path";
    if let Some(entry) = reference.get(script)
        && reference
            .text(script)
            .contains(|c: char| c.is_whitespace() || "$`;&|<>(){}*?\"'\\".contains(c))
    {
        let reason = "FastNetMon hands the path to a shell, which would split it or worse; here \
                      it is one path as it is written";
        sink.warn(&entry.place(script), reason, "give the script a plain path");
    }
    for (key, other) in [
        ("gobgp_next_hop_host_ipv4", "gobgp_next_hop"),
        ("gobgp_next_hop_subnet_ipv4", "gobgp_next_hop"),
    ] {
        if let Some(entry) = reference.get(key)
            && reference
                .text(key)
                .parse()
                .is_ok_and(|hop: std::net::Ipv4Addr| !hop.is_unspecified())
        {
            let reason = format!("FastNetMon never reads it and takes `{other}`; here it counts");
            sink.warn(&entry.place(key), reason, format!("remove it for `{other}`"));
        }
    }
}
