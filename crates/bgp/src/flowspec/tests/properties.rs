//! Properties of any rule and of any octets, with fixed seeds.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use tidewall_model::Address;

fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x666c_6f77);
    ProptestConfig { rng_seed, failure_persistence: None, cases: 512, ..ProptestConfig::default() }
}

fn number() -> impl Strategy<Value = NumericTerm> {
    let ops = [
        NumericOp::Never,
        NumericOp::Equal,
        Greater,
        AtLeast,
        NumericOp::Less,
        AtMost,
        NumericOp::NotEqual,
        NumericOp::Always,
    ];
    let value =
        prop_oneof![0..300_u64, 0..70_000_u64, any::<u32>().prop_map(u64::from), any::<u64>()];
    (any::<bool>(), 0..8_usize, value).prop_map(move |(and, op, value)| NumericTerm {
        and,
        op: ops[op],
        value,
    })
}

fn bitmask() -> impl Strategy<Value = BitmaskTerm> {
    (any::<[bool; 3]>(), any::<u16>()).prop_map(|([and, not, all], mask)| BitmaskTerm {
        and,
        not,
        all,
        mask,
    })
}

/// Any rule that can be encoded.
pub(crate) fn any_rule() -> impl Strategy<Value = FlowSpecRule> {
    let component =
        (1..=13_u8, any::<u128>(), any::<[u8; 2]>(), vec(number(), 1..9), vec(bitmask(), 1..4));
    (any::<bool>(), vec(component, 1..8)).prop_filter_map("components once", |(v6, parts)| {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let mut components: Vec<Component> = parts
            .into_iter()
            .filter_map(|(number, bits, [len, offset], numbers, masks)| {
                let kind = ComponentKind::from_number(number)?;
                let address = if v6 { Address::v6(bits) } else { Address::v4(bits as u32) };
                let prefix = Prefix::containing(address, len % 129);
                let matched = PrefixMatch::with_offset(prefix, offset % 9).unwrap_or(prefix.into());
                Some(match kind {
                    ComponentKind::Destination => Component::Destination(matched),
                    ComponentKind::Source => Component::Source(matched),
                    ComponentKind::TcpFlags => Component::TcpFlags(masks),
                    ComponentKind::Fragment => Component::Fragment(masks),
                    ComponentKind::FlowLabel if !v6 => return None,
                    other => Component::numeric(other, numbers)?,
                })
            })
            .collect();
        components.sort_by_key(Component::kind);
        components.dedup_by_key(|component| component.kind());
        FlowSpecRule::new(family, components).ok()
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_written_is_read(rule in any_rule()) {
        let octets = encoded(&rule);
        let mut reader = crate::reader::Reader::new(&octets);
        let body = FlowSpecRule::next(&mut reader).unwrap();
        prop_assert!(reader.is_empty());
        prop_assert_eq!(body.len(), rule.octets());
        prop_assert_eq!(FlowSpecRule::parse(rule.family(), body), Ok(rule));
    }

    #[test]
    fn damaged_octets_are_a_rule_or_an_error(
        rule in any_rule(), place in any::<usize>(), octet in any::<u8>(), v6 in any::<bool>(),
    ) {
        let mut octets = encoded(&rule);
        let place = place % octets.len();
        octets[place] = octet;
        let family = if v6 { Family::V6 } else { Family::V4 };
        if let Ok(read) = FlowSpecRule::parse(family, &octets[1..]) {
            let again = encoded(&read);
            let skip = if again[0] >= 0xf0 { 2 } else { 1 };
            prop_assert_eq!(FlowSpecRule::parse(family, &again[skip..]), Ok(read.clone()));
            prop_assert!(!read.to_string().is_empty());
        }
    }

    #[test]
    fn parts_hold_the_terms_of_the_whole(
        rule in any_rule(), octets in 20..240_usize, terms in 1..9_usize,
    ) {
        let Some(parts) = rule.split(octets, terms) else { return Ok(()) };
        for part in &parts {
            prop_assert!(part.octets() <= octets);
            prop_assert!(part.components().iter().all(|c| c.terms() <= terms));
            let kinds = |of: &FlowSpecRule| -> Vec<_> {
                of.components().iter().map(Component::kind).collect()
            };
            prop_assert_eq!(kinds(part), kinds(&rule));
        }
        // Every combination of alternatives is in exactly one part.
        let alternatives = |rule: &FlowSpecRule| -> usize {
            rule.components().iter().map(|component| match component.list() {
                Terms::Prefix(_) => 1,
                Terms::Numeric(terms) => terms.iter().filter(|t| !t.and).count(),
                Terms::Bitmask(terms) => terms.iter().filter(|t| !t.and).count(),
            }).product()
        };
        prop_assert_eq!(parts.iter().map(alternatives).sum::<usize>(), alternatives(&rule));
    }

    #[test]
    fn precedence_is_an_order(a in any_rule(), b in any_rule(), c in any_rule()) {
        prop_assert_eq!(a.precedence(&b), b.precedence(&a).reverse());
        prop_assert_eq!(a.precedence(&a), Ordering::Equal);
        if a.precedence(&b) == Ordering::Less && b.precedence(&c) == Ordering::Less {
            prop_assert_eq!(a.precedence(&c), Ordering::Less);
        }
    }
}
