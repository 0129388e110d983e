//! Every key that any release of FastNetMon Community reads, or is seen in its files, as data: what
//! kind of value it has, what it is when it is left out, and what it means here.

use tidewall_model::{TrafficClass, Unit};

use Feature::{Api, ClickHouse, Dump, Graphite, InfluxDb, Kafka, Prometheus, Screen};
use Kind::{
    Address, Community, Flows, Host, HostGroup, Ipv4, Ipv6, List, Megabits, Number, Packets, Path,
    Ports, Seconds, Secret, Switch, Text, Word,
};
use Standing::{Maps, Needless, Removed, Renamed, Starts, Useless, Waits};

/// A key of FastNetMon's configuration file.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name; for a host group's key what follows the group's name and `_`.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What FastNetMon takes when it is left out; `@key` is the value of that key.
    pub absent: &'static str,
    /// What it means here.
    pub standing: Standing,
}

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `on`, or anything else.
    Switch,
    /// A whole number.
    Number,
    /// A time in whole seconds.
    Seconds,
    /// A limit in packets per second.
    Packets,
    /// A limit in megabits per second.
    Megabits,
    /// A limit in flows per second.
    Flows,
    /// UDP ports with commas between.
    Ports,
    /// Words with commas between.
    List,
    /// A path.
    Path,
    /// A host name or an address.
    Host,
    /// An IP address.
    Address,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A BGP community, `asn:value`.
    Community,
    /// Any text.
    Text,
    /// A password: it is neither judged nor shown.
    Secret,
    /// `name:prefix,prefix`; it may be repeated.
    HostGroup,
}

/// What a key means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It becomes this key or table of the TOML file.
    Maps(&'static str),
    /// Its value is kept for a feature that this version does not have.
    Waits(Feature),
    /// The same, and its value starts the feature.
    Starts(Feature),
    /// There is nothing to do, and why.
    Needless(&'static str),
    /// FastNetMon itself does nothing with it, and why.
    Useless(&'static str),
    /// Newer releases of FastNetMon do not read it; what there is here instead. Its value when left
    /// out is what happens here.
    Removed(&'static str),
    /// The former name of this key.
    Renamed(&'static str),
}

/// What waits for a later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "name() says it")]
pub enum Feature {
    Graphite,
    InfluxDb,
    ClickHouse,
    Prometheus,
    Kafka,
    Api,
    Screen,
    Dump,
}

impl Feature {
    /// What it is, in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Graphite => "Graphite",
            Self::InfluxDb => "InfluxDB",
            Self::ClickHouse => "ClickHouse",
            Self::Prometheus => "Prometheus",
            Self::Kafka => "Kafka",
            Self::Api => "the gRPC API",
            Self::Screen => "the client's screen",
            Self::Dump => "a log line for each packet",
        }
    }

    /// Does it act on, send to or answer others?
    const fn is_outward(self) -> bool {
        matches!(
            self,
            Self::Graphite
                | Self::InfluxDb
                | Self::ClickHouse
                | Self::Prometheus
                | Self::Kafka
                | Self::Api
        )
    }
}

impl Key {
    /// The feature it waits for.
    pub const fn feature(&self) -> Option<Feature> {
        match self.standing {
            Standing::Waits(feature) | Standing::Starts(feature) => Some(feature),
            _ => None,
        }
    }

    /// Does it act on, send to or answer others, or take frames from them? Then a switch that
    /// FastNetMon reads as off stays off, whatever was meant.
    pub fn is_outward(&self) -> bool {
        // What AF_XDP takes does not reach the machine, which may be reached by that interface.
        if self.name == "mirror_afxdp" {
            return true;
        }
        match self.standing {
            Waits(feature) | Starts(feature) => feature.is_outward(),
            Maps(path) => {
                let table = path.split('.').next().unwrap_or_default();
                matches!(table, "script" | "syslog" | "redis" | "mongodb" | "exabgp" | "gobgp")
            }
            _ => false,
        }
    }
}

/// A limit: the switch and the number that make it, in the order in which FastNetMon compares.
#[derive(Debug)]
pub struct LimitKeys {
    /// Key that turns it on.
    pub switch: &'static str,
    /// Key that has the number.
    pub threshold: &'static str,
    /// Of which traffic.
    pub class: TrafficClass,
    /// In which unit.
    pub unit: Unit,
    /// The number in the file that FastNetMon ships: taken where the key is missing.
    pub shipped: u32,
}

const fn limit(
    switch: &'static str,
    threshold: &'static str,
    class: TrafficClass,
    unit: Unit,
    shipped: u32,
) -> LimitKeys {
    LimitKeys { switch, threshold, class, unit, shipped }
}

/// All limits.
pub static LIMITS: [LimitKeys; 9] = {
    use TrafficClass::{Icmp, Tcp, Total, Udp};
    use Unit::{Bits, Flows, Packets};
    [
        limit("ban_for_pps", "threshold_pps", Total, Packets, 20_000),
        limit("ban_for_bandwidth", "threshold_mbps", Total, Bits, 1_000),
        limit("ban_for_flows", "threshold_flows", Total, Flows, 3_500),
        limit("ban_for_tcp_pps", "threshold_tcp_pps", Tcp, Packets, 100_000),
        limit("ban_for_udp_pps", "threshold_udp_pps", Udp, Packets, 100_000),
        limit("ban_for_icmp_pps", "threshold_icmp_pps", Icmp, Packets, 100_000),
        limit("ban_for_tcp_bandwidth", "threshold_tcp_mbps", Tcp, Bits, 100_000),
        limit("ban_for_udp_bandwidth", "threshold_udp_mbps", Udp, Bits, 100_000),
        limit("ban_for_icmp_bandwidth", "threshold_icmp_mbps", Icmp, Bits, 100_000),
    ]
};

/// The key of that name, host groups' keys aside.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().chain(&LIMIT_KEYS).find(|key| key.name == name)
}

/// The key of a host group, by what follows the group's name and `_`.
pub fn find_group_key(suffix: &str) -> Option<&'static Key> {
    GROUP_KEYS.iter().chain(&LIMIT_KEYS).find(|key| key.name == suffix)
}

