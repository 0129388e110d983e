//! Each misreading is one warning, where it stands.

use super::{assert_same, files, good};

/// A configuration that gives no warning.
pub(super) const QUIET: &str = "enable_ban = on\nban_for_pps = on\nthreshold_pps = 20000\n";
pub(super) const NETWORKS: (&str, &str) = ("/etc/networks_list", "192.0.2.0/24\n198.51.100.0/24\n");

/// Lines behind [`QUIET`], the key and line of the only warning, and a part of its reason.
const WARNINGS: &[(&str, &str, usize, &str)] = &[
    // Lines.
    ("ban_time 1900", "", 4, "not `key = value`"),
    ("influxdb_password = a=b", "influxdb_password", 4, "loses a line"),
    ("ban_time = 1800\nban_time = 1900", "ban_time", 5, "value of line 4"),
    ("treshold_mbps = 5", "treshold_mbps", 4, "no release"),
    ("web_threshold_pps = 5", "web_threshold_pps", 4, "no release"),
    ("logging:remote_syslog_port = 514", "logging:remote_syslog_port", 4, "since 1.2.3"),
    ("redis_prefix = d\u{fffd}", "redis_prefix", 4, "UTF-8"),
    // Switches.
    ("process_incoming_traffic = on # yes", "process_incoming_traffic", 4, "Here it is on"),
    ("process_outgoing_traffic = yes", "process_outgoing_traffic", 4, "Here it is on"),
    ("process_outgoing_traffic = On", "process_outgoing_traffic", 4, "as off"),
    ("process_outgoing_traffic =", "process_outgoing_traffic", 4, "no value"),
    ("gobgp = yes", "gobgp", 4, "stays off"),
    ("gobgp = maybe", "gobgp", 4, "neither on nor off"),
    ("mirror_afxdp = on # eth0", "mirror_afxdp", 4, "stays off"),
    // Numbers.
    ("ban_time = 30m", "ban_time", 4, "reads `30m` as 30; here it is 1800"),
    ("prometheus_port = 9k", "prometheus_port", 4, "reads 9; here the key counts as left out"),
    ("ban_time = -1", "ban_time", 4, "wraps"),
    ("ban_time = 0", "ban_time", 4, "every ban has an end"),
    ("ban_time =", "ban_time", 4, "reads 0"),
    ("ban_details_records_count = 20000", "ban_details_records_count", 4, "10000"),
    ("speed_calculation_delay = 0", "speed_calculation_delay", 4, "1 to 60"),
    ("average_calculation_time = 15", "average_calculation_time", 4, "evidence"),
    // Limits.
    ("ban_for_bandwidth = on", "ban_for_bandwidth", 4, "is 1000 Mbit/s"),
    ("ban_for_udp_pps = on\nthreshold_udp_pps = 0", "threshold_udp_pps", 5, "0 is no limit"),
    ("ban_for_bandwidth = on\nthreshold_mbps = 999999999", "threshold_mbps", 5, "any network"),
    ("threshold_mbps = 500", "threshold_mbps", 4, "limits nothing"),
    ("threshold_pps = 20k\n#", "threshold_pps", 4, "20000"),
    ("enable_connection_tracking = off\nban_for_flows = on", "ban_for_flows", 5, "not counted"),
    // Other values.
    ("sort_parameter = pps", "sort_parameter", 4, "none of the words"),
    ("sflow_port = 6343,many", "sflow_port", 4, "list of ports"),
    ("interfaces = eth0, eth1", "interfaces", 4, "blank"),
    ("interfaces = eth0 # up", "interfaces", 4, "here it is `eth0`"),
    ("gobgp_next_hop = router", "gobgp_next_hop", 4, "IPv4 address"),
    ("gobgp_next_hop_ipv6 = 1.2.3.4", "gobgp_next_hop_ipv6", 4, "IPv6 address"),
    ("gobgp_community_host = 65536:1", "gobgp_community_host", 4, "without any"),
    ("graphite_host = a b", "graphite_host", 4, "host name"),
    ("sflow_host = collector", "sflow_host", 4, "not an IP address"),
    ("netflow_host = 192.0.2.1:2055", "netflow_host", 4, "not an IP address"),
    ("netflow_host = 127.0.0.1 # mgmt", "netflow_host", 4, "here it is `127.0.0.1`"),
    ("sflow = on\nsflow_port = 1\nsflow_host =", "sflow_host", 6, "all IPv4 addresses"),
    ("networks_list_path =", "networks_list_path", 4, "reads no list"),
    ("white_list_path =", "white_list_path", 4, "reads no list"),
    ("mirror_afxdp = on\ninterfaces = eth0,eth1", "mirror_afxdp", 4, "eth0, eth1"),
    ("mirror_afxdp = on\ninterfaces = eth0", "mirror_afxdp", 4, "all queues of eth0"),
    ("gobgp_next_hop_host_ipv4 = 192.0.2.1", "gobgp_next_hop_host_ipv4", 4, "here it counts"),
    ("gobgp = on", "gobgp", 4, "nothing is to be announced"),
    ("redis_enabled = on\nredis_port = 70000", "redis_port", 5, "is no port"),
    ("mongodb_enabled = on\nmongodb_host = a:b", "mongodb_host", 5, "nothing is written"),
    ("mongodb_enabled = on\nmongodb_database_name = a.b", "mongodb_database_name", 5, "nothing is"),
    ("gobgp_announce_whole_subnet_ipv6 = on", "gobgp_announce_whole_subnet_ipv6", 4, "no IPv6"),
    ("mirror_af_packet_fanout_mode = hash", "mirror_af_packet_fanout_mode", 4, "loses"),
    ("enable_subnet_counters = on", "enable_subnet_counters", 4, "always counted"),
    ("notify_script_pass_details = off", "notify_script_pass_details", 4, "always given"),
    ("mirror = on", "mirror", 4, "PF_RING"),
    // Features to come.
    ("enable_api = on", "enable_api", 4, "gRPC"),
    ("notify_script_path = notify.sh", "notify_script_path", 4, "no script is called"),
    ("notify_script_path = /opt/a b", "notify_script_path", 4, "to a shell"),
    // Groups.
    ("hostgroup = web", "hostgroup", 4, "name:prefix"),
    ("hostgroup = a:192.0.2.0/24\na_ban_for_pps = off", "hostgroup", 4, "`a_enable_ban` is"),
    ("hostgroup = a:192.0.2.0/24\na_enable_ban = on", "hostgroup", 4, "none is inherited"),
    ("hostgroup = a:\na_enable_ban = off", "hostgroup", 4, "no prefix is left"),
    ("hostgroup = a:192.0.2.0/24,x\na_enable_ban = off", "hostgroup", 4, "not a prefix"),
    ("hostgroup = a:192.0.2.0/25\na_enable_ban = off", "hostgroup", 4, "no line of the networks"),
    ("hostgroup = a:203.0.113.0/24\na_enable_ban = off", "hostgroup", 4, "none of the networks"),
    ("hostgroup = a:192.0.2.5/24\na_enable_ban = off", "hostgroup", 4, "does not clear"),
    ("hostgroup = a:192.0.2.0/24 # x\na_enable_ban = off", "hostgroup", 4, "comment or the quo"),
    ("hostgroup = a b:192.0.2.0/24\na b_enable_ban = off", "hostgroup", 4, "called a_b here"),
    ("hostgroup = global:192.0.2.0/24\nglobal_enable_ban = off", "hostgroup", 4, "is taken"),
    (
        "hostgroup = a:192.0.2.0/24, 198.51.100.0/24\na_enable_ban = off",
        "hostgroup",
        4,
        "blank beside",
    ),
    (
        "hostgroup = a:192.0.2.0/24\na_enable_ban = off\nhostgroup = a:198.51.100.0/24",
        "hostgroup",
        6,
        "defined in line 4",
    ),
    (
        "hostgroup = a:192.0.2.0/24\na_enable_ban = off\na_enable_ban_ipv6 = on",
        "a_enable_ban_ipv6",
        6,
        "global limits",
    ),
    (
        "hostgroup = a:192.0.2.0/24\na_enable_ban = on\na_ban_for_pps = on",
        "a_ban_for_pps",
        6,
        "is 20000 packets/s",
    ),
];

