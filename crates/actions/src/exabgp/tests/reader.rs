//! ExaBGP's side of the text interface, as far as it is used: a line becomes the route that
//! ExaBGP 4.2 makes of it, silent traps included.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::str::FromStr;

use tidewall_bgp::action::{Action, Actions, Rate, RouteTarget};
use tidewall_bgp::attribute::Origin;
use tidewall_bgp::community::ExtendedCommunity;
use tidewall_bgp::flowspec::{
    BitmaskTerm, Component, ComponentKind, FlowSpecRule, NumericOp, NumericTerm, PrefixMatch,
};
use tidewall_bgp::{FlowSpecRoute, Nlri, Route, RouteAttributes, RouteKey, UnicastRoute};
use tidewall_model::{Family, Prefix};

/// What a line does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Announce(Route),
    Withdraw(RouteKey),
}

struct Words(VecDeque<String>);

impl Words {
    fn new(line: &str) -> Self {
        let mut spaced = line.to_owned();
        for sign in ["[", "]", "{", "}", ";"] {
            spaced = spaced.replace(sign, &format!(" {sign} "));
        }
        Self(spaced.split_whitespace().map(str::to_owned).collect())
    }

    fn next(&mut self) -> String {
        self.0.pop_front().unwrap_or_default()
    }

    fn expect(&mut self, words: &str) {
        for word in words.split(' ') {
            assert_eq!(self.next(), word);
        }
    }

    fn value<T: FromStr<Err: Debug>>(&mut self) -> T {
        self.next().parse().unwrap()
    }

    /// One value, or several in brackets.
    fn values<T: FromStr<Err: Debug>>(&mut self) -> Vec<T> {
        let first = self.next();
        if first != "[" {
            return vec![first.parse().unwrap()];
        }
        let mut values = Vec::new();
        loop {
            match self.next().as_str() {
                "]" => return values,
                word => values.push(word.parse().unwrap()),
            }
        }
    }

    /// Terms with whether they are joined by AND; without brackets the first alternative only.
    fn terms(&mut self) -> Vec<(bool, String)> {
        let words: Vec<String> = self.values();
        words
            .iter()
            .flat_map(|word| word.split('&').enumerate())
            .map(|(place, text)| (place > 0, text.to_owned()))
            .collect()
    }
}

/// Reads a line with its newline.
pub(crate) fn read(line: &str, local_as: u32) -> Read {
    assert!(line.len() <= 4_096 && line.is_ascii());
    let line = line.strip_suffix('\n').expect("ends with a newline");
    assert!(!line.contains('\n'));
    let mut words = Words::new(line);
    let announce = match words.next().as_str() {
        "announce" => true,
        "withdraw" => false,
        other => panic!("{other}"),
    };
    let read = match words.next().as_str() {
        "route" => unicast(&mut words, announce, local_as),
        "flow" => flow_spec(&mut words, announce),
        other => panic!("{other}"),
    };
    assert_eq!(words.next(), "", "behind the route");
    read
}

fn unicast(words: &mut Words, announce: bool, local_as: u32) -> Read {
    let prefix: Prefix = words.value();
    let multicast = prefix.family() == Family::V4 && prefix.first().bits >> 28 == 14;
    assert!(!multicast, "another family");
    let (mut next_hop, mut attributes) = (None, RouteAttributes::default());
    loop {
        match words.next().as_str() {
            "" => break,
            "next-hop" => next_hop = Some(words.value()),
            "med" => attributes.med = Some(words.value()),
            "local-preference" => attributes.local_pref = Some(words.value()),
            "as-path" => {
                let path: Vec<u32> = words.values();
                assert!(path.iter().all(|number| *number == local_as));
                attributes.prepend = u8::try_from(path.len() - 1).unwrap();
            }
            "origin" => {
                attributes.origin = match words.next().as_str() {
                    "egp" => Origin::Egp,
                    "incomplete" => Origin::Incomplete,
                    other => panic!("{other}"),
                }
            }
            word => communities(word, words, &mut attributes),
        }
    }
    if !announce {
        assert_eq!(attributes, RouteAttributes::default());
        return Read::Withdraw(RouteKey::new(&Nlri::Unicast(prefix)));
    }
    Read::Announce(UnicastRoute::new(prefix, next_hop.unwrap(), attributes).unwrap().into())
}

fn communities(word: &str, words: &mut Words, attributes: &mut RouteAttributes) {
    match word {
        "community" => attributes.communities = words.values(),
        "large-community" => attributes.large = words.values(),
        "extended-community" => {
            let texts: Vec<String> = words.values();
            // Other forms lose the kind of the administrator.
            assert!(texts.iter().all(|text| text.starts_with("0x") && text.len() == 18));
            attributes.extended = texts.iter().map(|text| text.parse().unwrap()).collect();
        }
        other => panic!("{other}"),
    }
}