/// Names of all keys, host groups' keys aside.
pub fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().chain(&LIMIT_KEYS).map(|key| key.name)
}

const fn key(name: &'static str, kind: Kind, absent: &'static str, standing: Standing) -> Key {
    Key { name, kind, absent, standing }
}

/// Keys of the limits: each of them also with the name of a host group in front.
static LIMIT_KEYS: [Key; 18] = [
    key("ban_for_pps", Switch, "off", Maps("thresholds")),
    key("ban_for_bandwidth", Switch, "off", Maps("thresholds")),
    key("ban_for_flows", Switch, "off", Maps("thresholds")),
    key("ban_for_tcp_pps", Switch, "off", Maps("thresholds")),
    key("ban_for_udp_pps", Switch, "off", Maps("thresholds")),
    key("ban_for_icmp_pps", Switch, "off", Maps("thresholds")),
    key("ban_for_tcp_bandwidth", Switch, "off", Maps("thresholds")),
    key("ban_for_udp_bandwidth", Switch, "off", Maps("thresholds")),
    key("ban_for_icmp_bandwidth", Switch, "off", Maps("thresholds")),
    key("threshold_pps", Packets, "0", Maps("thresholds")),
    key("threshold_mbps", Megabits, "0", Maps("thresholds")),
    key("threshold_flows", Flows, "0", Maps("thresholds")),
    key("threshold_tcp_pps", Packets, "0", Maps("thresholds")),
    key("threshold_udp_pps", Packets, "0", Maps("thresholds")),
    key("threshold_icmp_pps", Packets, "0", Maps("thresholds")),
    key("threshold_tcp_mbps", Megabits, "0", Maps("thresholds")),
    key("threshold_udp_mbps", Megabits, "0", Maps("thresholds")),
    key("threshold_icmp_mbps", Megabits, "0", Maps("thresholds")),
];

/// Further keys of a host group.
static GROUP_KEYS: [Key; 2] = [
    key("enable_ban", Switch, "off", Maps("group")),
    key(
        "enable_ban_ipv6",
        Switch,
        "off",
        Useless(
            "FastNetMon reads it and never uses it: IPv6 \
        hosts have the global limits",
        ),
    ),
];

