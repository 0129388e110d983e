//! Packing routes into an UPDATE: as many as share attributes and fit.

use std::net::IpAddr;

use crate::attribute::{PathAttributes, flags, kind, write_attribute};
use crate::family::{AfiSafi, RouteFamily};
use crate::message::{MessageType, begin, finish};

/// Header and the two length fields.
const FIXED: usize = 23;
/// Flags, type and a length of two octets.
const ATTRIBUTE_HEADER: usize = 4;

/// Appends an UPDATE that announces as many of `routes` (encoded NLRI of `family`) as fit into
/// `max` octets, and returns how many those are; nothing is appended for none.
///
/// IPv4 unicast stands in the classic field, everything else in `MP_REACH_NLRI`, which is the first
/// attribute (RFC 7606 §5.1). FlowSpec has no next hop unless `next_hop` is given.
pub fn write_announcements<'r>(
    family: RouteFamily,
    attributes: &PathAttributes,
    next_hop: Option<IpAddr>,
    routes: impl IntoIterator<Item = &'r [u8]>,
    four_octet_as: bool,
    max: usize,
    out: &mut Vec<u8>,
) -> usize {
    let mut others = Vec::new();
    attributes.encode(four_octet_as, &mut others);
    let classic = family == RouteFamily::Ipv4Unicast;
    let mut reach = Vec::new();
    if !classic {
        write_family(family, &mut reach);
        match next_hop {
            None => reach.push(0),
            Some(IpAddr::V4(address)) => {
                reach.push(4);
                reach.extend(address.octets());
            }
            Some(IpAddr::V6(address)) => {
                reach.push(16);
                reach.extend(address.octets());
            }
        }
        reach.push(0);
    }
    let used = FIXED + others.len() + if classic { 0 } else { ATTRIBUTE_HEADER + reach.len() };
    let mut nlri = Vec::new();
    let count = pack(routes, max.saturating_sub(used), &mut nlri);
    if count == 0 {
        return 0;
    }
    let mut block = Vec::new();
    if !classic {
        reach.append(&mut nlri);
        write_attribute(flags::OPTIONAL, kind::MP_REACH, &reach, &mut block);
    }
    block.extend(others);
    let start = begin(MessageType::Update, out);
    out.extend([0, 0]);
    out.extend((block.len() as u16).to_be_bytes());
    out.extend(block);
    out.extend(nlri);
    finish(start, out);
    count
}

/// Appends an UPDATE that withdraws as many of `routes` as fit into `max` octets, and returns how
/// many those are; nothing is appended for none.
pub fn write_withdrawals<'r>(
    family: RouteFamily,
    routes: impl IntoIterator<Item = &'r [u8]>,
    max: usize,
    out: &mut Vec<u8>,
) -> usize {
    let classic = family == RouteFamily::Ipv4Unicast;
    let used = FIXED + if classic { 0 } else { ATTRIBUTE_HEADER + 3 };
    let mut nlri = Vec::new();
    let count = pack(routes, max.saturating_sub(used), &mut nlri);
    if count == 0 {
        return 0;
    }
    let start = begin(MessageType::Update, out);
    if classic {
        out.extend((nlri.len() as u16).to_be_bytes());
        out.extend(nlri);
        out.extend([0, 0]);
    } else {
        write_unreach(family, &nlri, out);
    }
    finish(start, out);
    count
}

/// Appends the End-of-RIB marker of a family (RFC 4724 §2).
pub fn write_end_of_rib(family: RouteFamily, out: &mut Vec<u8>) {
    let start = begin(MessageType::Update, out);
    if family == RouteFamily::Ipv4Unicast {
        out.extend([0; 4]);
    } else {
        write_unreach(family, &[], out);
    }
    finish(start, out);
}

fn write_unreach(family: RouteFamily, nlri: &[u8], out: &mut Vec<u8>) {
    let mut value = Vec::new();
    write_family(family, &mut value);
    value.extend(nlri);
    let mut block = Vec::new();
    write_attribute(flags::OPTIONAL, kind::MP_UNREACH, &value, &mut block);
    out.extend([0, 0]);
    out.extend((block.len() as u16).to_be_bytes());
    out.extend(block);
}

fn write_family(family: RouteFamily, out: &mut Vec<u8>) {
    let AfiSafi { afi, safi } = family.into();
    out.extend(afi.to_be_bytes());
    out.push(safi);
}

fn pack<'r>(routes: impl IntoIterator<Item = &'r [u8]>, room: usize, out: &mut Vec<u8>) -> usize {
    let mut count = 0;
    for route in routes {
        if out.len() + route.len() > room {
            break;
        }
        out.extend(route);
        count += 1;
    }
    count
}
