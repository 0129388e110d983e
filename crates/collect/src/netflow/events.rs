//! Records of firewalls and address translators: which of them tell of traffic, and which of a
//! decision or of traffic that another record counts.

use tidewall_model::DropReason;

use super::compiled::{Form, Slot, Slots, Values};
use crate::FlowNote;

/// Which records of a firewall count as traffic (elements 233 and 33002).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirewallEvents {
    /// All that count packets or bytes. A deletion that repeats the update before it, as Cisco ASA
    /// sends the two, counts once.
    #[default]
    WithTraffic,
    /// Only those that tell of the end of a flow, for firewalls whose updates repeat totals.
    Deletions,
}

const EVENTS: Slots = Slots::of([Slot::NatEvent, Slot::FirewallEvent, Slot::FirewallReason]);

/// The last update of a flow in a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastUpdate {
    flow: u64,
    bytes: [u64; 2],
    packets: [u64; 2],
    observed: u64,
}

impl LastUpdate {
    fn of(values: Values<'_>) -> Self {
        let both = |a, b| [values.get(a), values.get(b)];
        Self {
            flow: values.get(Slot::FlowId),
            bytes: both(Slot::Bytes, Slot::BackBytes),
            packets: both(Slot::Packets, Slot::BackPackets),
            observed: values.get(Slot::Observed),
        }
    }
}

/// Is there anything here to look at?
#[inline]
pub(super) const fn may_be_event(form: &Form) -> bool {
    form.has(EVENTS)
}

/// What kind of event a record is, and whether it counts.
pub(super) fn verdict(
    values: Values<'_>,
    policy: FirewallEvents,
    last: &mut LastUpdate,
) -> (FlowNote, Result<(), DropReason>) {
    let counters = [Slot::Packets, Slot::Bytes, Slot::BackPackets, Slot::BackBytes];
    let traffic = counters.iter().any(|&slot| values.get(slot) != 0);
    let Some(note) = firewall(values) else {
        // A translation that also counts what it translated is a flow like another.
        let nat = values.get(Slot::NatEvent) != 0 && !traffic;
        return (FlowNote::NONE, if nat { Err(DropReason::NatEvent) } else { Ok(()) });
    };
    let update = LastUpdate::of(values);
    let deleted = note == FlowNote::DELETED;
    let repeats = deleted && update.flow != 0 && update == *last;
    if note == FlowNote::UPDATED {
        *last = update;
    }
    let counts = traffic
        && match policy {
            FirewallEvents::WithTraffic => !repeats,
            FirewallEvents::Deletions => deleted,
        };
    (note, if counts { Ok(()) } else { Err(DropReason::FirewallEvent) })
}

/// The event: 233 or, where that is missing, the kind of reason in 33002.
fn firewall(values: Values<'_>) -> Option<FlowNote> {
    match (values.get(Slot::FirewallEvent), values.get(Slot::FirewallReason)) {
        (1, _) => Some(FlowNote::CREATED),
        (2, _) | (0, 2001..=2999) => Some(FlowNote::DELETED),
        (3, _) | (0, 1001..=1999) => Some(FlowNote::DENIED),
        (5, _) => Some(FlowNote::UPDATED),
        (0, _) => None,
        _ => Some(FlowNote::NONE),
    }
}
