//! rtnetlink messages about addresses (rtnetlink(7)), as bytes. The kernel writes them, but every
//! length is checked: what does not add up ends the walk.

use tidewall_model::{Address, Family};

use super::{AddressScope, OwnAddress};

const HEADER_LEN: usize = 16;
/// `ifaddrmsg`.
const BODY_LEN: usize = 8;
const ATTRIBUTE_LEN: usize = 4;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Added(OwnAddress),
    Removed(OwnAddress),
    /// The end of a dump.
    Done,
    /// The dump is not consistent.
    Interrupted,
    /// A request failed with this error number.
    Error(i32),
}

/// A request for all addresses of a family.
pub(super) fn request(family: u8) -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut out = Vec::with_capacity(HEADER_LEN + BODY_LEN);
    out.extend(((HEADER_LEN + BODY_LEN) as u32).to_ne_bytes());
    out.extend(libc::RTM_GETADDR.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    // Sequence number and port: there is one request at a time on a socket of its own.
    out.extend([0; 8]);
    out.extend([family, 0, 0, 0, 0, 0, 0, 0]);
    out
}

/// The events in one datagram. A message may give two: that the dump is not consistent, and what
/// it says itself.
pub(super) fn events(datagram: &[u8]) -> impl Iterator<Item = Event> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (kind, after) = after.split_first_chunk::<2>()?;
        let (flags, _) = after.split_first_chunk::<2>()?;
        let length = u32::from_ne_bytes(*length) as usize;
        let body = rest.get(HEADER_LEN..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        let flags = i32::from(u16::from_ne_bytes(*flags));
        let interrupted = (flags & libc::NLM_F_DUMP_INTR != 0).then_some(Event::Interrupted);
        let event = event(u16::from_ne_bytes(*kind), body);
        Some(interrupted.into_iter().chain(event))
    })
    .flatten()
}

fn event(kind: u16, body: &[u8]) -> Option<Event> {
    match kind {
        libc::RTM_NEWADDR => address(body).map(Event::Added),
        libc::RTM_DELADDR => address(body).map(Event::Removed),
        _ if i32::from(kind) == libc::NLMSG_DONE => Some(Event::Done),
        _ if i32::from(kind) == libc::NLMSG_ERROR => {
            let code = i32::from_ne_bytes(*body.first_chunk()?);
            (code != 0).then_some(Event::Error(code.saturating_neg()))
        }
        _ => None,
    }
}

/// Parses an `ifaddrmsg` and its attributes.
fn address(body: &[u8]) -> Option<OwnAddress> {
    let (fixed, attributes) = body.split_first_chunk::<BODY_LEN>()?;
    let [family, prefix_length, _flags, scope, interface @ ..] = *fixed;
    let family = match i32::from(family) {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return None,
    };
    // On a point-to-point link IFA_ADDRESS is the far end, and IFA_LOCAL ours.
    let find = |wanted| attributes_of(attributes).find(|(kind, _)| *kind == wanted);
    let (_, value) = find(libc::IFA_LOCAL).or_else(|| find(libc::IFA_ADDRESS))?;
    let address = match family {
        Family::V4 => Address::v4(u32::from_be_bytes(value.try_into().ok()?)),
        Family::V6 => Address::v6(u128::from_be_bytes(value.try_into().ok()?)),
    };
    Some(OwnAddress {
        address,
        prefix_length: prefix_length.min(family.bits()),
        interface: u32::from_ne_bytes(interface),
        scope: match scope {
            libc::RT_SCOPE_HOST => AddressScope::Host,
            libc::RT_SCOPE_LINK => AddressScope::Link,
            _ => AddressScope::Global,
        },
    })
}

/// The attributes of a message: type and value.
fn attributes_of(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let kind = after.first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = rest.get(ATTRIBUTE_LEN..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((u16::from_ne_bytes(*kind), value))
    })
}

/// Messages and attributes begin at multiples of four bytes.
const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(((HEADER_LEN + body.len()) as u32).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(flags.to_ne_bytes());
        out.extend([0; 8]);
        out.extend(body);
        out.resize(aligned(out.len()), 0);
        out
    }

    fn body(family: i32, prefix_length: u8, scope: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut out = vec![family as u8, prefix_length, 0, scope];
        out.extend(7_u32.to_ne_bytes());
        for (kind, value) in attributes {
            out.extend(((ATTRIBUTE_LEN + value.len()) as u16).to_ne_bytes());
            out.extend(kind.to_ne_bytes());
            out.extend(*value);
            out.resize(aligned(out.len()), 0);
        }
        out
    }

    #[test]
    fn messages_become_events() {
        let far: (u16, &[u8]) = (libc::IFA_ADDRESS, &[192, 0, 2, 9]);
        let near: (u16, &[u8]) = (libc::IFA_LOCAL, &[192, 0, 2, 1]);
        let label: (u16, &[u8]) = (libc::IFA_LABEL, b"ppp0\0");
        let point = body(libc::AF_INET, 32, 0, &[far, label, near]);
        let v6 = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let link = body(libc::AF_INET6, 64, libc::RT_SCOPE_LINK, &[(libc::IFA_ADDRESS, &v6)]);
        let datagram = [
            message(libc::RTM_NEWADDR, libc::NLM_F_DUMP_INTR as u16, &point),
            message(libc::RTM_NEWLINK, 0, &[1, 2, 3]),
            message(libc::RTM_DELADDR, 0, &link),
            message(libc::NLMSG_ERROR as u16, 0, &(-libc::EPERM).to_ne_bytes()),
            message(libc::NLMSG_DONE as u16, 0, &[]),
        ]
        .concat();
        let near = OwnAddress {
            address: Address::v4(0xc000_0201),
            prefix_length: 32,
            interface: 7,
            scope: AddressScope::Global,
        };
        let link = OwnAddress {
            address: Address::v6(u128::from_be_bytes(v6)),
            prefix_length: 64,
            interface: 7,
            scope: AddressScope::Link,
        };
        let expected = [
            Event::Interrupted,
            Event::Added(near),
            Event::Removed(link),
            Event::Error(libc::EPERM),
            Event::Done,
        ];
        assert_eq!(events(&datagram).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_does_not_add_up_is_nothing() {
        let address: (u16, &[u8]) = (libc::IFA_ADDRESS, &[192, 0, 2, 9, 1]);
        let odd = message(libc::RTM_NEWADDR, 0, &body(libc::AF_INET, 24, 0, &[address]));
        assert_eq!(events(&odd).count(), 0);
        let good: (u16, &[u8]) = (libc::IFA_ADDRESS, &[192, 0, 2, 9]);
        let whole = message(libc::RTM_NEWADDR, 0, &body(libc::AF_INET, 200, 0, &[good]));
        for cut in 0..whole.len() {
            assert_eq!(events(&whole[..cut]).count(), 0);
        }
        let Some(Event::Added(own)) = events(&whole).next() else { panic!() };
        assert_eq!(own.prefix_length, 32);
        let mut endless = whole.clone();
        endless[..4].copy_from_slice(&0_u32.to_ne_bytes());
        assert_eq!(events(&endless).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: prop::test_runner::RngSeed::Fixed(0x7d13),
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_bytes_end(head in 0u32..80, kind in 0u16..40, rest in prop::collection::vec(0u8..40, 0..120)) {
            let datagram = [&head.to_ne_bytes()[..], &kind.to_ne_bytes(), &rest].concat();
            prop_assert!(events(&datagram).count() <= datagram.len());
        }
    }
}
