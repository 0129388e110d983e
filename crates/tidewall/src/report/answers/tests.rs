use super::*;
use serde_json::json;

#[test]
fn a_status_says_what_is_wrong_in_words_and_columns() {
    let traffic = json!({ "total": { "pps": 12_345, "bps": 9_876_543 } });
    let answer = json!({
        "version": "1.2.3", "pid": 42, "uptime_seconds": 7_390, "memory_bytes": 11_300_000,
        "attacks": 2,
        "window": { "length_ms": 1000, "lag_ms": 5000, "detector_us": 162,
            "judged_after_ms": 6, "hosts": 1 },
        "totals": { "incoming": traffic },
        "records": { "received": 2000, "counted": 1990, "hosts_refused": 3 },
        "received": { "dropped_by_kernel": 18_000, "refused": 7 },
        "drops": { "datagram_cut": 300 },
        "workers": [{
            "name": "sflow [::]:6343 #0", "records": 2000, "load": 0.4321,
            "records_per_second": 1999, "failed": "it broke",
            "source": { "received": 2300, "bytes": 145_200, "dropped_by_kernel": 18_000 },
        }],
    });
    let said = status(&answer);
    for line in [
        "Tidewall 1.2.3, process 42, up 2 h 03 min, 11.3 MB of memory",
        "2 ATTACKS go on: see `tidewall attacks`",
        "TRAFFIC   packets/s      rate",
        "incoming     12,345  9.8 Mbps",
        "other             0     0 bps",
        "The last window of 1.0 s had 1 host and was judged in 0.162 ms, 6 ms after its end",
        "It ended 5.0 s ago: there is no traffic, or detection is late",
        "SOURCE                load  records/s  received     bytes  records    lost  refused",
        "sflow [::]:6343 #0  43.2 %      1,999     2,300  145.2 kB    2,000  18,000        0",
        "(load: of one core, in the last second)",
        "sflow [::]:6343 #0: NOT RECEIVED FROM: it broke",
        "2,000 records were made, 1,990 of them counted",
        "  18,000  lost in the kernel: more `workers` or a larger buffer help",
        "     300  datagram_cut: An export datagram ends inside its header.",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}");
    }
}

#[test]
fn both_ways_of_a_host_stand_side_by_side() {
    let rates = json!({ "pps": 1000, "bps": 8_000_000, "fps": 2 });
    let answer = json!([{ "host": "192.0.2.1", "incoming": rates }]);
    assert_eq!(
        hosts(&answer),
        "HOST       in packets/s   in rate  in flows/s  out packets/s  out rate  out flows/s\n\
         192.0.2.1         1,000  8.0 Mbps           2              0     0 bps            0\n"
    );
    let answer = json!([{ "network": "192.0.2.0/24", "incoming": { "total": rates } }]);
    assert!(networks(&answer).contains("192.0.2.0/24         1,000  8.0 Mbps"));
}