/// All other keys.
#[rustfmt::skip]
static KEYS: &[Key] = &[
    // General and logging.
    key("logging_level", Word(&["info", "debug"]), "info", Maps("service.log_level")),
    key("logging_local_syslog_logging", Switch, "off", Maps("service.local_syslog")),
    key("logging_remote_syslog_logging", Switch, "off", Maps("syslog")),
    key("logging_remote_syslog_server", Host, "", Maps("syslog.host")),
    key("logging_remote_syslog_port", Number, "0", Maps("syslog.port")),
    key("disable_usage_report", Switch, "off", Needless("Tidewall reports to nobody")),
    key("pid_path", Path, "/var/run/fastnetmon.pid", Maps("service.pid_file")),
    key("dump_all_traffic", Switch, "off", Starts(Dump)),
    key("dump_other_traffic", Switch, "off", Starts(Dump)),
    key("process_incoming_traffic", Switch, "on", Maps("counting.incoming")),
    key("process_outgoing_traffic", Switch, "on", Maps("counting.outgoing")),
    key("monitor_local_ip_addresses", Switch, "on", Maps("own_addresses")),
    key("monitor_openvz_vps_ip_addresses", Switch, "off", Maps("openvz_addresses")),
    key("networks_list_path", Path, "/etc/networks_list", Maps("networks")),
    key("white_list_path", Path, "/etc/networks_whitelist", Maps("whitelist")),
    // Speeds, connection tracking, client.
    key("average_calculation_time", Seconds, "15", Maps("detection.average_time")),
    key("speed_calculation_delay", Seconds, "1", Maps("detection.window")),
    key("enable_connection_tracking", Switch, "on", Maps("counting.flows")),
    key("check_period", Seconds, "3", Waits(Screen)),
    key("sort_parameter", Word(&["packets", "bytes", "flows"]), "bytes", Waits(Screen)),
    key("max_ips_in_list", Number, "7", Waits(Screen)),
    key("cli_stats_file_path", Path, "/tmp/fastnetmon.dat", Waits(Screen)),
    key("cli_stats_ipv6_file_path", Path, "/tmp/fastnetmon_ipv6.dat", Waits(Screen)),
    key("ban_details_records_count", Number, "50", Maps("detection.samples")),
    key("collect_attack_pcap_dumps", Switch, "off", Maps("record.pcap")),
    key("enable_api", Switch, "off", Starts(Api)),
    // Bans; the limits are in a table of their own.
    key("enable_ban", Switch, "off", Maps("detection.enabled")),
    key("enable_ban_ipv6", Switch, "off", Maps("detection.enabled")),
    key("ban_time", Seconds, "1800", Maps("mitigation.ban_time")),
    key("unban_only_if_attack_finished", Switch, "on", Maps("mitigation.only_if_finished")),
    key("hostgroup", HostGroup, "", Maps("group")),
    // Where traffic comes from.
    key("interfaces", List, "", Maps("mirror.interfaces")),
    key("mirror_afpacket", Switch, "off", Maps("mirror.engine")),
    key("mirror_af_packet_fanout_mode", Text, "cpu", Maps("mirror.fanout")),
    key("mirror_af_packet_custom_sampling_rate", Number, "1", Maps("mirror.multiplier")),
    key("af_packet_read_packet_length_from_ip_header", Switch, "off", Maps("frames.length")),
    key("mirror_afxdp", Switch, "off", Maps("mirror.engine")),
    key("poll_mode_xdp", Switch, "off", Needless("frames are waited for without turning \
        a core idle")),
    key("zero_copy_xdp", Switch, "off", Maps("mirror.copy")),
    key("force_native_mode_xdp", Switch, "off", Maps("mirror.mode")),
    key("xdp_read_packet_length_from_ip_header", Switch, "off", Maps("frames.length")),
    key("xdp_set_promisc", Switch, "off", Maps("mirror.promiscuous")),
    key("microcode_xdp_path", Path, "", Needless("the program is built in")),
    key("mirror_netmap", Switch, "off", Maps("mirror.engine")),
    key("netmap_sampling_ratio", Number, "1", Maps("mirror.multiplier")),
    key("netmap_read_packet_length_from_ip_header", Switch, "off", Maps("frames.length")),
    key("pcap", Switch, "off", Maps("mirror.engine")),
    key("sflow", Switch, "off", Maps("listen.sflow")),
    key("sflow_host", Address, "0.0.0.0", Maps("listen.sflow")),
    key("sflow_port", Ports, "", Maps("listen.sflow")),
    key("sflow_read_packet_length_from_ip_header", Switch, "off", Maps("frames.length")),
    key("netflow", Switch, "off", Maps("listen.netflow")),
    key("netflow_host", Address, "0.0.0.0", Maps("listen.netflow")),
    key("netflow_port", Ports, "", Maps("listen.netflow")),
    key("netflow_sampling_ratio", Number, "1", Maps("flows.sampling")),
    // What is done about an attack.
    key("notify_script_path", Path, "/usr/local/bin/notify_about_attack.sh", Maps("script.path")),
    key("redis_enabled", Switch, "off", Maps("redis")),
    key("redis_host", Host, "127.0.0.1", Maps("redis.host")),
    key("redis_port", Number, "6379", Maps("redis.port")),
    key("redis_prefix", Text, "", Maps("redis.prefix")),
    key("mongodb_enabled", Switch, "off", Maps("mongodb")),
    key("mongodb_host", Host, "localhost", Maps("mongodb.hosts")),
    key("mongodb_port", Number, "27017", Maps("mongodb.hosts")),
    key("mongodb_database_name", Text, "fastnetmon", Maps("mongodb.database")),
    key("exabgp", Switch, "off", Maps("exabgp")),
    key("exabgp_command_pipe", Path, "", Maps("exabgp.pipe")),
    key("exabgp_community", Text, "", Maps("exabgp.blackhole")),
    key("exabgp_community_host", Text, "@exabgp_community", Maps("exabgp.blackhole")),
    key("exabgp_community_subnet", Text, "@exabgp_community", Maps("exabgp.divert")),
    key("exabgp_next_hop", Text, "", Maps("exabgp.blackhole")),
    key("exabgp_announce_host", Switch, "off", Maps("exabgp.blackhole")),
    key("exabgp_announce_whole_subnet", Switch, "off", Maps("exabgp.divert")),
    key("gobgp", Switch, "off", Maps("gobgp")),
    key("gobgp_next_hop", Ipv4, "0.0.0.0", Maps("gobgp.blackhole")),
    key("gobgp_next_hop_host_ipv4", Ipv4, "0.0.0.0", Maps("gobgp.blackhole")),
    key("gobgp_next_hop_subnet_ipv4", Ipv4, "0.0.0.0", Maps("gobgp.divert")),
    key("gobgp_announce_host", Switch, "off", Maps("gobgp.blackhole")),
    key("gobgp_announce_whole_subnet", Switch, "off", Maps("gobgp.divert")),
    key("gobgp_community_host", Community, "65001:668", Maps("gobgp.blackhole")),
    key("gobgp_community_subnet", Community, "65001:667", Maps("gobgp.divert")),
    key("gobgp_next_hop_ipv6", Ipv6, "100::1", Maps("gobgp.blackhole")),
    key("gobgp_next_hop_host_ipv6", Ipv6, "::0", Maps("gobgp.blackhole")),
    key("gobgp_next_hop_subnet_ipv6", Ipv6, "::0", Useless("FastNetMon announces no IPv6 \
        networks")),
    key("gobgp_announce_host_ipv6", Switch, "off", Maps("gobgp.blackhole")),
    key("gobgp_announce_whole_subnet_ipv6", Switch, "off", Useless("FastNetMon announces no IPv6 \
        networks, whatever it says")),
    key("gobgp_community_host_ipv6", Community, "65001:668", Maps("gobgp.blackhole")),
    key("gobgp_community_subnet_ipv6", Community, "65001:667", Useless("FastNetMon announces no \
        IPv6 networks")),
    // Where numbers go.
    key("graphite", Switch, "off", Starts(Graphite)),
    key("graphite_host", Host, "127.0.0.1", Waits(Graphite)),
    key("graphite_port", Number, "2003", Waits(Graphite)),
    key("graphite_prefix", Text, "fastnetmon", Waits(Graphite)),
    key("graphite_push_period", Seconds, "1", Waits(Graphite)),
    key("influxdb", Switch, "off", Starts(InfluxDb)),
    key("influxdb_host", Host, "127.0.0.1", Waits(InfluxDb)),
    key("influxdb_port", Number, "8086", Waits(InfluxDb)),
    key("influxdb_database", Text, "fastnetmon", Waits(InfluxDb)),
    key("influxdb_auth", Switch, "off", Waits(InfluxDb)),
    key("influxdb_user", Text, "fastnetmon", Waits(InfluxDb)),
    key("influxdb_password", Secret, "fastnetmon", Waits(InfluxDb)),
    key("influxdb_push_period", Seconds, "1", Waits(InfluxDb)),
    key("clickhouse_metrics", Switch, "off", Starts(ClickHouse)),
    key("clickhouse_metrics_database", Text, "fastnetmon", Waits(ClickHouse)),
    key("clickhouse_metrics_username", Text, "default", Waits(ClickHouse)),
    key("clickhouse_metrics_password", Secret, "", Waits(ClickHouse)),
    key("clickhouse_metrics_host", Host, "127.0.0.1", Waits(ClickHouse)),
    key("clickhouse_metrics_port", Number, "9000", Waits(ClickHouse)),
    key("clickhouse_metrics_push_period", Seconds, "1", Waits(ClickHouse)),
    key("prometheus", Switch, "off", Starts(Prometheus)),
    key("prometheus_host", Host, "127.0.0.1", Waits(Prometheus)),
    key("prometheus_port", Number, "9209", Waits(Prometheus)),
    key("kafka_traffic_export", Switch, "off", Starts(Kafka)),
    key("kafka_traffic_export_topic", Text, "fastnetmon", Waits(Kafka)),
    key("kafka_traffic_export_format", Word(&["json", "protobuf"]), "json", Waits(Kafka)),
    key("kafka_traffic_export_brokers", List, "", Waits(Kafka)),
    key("some_plugin_param_from_global_config", Text, "", Needless("only FastNetMon's example \
        plugin reads it")),
    // Keys of older releases.
    key("logging:local_syslog_logging", Switch, "off", Renamed("logging_local_syslog_logging")),
    key("logging:remote_syslog_logging", Switch, "off", Renamed("logging_remote_syslog_logging")),
    key("logging:remote_syslog_server", Host, "", Renamed("logging_remote_syslog_server")),
    key("logging:remote_syslog_port", Number, "0", Renamed("logging_remote_syslog_port")),
    key("enable_subnet_counters", Switch, "off", Removed("networks are always counted; limits of \
        their totals are written under [thresholds.network.incoming]")),
    key("average_calculation_time_for_subnets", Seconds, "20", Removed("`average_time` under \
        [detection] holds for networks too")),
    key("notify_script_pass_details", Switch, "on", Removed("a script is always given the \
        details")),
    key("process_pcap_attack_dumps_with_dpi", Switch, "off", Removed("the kind of an attack is \
        found from its own traffic, without a second pass")),
    key("exabgp_flow_spec_announces", Switch, "off", Removed("FlowSpec is not sent through \
        ExaBGP's pipe")),
    key("pfring_hardware_filters_enabled", Switch, "off", Removed("filters in the network card \
        are not set")),
    key("mirror", Switch, "off", Removed("PF_RING is reached through its own libpcap only")),
    key("enable_pf_ring_zc_mode", Switch, "off", Removed("PF_RING's libpcap takes the device \
        `zc:eth1` for it")),
    key("pfring_sampling_ratio", Number, "1", Removed("`multiplier` under [[mirror]] says for how \
        many a frame stands")),
    key("mirror_snabbswitch", Switch, "off", Removed("SnabbSwitch is another program, whose pcap \
        stream is read from a pipe")),
    key("interfaces_snabbswitch", List, "", Removed("SnabbSwitch itself is told which cards it \
        drives")),
    key("netflow_divide_counters_on_interval_length", Switch, "off", Removed("whether a \
        long flow is spread over its duration is not set by it")),
    key("netflow_lua_hooks_path", Path, "", Removed("no Lua script is called")),
    key("sflow_lua_hooks_path", Path, "", Removed("no Lua script is called")),
    key("sflow_qinq_process", Switch, "off", Removed("VLAN tags are passed over, however many \
        there are")),
    key("sflow_qinq_ethertype", Text, "", Removed("VLAN tags are known by their usual ethertypes")),
    key("graphite_number_of_ips", Number, "0", Removed("there is no list of top hosts for \
        Graphite")),
];
