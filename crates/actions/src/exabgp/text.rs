//! Routes as lines of ExaBGP's text interface (4.2). What it cannot say, or takes for something
//! else without a word, is an error here: a route is announced as it is meant or not at all.

use std::fmt::{Display, Write as _};
use std::net::IpAddr;

use thiserror::Error;
use tidewall_bgp::action::{Action, Actions, Rate, RouteTarget};
use tidewall_bgp::attribute::Origin;
use tidewall_bgp::community::ExtendedCommunity;
use tidewall_bgp::flowspec::{
    BitmaskTerm, Component, ComponentKind, FlowSpecRule, NotAnnounceable, NumericOp, NumericTerm,
    fragment,
};
use tidewall_bgp::{FlowSpecRoute, Nlri, Route, RouteAttributes, RouteKey, UnicastRoute};
use tidewall_model::{Family, Prefix};

/// Longest line, newline included: `PIPE_BUF`, up to which a write to a pipe is not torn.
pub const MAX_LINE: usize = 4_096;
/// ExaBGP makes larger rates this one.
const MAX_RATE: f32 = 1e12;

/// Why ExaBGP cannot be told to announce a route.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unsayable {
    /// It would be announced in the multicast family, or silently not at all.
    #[error("ExaBGP takes {0} for a route of the multicast family")]
    Multicast(Prefix),
    /// An AS path is sent as it is written, and ours is not known.
    #[error("to prepend our AS number ExaBGP must be told it, and `local_as` is not set")]
    Prepend,
    /// There is no word for it in a filter.
    #[error("ExaBGP has no {0} for FlowSpec rules")]
    Attribute(&'static str),
    /// The rule is not safe to announce, and nothing cuts it here.
    #[error(transparent)]
    Rule(#[from] NotAnnounceable),
    /// It is announced as a rule of IPv4.
    #[error("ExaBGP takes an IPv6 rule without destination and source for one of IPv4")]
    NoPrefix,
    /// Rates are whole numbers up to a limit; fractions are cut, larger ones made smaller.
    #[error("ExaBGP has whole rates up to {MAX_RATE:.0} bytes/s only, and not {0}")]
    Rate(Rate),
    /// There is no word for the action.
    #[error("ExaBGP cannot say \"{0}\"")]
    Action(Action),
    /// It is kept with octets changed, or mixed up with another one that prints alike.
    #[error("ExaBGP does not keep the extended community {0} apart from others")]
    Community(ExtendedCommunity),
    /// The line could be torn.
    #[error("the line has {0} octets, where {MAX_LINE} fit into one write to a pipe")]
    TooLong(usize),
    /// The octets are no route of ours.
    #[error("not a route that can be written")]
    Key,
}

/// The line that announces a route. `local_as` is only needed for prepending.
pub fn announcement(route: &Route, local_as: Option<u32>) -> Result<String, Unsayable> {
    let line = match route {
        Route::Unicast(route) => unicast(route, local_as)?,
        Route::FlowSpec(route) => flow_spec(route)?,
    };
    bounded(line)
}

/// The line that withdraws a route. ExaBGP looks at the prefix or the rule only; the next hop is
/// written where it is known, as the reference does.
pub fn withdrawal(key: &RouteKey, next_hop: Option<IpAddr>) -> Result<String, Unsayable> {
    let nlri = Nlri::list(key.family(), key.octets()).next().and_then(Result::ok);
    let line = match nlri.ok_or(Unsayable::Key)? {
        Nlri::Unicast(prefix) => {
            let mut line = format!("withdraw route {}", unicast_prefix(prefix)?);
            if let Some(next_hop) = next_hop {
                push(&mut line, format_args!(" next-hop {next_hop}"));
            }
            line
        }
        Nlri::FlowSpec(rule) => {
            let mut line = "withdraw flow route { ".to_owned();
            conditions(&rule, &mut line)?;
            line.push('}');
            line
        }
    };
    bounded(line)
}

fn bounded(mut line: String) -> Result<String, Unsayable> {
    line.push('\n');
    if line.len() > MAX_LINE { Err(Unsayable::TooLong(line.len())) } else { Ok(line) }
}

fn push(line: &mut String, text: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(line, "{text}");
}

/// 224.0.0.0/4 is another family to ExaBGP.
fn unicast_prefix(prefix: Prefix) -> Result<Prefix, Unsayable> {
    let multicast = prefix.family() == Family::V4 && prefix.first().bits >> 28 == 0xe;
    if multicast { Err(Unsayable::Multicast(prefix)) } else { Ok(prefix) }
}

fn unicast(route: &UnicastRoute, local_as: Option<u32>) -> Result<String, Unsayable> {
    let prefix = unicast_prefix(route.prefix())?;
    let mut line = format!("announce route {prefix} next-hop {}", route.next_hop());
    let attributes = route.attributes();
    for (word, values) in communities(attributes, &[])? {
        // One value stands alone, as the reference writes it.
        match values.as_slice() {
            [] => {}
            [one] => push(&mut line, format_args!(" {word} {one}")),
            several => push(&mut line, format_args!(" {word} [{}]", several.join(" "))),
        }
    }
    if let Some(med) = attributes.med {
        push(&mut line, format_args!(" med {med}"));
    }
    if let Some(preference) = attributes.local_pref {
        push(&mut line, format_args!(" local-preference {preference}"));
    }
    if attributes.prepend > 0 {
        // A path that is written is sent as it is, so our own place in it is written too.
        let own = local_as.ok_or(Unsayable::Prepend)?.to_string();
        let path = vec![own; usize::from(attributes.prepend) + 1];
        push(&mut line, format_args!(" as-path [{}]", path.join(" ")));
    }
    match attributes.origin {
        Origin::Igp => {}
        Origin::Egp => line.push_str(" origin egp"),
        Origin::Incomplete => line.push_str(" origin incomplete"),
    }
    Ok(line)
}

type Words = [(&'static str, Vec<String>); 3];

/// The communities of all sorts, `more` among the extended ones.
fn communities(attributes: &RouteAttributes, more: &[String]) -> Result<Words, Unsayable> {
    let standard = attributes.communities.iter().map(ToString::to_string).collect();
    let large = attributes.large.iter().map(ToString::to_string).collect();
    let mut extended = more.to_vec();
    for community in &attributes.extended {
        extended.push(extended_community(*community)?);
    }
    Ok([("community", standard), ("large-community", large), ("extended-community", extended)])
}

/// In hexadecimal digits: `target:192.0.2.1:1` would become a target of a two-octet AS number.
/// ExaBGP looks at the low half of the first octet only when it picks a kind, and tells routes
/// with different attributes apart by what it prints.
fn extended_community(community: ExtendedCommunity) -> Result<String, Unsayable> {
    /// Route targets and origins, which print with all that they hold.
    const PLAIN: [u16; 6] = [0x0002, 0x0003, 0x0102, 0x0103, 0x0202, 0x0203];
    /// Low half of the first octet, second octet: kinds that ExaBGP interprets.
    const INTERPRETED: [u16; 22] = [
        0x0002, 0x0003, 0x0004, 0x0006, 0x0007, 0x0008, 0x0009, 0x000a, 0x0013, 0x0102, 0x0103,
        0x010c, 0x0113, 0x0202, 0x0203, 0x0208, 0x0213, 0x030c, 0x0314, 0x0600, 0x0702, 0x0800,
    ];
    let kind = community.kind();
    if PLAIN.contains(&kind) || !INTERPRETED.contains(&(kind & 0x0fff)) {
        Ok(hexadecimal(community))
    } else {
        Err(Unsayable::Community(community))
    }
}

fn hexadecimal(community: ExtendedCommunity) -> String {
    format!("0x{:016x}", u64::from_be_bytes(community.0))
}

fn flow_spec(route: &FlowSpecRoute) -> Result<String, Unsayable> {
    let attributes = route.attributes();
    for (name, given) in [
        ("MED", attributes.med.is_some()),
        ("local preference", attributes.local_pref.is_some()),
        ("prepending", attributes.prepend > 0),
        ("origin", attributes.origin != Origin::Igp),
    ] {
        if given {
            return Err(Unsayable::Attribute(name));
        }
    }
    let mut line = "announce flow route { ".to_owned();
    let (mut then, mut extended) = (String::new(), Vec::new());
    for action in route.actions().iter() {
        match said(*action)? {
            Said::Word(word) => push(&mut then, format_args!("{word}; ")),
            Said::Community(community) => extended.push(hexadecimal(community)),
            Said::NextHop(address) => {
                push(&mut line, format_args!("next-hop {address}; "));
                then.push_str("redirect-to-nexthop; ");
            }
        }
    }
    conditions(route.rule(), &mut line)?;
    push(&mut line, format_args!("then {{ {then}"));
    for (word, values) in communities(attributes, &extended)? {
        if !values.is_empty() {
            push(&mut line, format_args!("{word} [ {} ]; ", values.join(" ")));
        }
    }
    line.push_str("} }");
    Ok(line)
}

/// How an action is said.
enum Said {
    Word(String),
    Community(ExtendedCommunity),
    NextHop(IpAddr),
}

fn said(action: Action) -> Result<Said, Unsayable> {
    let word = |text: String| Ok(Said::Word(text));
    match action {
        Action::RateBytes(Rate::ZERO) => word("discard".to_owned()),
        Action::RateBytes(rate) => {
            let value = rate.per_second();
            if value > MAX_RATE || value.fract() != 0.0 {
                return Err(Unsayable::Rate(rate));
            }
            word(format!("rate-limit {value:.0}"))
        }
        Action::Mark(dscp) => word(format!("mark {dscp}")),
        Action::Redirect(RouteTarget::As2(number, value)) => {
            word(format!("redirect {number}:{value}"))
        }
        // A number that fits into two octets would be sent in the other form.
        Action::Redirect(RouteTarget::As4(number, value)) if number > 0xffff => {
            word(format!("redirect {number}:{value}"))
        }
        Action::Redirect(RouteTarget::As4(..) | RouteTarget::Ipv6(..))
        | Action::RedirectToIp { address: IpAddr::V6(_), copy: true } => {
            Err(Unsayable::Action(action))
        }
        Action::RedirectToIp { address, copy: false } => {
            word(format!("redirect-to-nexthop-ietf {address}"))
        }
        Action::RedirectToNextHop { address, copy: true } => word(format!("copy {address}")),
        Action::RedirectToNextHop { address, copy: false } => Ok(Said::NextHop(address)),
        // No word, or, as with `action`, one that means the opposite: "terminal" sets the bit
        // that lets later rules be looked at.
        Action::RatePackets(_)
        | Action::Traffic { .. }
        | Action::Redirect(RouteTarget::Ipv4(..))
        | Action::RedirectToIp { .. } => match community(action) {
            Some(community) => Ok(Said::Community(community)),
            None => Err(Unsayable::Action(action)),
        },
    }
}

fn community(action: Action) -> Option<ExtendedCommunity> {
    let (plain, _) = Actions::new([action]).ok()?.communities();
    plain.first().copied()
}

fn conditions(rule: &FlowSpecRule, line: &mut String) -> Result<(), Unsayable> {
    rule.check_announceable()?;
    let v6 = rule.family() == Family::V6;
    let has = |kind| rule.component(kind).is_some();
    if v6 && !has(ComponentKind::Destination) && !has(ComponentKind::Source) {
        return Err(Unsayable::NoPrefix);
    }
    line.push_str("match { ");
    for component in rule.components() {
        let name = match component.kind() {
            ComponentKind::Protocol if v6 => "next-header".to_owned(),
            ComponentKind::Dscp if v6 => "traffic-class".to_owned(),
            kind => kind.to_string(),
        };
        push(line, format_args!("{name} "));
        match component {
            Component::Destination(matched) | Component::Source(matched) => {
                push(line, matched.prefix());
            }
            Component::TcpFlags(terms) => {
                list(line, terms, |term| term.and, |term| bits(*term, &TCP_FLAGS));
            }
            Component::Fragment(terms) => {
                list(line, terms, |term| term.and, |term| bits(*term, &FRAGMENT_BITS));
            }
            Component::Protocol(terms)
            | Component::Port(terms)
            | Component::DestinationPort(terms)
            | Component::SourcePort(terms)
            | Component::IcmpType(terms)
            | Component::IcmpCode(terms)
            | Component::PacketLength(terms)
            | Component::Dscp(terms)
            | Component::FlowLabel(terms) => list(line, terms, |term| term.and, number),
        }
        line.push_str("; ");
    }
    line.push_str("} ");
    Ok(())
}

/// Always in brackets: without them all alternatives behind the first are silently dropped.
fn list<T>(line: &mut String, terms: &[T], and: impl Fn(&T) -> bool, text: impl Fn(&T) -> String) {
    line.push('[');
    for term in terms {
        push(line, format_args!("{}{}", if and(term) { '&' } else { ' ' }, text(term)));
    }
    line.push_str(" ]");
}

fn number(term: &NumericTerm) -> String {
    let sign = match term.op {
        NumericOp::Equal => "=",
        NumericOp::Greater => ">",
        NumericOp::AtLeast => ">=",
        NumericOp::Less => "<",
        NumericOp::AtMost => "<=",
        NumericOp::NotEqual => "!=",
        // Refused by `check_announceable`.
        NumericOp::Never => "false",
        NumericOp::Always => "true",
    };
    format!("{sign}{}", term.value)
}

const TCP_FLAGS: [(u16, &str); 8] = [
    (0x01, "fin"),
    (0x02, "syn"),
    (0x04, "rst"),
    (0x08, "push"),
    (0x10, "ack"),
    (0x20, "urg"),
    (0x40, "ece"),
    (0x80, "cwr"),
];
/// Without ExaBGP's `not-a-fragment`, an empty mask that matches nothing: `!is-fragment` does.
const FRAGMENT_BITS: [(u16, &str); 4] = [
    (fragment::DONT_FRAGMENT, "dont-fragment"),
    (fragment::IS_FRAGMENT, "is-fragment"),
    (fragment::FIRST, "first-fragment"),
    (fragment::LAST, "last-fragment"),
];

fn bits(term: BitmaskTerm, names: &[(u16, &str)]) -> String {
    let set = names.iter().filter(|(bit, _)| term.mask & bit != 0);
    let set: Vec<&str> = set.map(|(_, name)| *name).collect();
    let (not, all) = (if term.not { "!" } else { "" }, if term.all { "=" } else { "" });
    format!("{not}{all}{}", set.join("+"))
}

#[cfg(test)]
mod tests;
