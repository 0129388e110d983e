//! How much traffic is worth a look: counts at which a limit could be reached. Below them a host
//! costs the detector nothing.

use tidewall_model::{Count, Metric, TrafficClass, Unit};

use crate::arena::Side;
use crate::policy::{Group, Limits, Policy};
use crate::tallies::{Addition, Marks, Share};

/// Part of a limit, in seconds, that must be seen within a window before a host is looked at in
/// every slice. Small against the shortest detection time, large against ordinary traffic.
const HOT_SECONDS: f64 = 0.1;
/// Sampled packets that must be seen for it.
const HOT_SAMPLES: u64 = 2;
/// What is counted in all shares together is a quarter of it, at least, in one of them.
const SHARES: f64 = 4.0;

/// Packets or bytes that are worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// At least so many packets ...
    pub packets: u64,
    /// ... or so many bytes.
    pub bytes: u64,
}

impl Mark {
    /// Nothing is ever worth a look.
    const NEVER: Self = Self { packets: u64::MAX, bytes: u64::MAX };

    /// Smallest counts at which any of the limits that `shows` names could be reached within
    /// `seconds`.
    fn of(limits: &Limits, seconds: f64, shows: impl Fn(Metric) -> bool) -> Self {
        let mut mark = Self::NEVER;
        for (metric, limit) in limits.iter().filter(|(metric, _)| shows(*metric)) {
            let count = (limit * seconds).max(1.0);
            match metric.unit {
                // A flow needs a packet.
                Unit::Packets | Unit::Flows => mark.packets = mark.packets.min(count as u64),
                Unit::Bits => mark.bytes = mark.bytes.min((count / 8.0).max(1.0) as u64),
            }
        }
        mark
    }

    /// The smaller of each number.
    fn least(self, other: Self) -> Self {
        Self { packets: self.packets.min(other.packets), bytes: self.bytes.min(other.bytes) }
    }

    /// Is it worth a look?
    #[inline]
    pub const fn reached(&self, count: Count) -> bool {
        count.packets >= self.packets || count.bytes >= self.bytes
    }
}

/// Marks of the hosts of a group.
#[derive(Clone, Debug)]
pub struct GroupMarks {
    /// When a share of a host's traffic makes it hot: by side, share, and what else the last packet
    /// was ([`Marks::kind`]). Only a SYN can be the packet that reaches a limit of SYNs.
    hot: [[[Mark; 3]; 4]; 2],
    /// Below this total of a window a host need not be evaluated, by side.
    watch: [Mark; 2],
}

impl GroupMarks {
    /// Marks for the limits of a group's hosts, when a host's traffic is dealt to `parts` shards.
    pub fn of(group: &Group, policy: &Policy, parts: u32) -> Self {
        if !policy.detection.enabled || !group.detect {
            return Self { hot: [[[Mark::NEVER; 3]; 4]; 2], watch: [Mark::NEVER; 2] };
        }
        let parts = f64::from(parts.max(1));
        let window = policy.detection.window.as_secs_f64() * crate::WATCH_PART;
        let sides = [&group.host.incoming, &group.host.outgoing];
        let hot = |limits: &Limits, share: Share, kind: usize| {
            let seconds = HOT_SECONDS / (SHARES * parts);
            Mark::of(limits, seconds, |metric| shows(share, kind, metric.class))
        };
        let shares = [Share::Tcp, Share::Udp, Share::Icmp, Share::Other];
        Self {
            hot: sides
                .map(|limits| shares.map(|share| [0, 1, 2].map(|kind| hot(limits, share, kind)))),
            watch: sides.map(|limits| Mark::of(limits, window / parts, |_| true)),
        }
    }

    /// What has not reached this is hot in none of these groups.
    pub fn least_of(groups: &[Self]) -> Mark {
        let marks = groups.iter().flat_map(|group| group.hot.iter().flatten().flatten());
        marks.copied().fold(Mark::NEVER, Mark::least)
    }