#[test]
fn each_misreading_is_one_warning_where_it_stands() {
    let files = files(&[NETWORKS]);
    assert!(good(QUIET, &files).warnings.is_empty());
    let mut wrong = Vec::new();
    for &(lines, field, line, reason) in WARNINGS {
        // A later value of a key of QUIET replaces it, which would be a second warning.
        let text = match lines.strip_prefix("threshold_pps") {
            Some(_) => format!("enable_ban = on\n\nban_for_pps = on\n{lines}\n"),
            None => format!("{QUIET}{lines}\n"),
        };
        assert_same(&text, &files);
        let warnings = good(&text, &files).warnings;
        match warnings.as_slice() {
            [d] if (&*d.field, d.line) == (field, line) && d.reason.contains(reason) => {
                assert!(!d.fix.is_empty(), "{text}");
            }
            other => wrong.push(format!("{lines} ({reason}): {other:#?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn several_at_once() {
    let files = files(&[NETWORKS]);
    for (lines, parts) in [
        ("sflow = on", &["listens nowhere"][..]),
        ("pcap = on", &["captures nothing"]),
        ("ban_time = 3000000000", &["32 bits", "366 days"]),
        ("exabgp = on", &["nothing is to be announced"]),
        (
            "exabgp = on\nexabgp_command_pipe = /x\nexabgp_next_hop = 192.0.2.1\n\
             exabgp_announce_host = on\nexabgp_announce_whole_subnet = on\n\
             exabgp_community = [65001:666 65001:777]",
            &["its network is not announced"],
        ),
        ("ban_for_udp_pps = on\nthreshold_udp_pps = lots", &["left out", "is 100000 packets/s"]),
        (
            "sflow = on\nsflow_port = 1\nmirror_afpacket = on\ninterfaces = a\n\
             sflow_read_packet_length_from_ip_header = on",
            &["one setting"],
        ),
        (
            "hostgroup = a:2001:db8::/32,192.0.2.7\na_enable_ban = off",
            &["IPv6 prefix in a host", "none of the networks", "without a length", "no line of"],
        ),
    ] {
        let text = format!("{QUIET}{lines}\n");
        let warnings = good(&text, &files).warnings;
        assert_eq!(warnings.len(), parts.len(), "{text}{warnings:#?}");
        for part in parts {
            let found = warnings.iter().any(|warning| warning.reason.contains(part));
            assert!(found, "{part}\n{warnings:#?}");
        }
        assert_same(&text, &files);
    }
}
