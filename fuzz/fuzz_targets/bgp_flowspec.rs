//! FlowSpec rules; the first byte chooses the IP version: no panic, a rule that is read is written
//! to octets of the same rule, its parts are short enough, and only safe rules become routes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewall_bgp::action::Actions;
use tidewall_bgp::flowspec::FlowSpecRule;
use tidewall_bgp::{FlowSpecRoute, Nlri, PeerProfile, RouteAttributes, RouteFamily};

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let family =
        if choice & 1 == 0 { RouteFamily::Ipv4FlowSpec } else { RouteFamily::Ipv6FlowSpec };
    let mut last: Option<FlowSpecRule> = None;
    for nlri in Nlri::list(family, data) {
        let Ok(Nlri::FlowSpec(rule)) = nlri else { continue };
        let mut octets = Vec::new();
        rule.encode(&mut octets);
        let again = Nlri::list(family, &octets).collect::<Vec<_>>();
        assert_eq!(again, [Ok(Nlri::FlowSpec(rule.clone()))]);
        assert!(rule.to_string().starts_with("match "));
        if let Some(last) = last.replace(rule.clone()) {
            assert_eq!(last.precedence(&rule), rule.precedence(&last).reverse());
        }
        let attributes = RouteAttributes::default();
        let Ok(route) = FlowSpecRoute::new(rule, Actions::discard(), attributes) else { continue };
        if let Ok(fitted) = PeerProfile::default().fit(&route) {
            for part in fitted.rules {
                assert!(part.octets() <= 239);
                assert_eq!(part.check_announceable(), Ok(()));
                assert_eq!(part.destination(), route.rule().destination());
            }
        }
    }
});
