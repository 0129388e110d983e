//! What keys mean together, and which of them do nothing: warnings that no single value gives.

use super::super::sink::Sink;
use super::super::table::Place;
use super::keys::{Kind, Standing};
use super::reference::{Entry, Reference};
use super::value::means_on;

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
        does_nothing(name, entry, &at, sink);
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
    single_keys(reference, sink);
}

/// Keys that FastNetMon never used, or does not have any more, with a value that asks for more than
/// happens.
fn does_nothing(name: &str, entry: &Entry, at: &Place, sink: &mut Sink) {
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
            sink.warn(at, reason, "remove the line");
        }
        _ => {}
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