fn flow_spec(words: &mut Words, announce: bool) -> Read {
    words.expect("route {");
    let (mut next_hop, mut components, mut family) = (None, Vec::new(), Family::V4);
    loop {
        match words.next().as_str() {
            "next-hop" => {
                next_hop = Some(words.value());
                words.expect(";");
            }
            "match" => break,
            other => panic!("{other}"),
        }
    }
    words.expect("{");
    loop {
        let name = words.next();
        match name.as_str() {
            "}" => break,
            "destination" | "source" => {
                let prefix: Prefix = words.value();
                // Only a prefix makes it a rule of IPv6.
                family = prefix.family();
                let matched = PrefixMatch::new(prefix);
                components.push(match name.as_str() {
                    "source" => Component::Source(matched),
                    _ => Component::Destination(matched),
                });
            }
            _ => components.push(component(&name, &words.terms())),
        }
        words.expect(";");
    }
    let rule = FlowSpecRule::new(family, components).unwrap();
    if !announce {
        words.expect("}");
        return Read::Withdraw(RouteKey::new(&Nlri::FlowSpec(rule)));
    }
    words.expect("then {");
    let (mut actions, mut attributes) = (Vec::new(), RouteAttributes::default());
    loop {
        let word = words.next();
        match word.as_str() {
            "}" => break,
            "discard" => actions.push(Action::DISCARD),
            "rate-limit" => {
                let rate: u64 = words.value();
                assert!((1..=1_000_000_000_000).contains(&rate));
                actions.push(Action::RateBytes(Rate::new(rate as f32).unwrap()));
            }
            "mark" => actions.push(Action::Mark(words.value())),
            "redirect" => actions.push(Action::Redirect(target(&words.next()))),
            "redirect-to-nexthop" => {
                let address = next_hop.unwrap();
                actions.push(Action::RedirectToNextHop { address, copy: false });
            }
            "copy" => {
                let address = words.value();
                actions.push(Action::RedirectToNextHop { address, copy: true });
            }
            "redirect-to-nexthop-ietf" => {
                actions.push(Action::RedirectToIp { address: words.value(), copy: false });
            }
            word => communities(word, words, &mut attributes),
        }
        words.expect(";");
    }
    words.expect("}");
    let is_action = |community: &ExtendedCommunity| Action::from_extended(*community);
    actions.extend(attributes.extended.iter().filter_map(is_action));
    attributes.extended.retain(|community| is_action(community).is_none());
    let actions = Actions::new(actions).unwrap();
    Read::Announce(FlowSpecRoute::new(rule, actions, attributes).unwrap().into())
}

fn target(text: &str) -> RouteTarget {
    let (number, value) = text.split_once(':').unwrap();
    let number: u32 = number.parse().unwrap();
    match u16::try_from(number) {
        Ok(short) => RouteTarget::As2(short, value.parse().unwrap()),
        Err(_) => RouteTarget::As4(number, value.parse().unwrap()),
    }
}

fn component(name: &str, terms: &[(bool, String)]) -> Component {
    let bits = |names: &[&str]| {
        let term = |(and, text): &(bool, String)| bitmask(*and, text, names);
        terms.iter().map(term).collect::<Vec<_>>()
    };
    let kind = match name {
        "tcp-flags" => {
            let names = ["fin", "syn", "rst", "push", "ack", "urg", "ece", "cwr"];
            return Component::TcpFlags(bits(&names));
        }
        "fragment" => {
            let names = ["dont-fragment", "is-fragment", "first-fragment", "last-fragment"];
            return Component::Fragment(bits(&names));
        }
        "protocol" | "next-header" => ComponentKind::Protocol,
        "dscp" | "traffic-class" => ComponentKind::Dscp,
        other => ComponentKind::ALL.into_iter().find(|kind| kind.to_string() == other).unwrap(),
    };
    Component::numeric(kind, terms.iter().map(|(and, text)| numeric(*and, text)).collect()).unwrap()
}

fn numeric(and: bool, text: &str) -> NumericTerm {
    let signs = [
        (">=", NumericOp::AtLeast),
        ("<=", NumericOp::AtMost),
        ("!=", NumericOp::NotEqual),
        ("=", NumericOp::Equal),
        (">", NumericOp::Greater),
        ("<", NumericOp::Less),
    ];
    let (sign, op) = signs.into_iter().find(|(sign, _)| text.starts_with(sign)).unwrap();
    NumericTerm { and, op, value: text[sign.len()..].parse().unwrap() }
}

fn bitmask(and: bool, text: &str, names: &[&str]) -> BitmaskTerm {
    let (text, not) = text.strip_prefix('!').map_or((text, false), |rest| (rest, true));
    let (text, all) = text.strip_prefix('=').map_or((text, false), |rest| (rest, true));
    let bit = |name: &str| 1 << names.iter().position(|known| *known == name).unwrap();
    BitmaskTerm { and, not, all, mask: text.split('+').map(bit).sum() }
}
