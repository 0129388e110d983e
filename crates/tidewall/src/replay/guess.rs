//! Which network is ours, when nobody says: the one that most packets go to.

use std::collections::BTreeMap;

use tidewall_model::{Address, Family, FlowRecord, Prefix};

/// A family with a smaller part of the packets is not guessed for, in percent.
const FAMILY_PERCENT: u64 = 10;
/// A shorter prefix must bring more than this to be chosen, in percent of the longer one's packets.
const WIDER_PERCENT: u64 = 10;

/// The prefix lengths of a guess: where it begins, and the shortest it may become.
const fn lengths(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (24, 16),
        Family::V6 => (64, 48),
    }
}

/// The busiest destination network of each family that has a fair part of the packets.
///
/// That is the /24 or /64 with the most packets to it, made shorter (to /16 or /48 at the most) as
/// long as that brings in considerably more traffic from outside. Multicast and broadcast count
/// only when there is nothing else.
pub(super) fn busiest_networks<'a>(
    records: &(impl Iterator<Item = &'a FlowRecord> + Clone),
) -> Vec<Prefix> {
    let all = records.clone().count() as u64;
    let of = |family| {
        let own = records.clone().filter(move |record| record.family == family);
        let enough = own.clone().count() as u64 * 100 >= all * FAMILY_PERCENT;
        if enough { busiest(family, &own) } else { None }
    };
    [of(Family::V4), of(Family::V6)].into_iter().flatten().collect()
}

fn busiest<'a>(
    family: Family,
    records: &(impl Iterator<Item = &'a FlowRecord> + Clone),
) -> Option<Prefix> {
    let (longest, shortest) = lengths(family);
    let count = |to_hosts_only: bool| {
        let mut packets: BTreeMap<Prefix, u64> = BTreeMap::new();
        let destinations = records.clone().map(FlowRecord::dst_address);
        for address in destinations.filter(|a| !to_hosts_only || is_host(*a)) {
            *packets.entry(Prefix::containing(address, longest)).or_default() += 1;
        }
        // Equal numbers: the lowest prefix.
        packets.into_iter().rev().max_by_key(|(_, packets)| *packets).map(|(prefix, _)| prefix)
    };
    let busiest = count(true).or_else(|| count(false))?;
    if !is_host(busiest.first()) {
        return Some(busiest);
    }
    let from_outside = |len: u8| {
        let prefix = Prefix::containing(busiest.first(), len);
        let inside = |address| prefix.contains(address);
        let incoming = |r: &&FlowRecord| inside(r.dst_address()) && !inside(r.src_address());
        (prefix, records.clone().filter(incoming).count() as u64)
    };
    let (mut chosen, mut most) = from_outside(longest);
    for len in (shortest..longest).rev() {
        let (prefix, packets) = from_outside(len);
        if packets * 100 > most * (100 + WIDER_PERCENT) {
            (chosen, most) = (prefix, packets);
        }
    }
    Some(chosen)
}

/// Neither multicast nor broadcast nor unspecified.
fn is_host(address: Address) -> bool {
    match address.family {
        Family::V4 => (address.bits >> 24) < 224 && address.bits != 0,
        Family::V6 => (address.bits >> 120) != 0xff && address.bits != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn record(src: &str, dst: &str) -> FlowRecord {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        let (src, dst) = (address(src), address(dst));
        FlowRecord { src: src.bits, dst: dst.bits, family: dst.family, ..FlowRecord::default() }
    }

    fn guess(records: &[FlowRecord]) -> Vec<String> {
        busiest_networks(&records.iter()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_from_nothing() {
        assert!(guess(&[]).is_empty());
    }

    #[test]
    fn the_busiest_destination_of_each_family() {
        let mut records = vec![record("198.51.100.1", "192.0.2.7"); 30];
        records.extend(vec![record("192.0.2.7", "198.51.100.1"); 10]);
        records.extend(vec![record("2001:db8:1::1", "2001:db8:2::5"); 8]);
        assert_eq!(guess(&records), ["192.0.2.0/24", "2001:db8:2::/64"]);
        records.extend(vec![record("198.51.100.1", "192.0.2.7"); 100]);
        assert_eq!(guess(&records), ["192.0.2.0/24"], "few IPv6 packets do not make a network");
    }

    #[test]
    fn a_carpet_is_covered_by_one_prefix() {
        let to = |n: u32| record("198.51.100.1", &format!("203.0.{}.{}", 112 + n % 4, n % 200));
        let records: Vec<_> = (0..4000).map(to).collect();
        assert_eq!(guess(&records), ["203.0.112.0/22"]);
    }

    #[test]
    fn the_other_end_of_the_traffic_is_not_swallowed() {
        let mut records = vec![record("10.0.1.7", "10.0.0.5"); 30];
        records.extend(vec![record("10.0.0.5", "10.0.1.7"); 20]);
        assert_eq!(guess(&records), ["10.0.0.0/24"]);
    }

    #[test]
    fn broadcast_only_when_there_is_nothing_else() {
        let mut records = vec![record("0.0.0.0", "255.255.255.255"); 30];
        assert_eq!(guess(&records), ["255.255.255.0/24"]);
        records.push(record("10.0.0.1", "10.0.0.9"));
        assert_eq!(guess(&records), ["10.0.0.0/24"]);
    }
}