    /// Is so much of the share that a packet was added to worth a look in every slice?
    #[inline]
    pub fn is_hot(&self, side: Side, add: &Addition, share: Count) -> bool {
        self.hot[side][add.share as usize][add.marks.kind()].reached(share)
            && share.packets >= HOT_SAMPLES.saturating_mul(u64::from(add.weight))
    }

    /// Is so much traffic in a window worth an evaluation?
    #[inline]
    pub const fn is_near(&self, side: Side, total: Count) -> bool {
        self.watch[side].reached(total)
    }

    /// How many times a window's total is what is worth an evaluation.
    pub fn nearness(&self, side: Side, total: Count) -> f64 {
        let mark = self.watch[side];
        let packets = total.packets as f64 / mark.packets as f64;
        packets.max(total.bytes as f64 / mark.bytes as f64)
    }
}

/// Can a limit of a class be reached by a packet of this share and kind?
fn shows(share: Share, kind: usize, class: TrafficClass) -> bool {
    match class {
        TrafficClass::Total => true,
        TrafficClass::Fragment | TrafficClass::Dropped => kind == Marks::RARE,
        TrafficClass::TcpSyn => kind != Marks::PLAIN && share == Share::Tcp,
        TrafficClass::Tcp => share == Share::Tcp,
        TrafficClass::Udp => share == Share::Udp,
        TrafficClass::Icmp => share == Share::Icmp,
        TrafficClass::Other => share == Share::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(share: Share, marks: Marks) -> Addition {
        Addition { count: Count::default(), weight: 1, share, marks }
    }

    #[test]
    fn only_what_a_share_can_show_makes_it_hot() {
        let policy = Policy::for_networks(Vec::new());
        let marks = GroupMarks::of(&Group::global(), &policy, 1);
        let plain = Marks::new(false, false, false);
        let hot =
            |share, kind, packets| marks.is_hot(0, &add(share, kind), Count { packets, bytes: 0 });
        // 20,000 packets of any kind, a quarter of them in this share, for a tenth of a second.
        assert!(!hot(Share::Udp, plain, 499) && hot(Share::Udp, plain, 500));
        // 5,000 ICMP packets are in their share only.
        assert!(!hot(Share::Icmp, plain, 124) && hot(Share::Icmp, plain, 125));
        // 5,000 fragments may be of any share, and only a fragment can be the last of them.
        let fragment = Marks::new(false, true, false);
        assert!(!hot(Share::Udp, fragment, 124) && hot(Share::Udp, fragment, 125));
        // 10,000 SYNs are TCP, and only a SYN can be the last of them.
        let syn = Marks::new(true, false, false);
        assert!(!hot(Share::Tcp, syn, 249) && hot(Share::Tcp, syn, 250));
        assert!(!hot(Share::Tcp, plain, 499) && hot(Share::Tcp, plain, 500));
    }

    #[test]
    fn two_samples_are_needed() {
        let policy = Policy::for_networks(Vec::new());
        let marks = GroupMarks::of(&Group::global(), &policy, 1);
        let sampled = Addition { weight: 5_000, ..add(Share::Udp, Marks::default()) };
        assert!(!marks.is_hot(0, &sampled, Count { packets: 5_000, bytes: 7_000_000 }));
        assert!(marks.is_hot(0, &sampled, Count { packets: 10_000, bytes: 14_000_000 }));
    }

    #[test]
    fn without_detection_nothing_is_worth_a_look() {
        let policy = Policy::for_networks(Vec::new());
        let group = Group { detect: false, ..Group::global() };
        let marks = GroupMarks::of(&group, &policy, 1);
        let huge = Count { packets: u64::MAX - 1, bytes: u64::MAX - 1 };
        assert!(
            !marks.is_near(0, huge) && !marks.is_hot(1, &add(Share::Tcp, Marks::default()), huge)
        );
    }
}
