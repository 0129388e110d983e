//! What is known of the attack behind a mitigation when nobody remembers it: after a restart what
//! the journal says, and for a ban by hand what the ban says.

use tidewall_model::{
    Attack, AttackClass, AttackId, CausedBy, Count, Family, Metric, Mitigation, Reason, Timestamp,
    TopTuples, TrafficClass, TrafficCounters, Unit,
};

use crate::journal::{PastAttack, PastReason};

/// The person behind a mitigation, and what was said about it.
pub(super) fn operator(mitigation: &Mitigation) -> Option<(&str, &str)> {
    mitigation.causes.iter().find_map(|cause| match &cause.by {
        CausedBy::Operator { who, why } => Some((who.as_str(), why.as_str())),
        CausedBy::Attack { .. } => None,
    })
}

/// An attack for a mitigation of which no attack is known: it has the target, the direction and the
/// time, and no traffic.
pub(super) fn stand_in(mitigation: &Mitigation) -> Attack {
    let target = &mitigation.target;
    let metric = Metric { class: TrafficClass::Total, unit: Unit::Packets };
    Attack {
        id: AttackId(mitigation.id.0),
        target: target.clone(),
        family: target.family().unwrap_or(Family::V4),
        direction: mitigation.direction,
        class: AttackClass::Unknown,
        vectors: Vec::new(),
        reason: Reason {
            metric,
            direction: mitigation.direction,
            value: 0.0,
            limit: 0.0,
            group: mitigation.group.clone(),
            window_ms: 0,
            samples: 0,
        },
        started: mitigation.created,
        detected: mitigation.created,
        ended: None,
        peak_pps: 0,
        peak_bps: 0,
        peak_flows: 0,
        packets: 0,
        bytes: 0,
        rates: TrafficCounters::default(),
        opposite: TrafficCounters::default(),
        top: TopTuples::default(),
        samples: Vec::new(),
        filters: Vec::new(),
    }
}

/// The attack behind a mitigation as the history has it.
pub(super) fn from_past(past: &PastAttack, mitigation: &Mitigation) -> Attack {
    let stand_in = stand_in(mitigation);
    let total = Count { packets: past.detected_pps, bytes: past.detected_bps / 8 };
    Attack {
        id: AttackId(past.id),
        class: class(&past.class),
        reason: reason(&past.reason, &stand_in.reason),
        started: Timestamp(past.started_ns),
        detected: Timestamp(past.detected_ns),
        ended: past.ended_ns.map(Timestamp),
        peak_pps: past.peak_pps,
        peak_bps: past.peak_bps,
        peak_flows: past.peak_flows,
        packets: past.packets,
        bytes: past.bytes,
        rates: TrafficCounters { total, ..TrafficCounters::default() },
        ..stand_in
    }
}

/// Is this an attack of a mitigation's victim?
pub(super) fn is_of(past: &PastAttack, mitigation: &Mitigation) -> bool {
    past.target == mitigation.target.to_string()
        && past.direction == mitigation.direction.to_string()
}

fn reason(past: &PastReason, stand_in: &Reason) -> Reason {
    let units = [Unit::Packets, Unit::Bits, Unit::Flows];
    let metrics = TrafficClass::ALL
        .into_iter()
        .flat_map(|class| units.into_iter().map(move |unit| Metric { class, unit }));
    let metric = metrics.into_iter().find(|metric| metric.to_string() == past.metric);
    Reason {
        metric: metric.unwrap_or(stand_in.metric),
        value: past.value,
        limit: past.limit,
        group: past.group.clone(),
        window_ms: past.window_ms,
        ..*stand_in
    }
}

fn class(name: &str) -> AttackClass {
    use AttackClass::{
        AckFlood, FragmentFlood, GreFlood, IcmpFlood, Mixed, ProtocolFlood, RstFlood,
        SynAckReflection, SynFlood, TcpFlood, UdpFlood, UdpReflection, Unknown,
    };
    let all = [
        SynFlood,
        SynAckReflection,
        AckFlood,
        RstFlood,
        TcpFlood,
        UdpFlood,
        UdpReflection,
        FragmentFlood,
        IcmpFlood,
        GreFlood,
        ProtocolFlood,
        Mixed,
    ];
    all.into_iter().find(|class| class.name() == name).unwrap_or(Unknown)
}
