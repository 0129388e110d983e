//! From a filter to a FlowSpec rule (RFC 8955 §4, RFC 8956 §3) with its action.

use tidewall_bgp::action::{Action, Actions, Rate};
use tidewall_bgp::flowspec::{
    BitmaskTerm, Component, FlowSpecRule, NumericTerm, PrefixMatch, fragment,
};
use tidewall_model::{FilterAction, FilterRule, FlagMatch, Prefix};

use super::NoRoute;

/// The rule and the action of a filter for what goes to a prefix.
pub fn flow_spec_rule(
    destination: Prefix,
    filter: &FilterRule,
) -> Result<(FlowSpecRule, Actions), NoRoute> {
    let mut components = vec![Component::Destination(PrefixMatch::new(destination))];
    if let Some(source) = filter.source {
        components.push(Component::Source(PrefixMatch::new(source)));
    }
    if let Some(protocol) = filter.protocol {
        components.push(Component::Protocol(vec![NumericTerm::equal(protocol.into())]));
    }
    if !filter.destination_ports.is_empty() {
        components.push(Component::DestinationPort(terms(&filter.destination_ports)));
    }
    if !filter.source_ports.is_empty() {
        components.push(Component::SourcePort(terms(&filter.source_ports)));
    }
    if let Some(kind) = filter.icmp_type {
        components.push(Component::IcmpType(vec![NumericTerm::equal(kind.into())]));
    }
    if let Some(code) = filter.icmp_code {
        components.push(Component::IcmpCode(vec![NumericTerm::equal(code.into())]));
    }
    if let Some(flags) = filter.tcp_flags.map(flag_terms).filter(|terms| !terms.is_empty()) {
        components.push(Component::TcpFlags(flags));
    }
    if !filter.packet_lengths.is_empty() {
        components.push(Component::PacketLength(terms(&filter.packet_lengths)));
    }
    if let Some(is_fragment) = filter.fragment {
        // "Is a fragment" alone leaves out the first one.
        let bits = fragment::IS_FRAGMENT | fragment::FIRST;
        let term = if is_fragment { BitmaskTerm::any(bits) } else { BitmaskTerm::none(bits) };
        components.push(Component::Fragment(vec![term]));
    }
    let rule = FlowSpecRule::new(destination.family(), components)?;
    let actions = match filter.action {
        FilterAction::Discard => Actions::discard(),
        FilterAction::RateLimit(bytes) => {
            // A rate of zero would be a discard, which nobody asked for.
            let rate = Rate::new((bytes as f32).max(1.0)).unwrap_or(Rate::MAX);
            Actions::new([Action::RateBytes(rate)])?
        }
    };
    Ok((rule, actions))
}

/// All that must be set, and none that must not be.
fn flag_terms(flags: FlagMatch) -> Vec<BitmaskTerm> {
    let set = (flags.set != 0).then(|| BitmaskTerm::all(flags.set));
    let clear = (flags.clear != 0).then(|| BitmaskTerm::none(flags.clear));
    match (set, clear) {
        (Some(set), Some(clear)) => vec![set, clear.and()],
        (set, clear) => set.into_iter().chain(clear).collect(),
    }
}

fn terms(ranges: &[(u16, u16)]) -> Vec<NumericTerm> {
    let term = |&(low, high): &(u16, u16)| {
        if low == high {
            vec![NumericTerm::equal(low.into())]
        } else {
            NumericTerm::between(low.into(), high.into()).to_vec()
        }
    };
    ranges.iter().flat_map(term).collect()
}

#[cfg(test)]
mod tests {
    use tidewall_model::{TcpFlags, protocol};

    use super::*;

    fn words(rule: &FilterRule) -> String {
        let destination = "192.0.2.1/32".parse().unwrap();
        let (rule, actions) = flow_spec_rule(destination, rule).unwrap();
        rule.check_announceable().unwrap();
        format!("{rule}; then {actions}").replace("match destination 192.0.2.1/32 ", "")
    }

    #[test]
    fn filters_say_what_they_mean() {
        let of = |protocol| FilterRule {
            protocol: Some(protocol),
            ..FilterRule::all(FilterAction::Discard)
        };
        let flags = |set, clear| FilterRule {
            tcp_flags: Some(FlagMatch { set, clear }),
            ..of(protocol::TCP)
        };
        let all = TcpFlags::SYN | TcpFlags::ACK;
        for (rule, want) in [
            (flags(TcpFlags::SYN, TcpFlags::ACK), "protocol =6 tcp-flags =syn&!ack; then discard"),
            (flags(all, 0), "protocol =6 tcp-flags =syn+ack; then discard"),
            (flags(0, all), "protocol =6 tcp-flags !syn+ack; then discard"),
            (flags(0, 0), "protocol =6; then discard"),
            (
                FilterRule { icmp_type: Some(8), icmp_code: Some(0), ..of(protocol::ICMP) },
                "protocol =1 icmp-type =8 icmp-code =0; then discard",
            ),
            (
                FilterRule { fragment: Some(true), ..of(protocol::UDP) },
                "protocol =17 fragment is-fragment+first-fragment; then discard",
            ),
            (
                FilterRule { fragment: Some(false), ..of(protocol::UDP) },
                "protocol =17 fragment !is-fragment+first-fragment; then discard",
            ),
            (
                FilterRule {
                    source_ports: vec![(53, 53), (123, 123)],
                    packet_lengths: vec![(400, 1500)],
                    action: FilterAction::RateLimit(125_000),
                    ..of(protocol::UDP)
                },
                "protocol =17 source-port [ =53 =123 ] packet-length >=400&<=1500; then rate-limit \
                 125000 bytes/s",
            ),
        ] {
            assert_eq!(words(&rule), want);
        }
    }
}
