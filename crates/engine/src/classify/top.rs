//! The dominant values of each field of the samples.

use tidewall_model::{Direction, FlowRecord, Fragment, TcpFlags, TopTuples, TopValue, protocol};

use super::kind::{local, remote};
use super::ratio;

/// Values listed for each field.
const MAX_VALUES: usize = 5;

/// Counts every field over the samples, by scaled packets.
pub(super) fn tuples(samples: &[FlowRecord], direction: Direction) -> TopTuples {
    let total = samples.iter().fold(0u64, |sum, r| sum.saturating_add(r.scaled_packets()));
    let all = || samples.iter();
    let with_ports = || samples.iter().filter(|r| has_ports(r));
    let with_flags =
        || samples.iter().filter(|r| r.protocol == protocol::TCP && r.fragment != Fragment::Later);
    let remotes = Field::count(all(), |r| remote(r, direction));
    TopTuples {
        distinct_remotes: remotes.0.len() as u64,
        remotes: remotes.top(total, ToString::to_string),
        locals: Field::count(all(), |r| local(r, direction)).top(total, ToString::to_string),
        protocols: Field::count(all(), |r| r.protocol).top(total, |p| protocol_name(*p)),
        source_ports: Field::count(with_ports(), |r| r.src_port).top(total, ToString::to_string),
        destination_ports: Field::count(with_ports(), |r| r.dst_port)
            .top(total, ToString::to_string),
        tcp_flags: Field::count(with_flags(), |r| r.tcp_flags).top(total, TcpFlags::to_string),
        lengths: Field::count(all(), |r| r.bytes / r.packets.max(1))
            .top(total, ToString::to_string),
    }
}

/// Scaled packets of each value of a field, in order of value.
struct Field<T>(Vec<(T, u64)>);

impl<T: Copy + Ord> Field<T> {
    fn count<'r>(
        samples: impl Iterator<Item = &'r FlowRecord>,
        value: impl Fn(&FlowRecord) -> T,
    ) -> Self {
        let mut counts: Vec<(T, u64)> = samples.map(|r| (value(r), r.scaled_packets())).collect();
        counts.sort_unstable();
        counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
        Self(counts)
    }

    /// The largest values, ties by value.
    fn top(mut self, total: u64, text: impl Fn(&T) -> String) -> Vec<TopValue> {
        self.0.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        self.0
            .iter()
            .take(MAX_VALUES)
            .map(|(value, packets)| TopValue {
                value: text(value),
                packets: *packets,
                share: ratio(*packets, total),
            })
            .collect()
    }
}

/// Later fragments have no ports, and ICMP keeps its type in the place of one.
fn has_ports(record: &FlowRecord) -> bool {
    record.fragment != Fragment::Later
        && matches!(record.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
}

fn protocol_name(number: u8) -> String {
    protocol::name(number).map_or_else(|| number.to_string(), str::to_owned)
}
