//! FlowSpec rules (RFC 8955, RFC 8956): which packets an action applies to.
//!
//! A [`FlowSpecRule`] always has at least one component, ascending and each at most once, so it
//! can be encoded as it is. Whether it is wise to announce it says
//! [`FlowSpecRule::check_announceable`].

mod announceable;
mod codec;
mod error;
mod order;
mod split;
mod text;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use tidewall_model::{Family, Prefix};

pub use announceable::{MAX_ANNOUNCED_OCTETS, NotAnnounceable};
pub use error::FlowSpecError;

/// Longest rule that the length field can hold, in octets.
pub const MAX_RULE_OCTETS: usize = 4_095;

/// Bits of the fragment component.
pub mod fragment {
    /// The don't-fragment bit is set; IPv4 only.
    pub const DONT_FRAGMENT: u16 = 0x01;
    /// A fragment other than the first.
    pub const IS_FRAGMENT: u16 = 0x02;
    /// The first of several.
    pub const FIRST: u16 = 0x04;
    /// The last of several.
    pub const LAST: u16 = 0x08;
}

/// Component types, in the order in which they stand in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentKind {
    /// Destination prefix.
    Destination = 1,
    /// Source prefix.
    Source = 2,
    /// IP protocol; in IPv6 the last next header.
    Protocol = 3,
    /// Source or destination port.
    Port = 4,
    /// Destination port.
    DestinationPort = 5,
    /// Source port.
    SourcePort = 6,
    /// ICMP type.
    IcmpType = 7,
    /// ICMP code.
    IcmpCode = 8,
    /// TCP flags.
    TcpFlags = 9,
    /// Length of the IP packet in octets.
    PacketLength = 10,
    /// DSCP; in IPv6 the upper six bits of the traffic class.
    Dscp = 11,
    /// Fragment bits.
    Fragment = 12,
    /// Flow label; IPv6 only.
    FlowLabel = 13,
}

impl ComponentKind {
    /// All of them, ascending.
    pub const ALL: [Self; 13] = [
        Self::Destination,
        Self::Source,
        Self::Protocol,
        Self::Port,
        Self::DestinationPort,
        Self::SourcePort,
        Self::IcmpType,
        Self::IcmpCode,
        Self::TcpFlags,
        Self::PacketLength,
        Self::Dscp,
        Self::Fragment,
        Self::FlowLabel,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A comparison with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NumericOp {
    /// Never true.
    Never = 0,
    /// `=`
    Equal = 1,
    /// `>`
    Greater = 2,
    /// `>=`
    AtLeast = 3,
    /// `<`
    Less = 4,
    /// `<=`
    AtMost = 5,
    /// `!=`
    NotEqual = 6,
    /// Always true.
    Always = 7,
}

/// One comparison of a list. AND binds more tightly than OR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumericTerm {
    /// Joined by AND to the term before it; otherwise by OR.
    pub and: bool,
    /// How it compares.
    pub op: NumericOp,
    /// With what.
    pub value: u64,
}

impl NumericTerm {
    /// A term joined by OR.
    pub const fn new(op: NumericOp, value: u64) -> Self {
        Self { and: false, op, value }
    }

    /// `=value`
    pub const fn equal(value: u64) -> Self {
        Self::new(NumericOp::Equal, value)
    }

    /// `>=low&<=high`
    pub const fn between(low: u64, high: u64) -> [Self; 2] {
        [Self::new(NumericOp::AtLeast, low), Self::new(NumericOp::AtMost, high).and()]
    }

    /// The same, joined by AND.
    #[must_use]
    pub const fn and(self) -> Self {
        Self { and: true, ..self }
    }
}

/// One test of bits of a list. AND binds more tightly than OR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitmaskTerm {
    /// Joined by AND to the term before it; otherwise by OR.
    pub and: bool,
    /// Inverts the result.
    pub not: bool,
    /// All bits of the mask must be set; otherwise any of them.
    pub all: bool,
    /// Which bits.
    pub mask: u16,
}

impl BitmaskTerm {
    /// Any of these bits is set.
    pub const fn any(mask: u16) -> Self {
        Self { and: false, not: false, all: false, mask }
    }

    /// All of these bits are set.
    pub const fn all(mask: u16) -> Self {
        Self { all: true, ..Self::any(mask) }
    }

    /// None of these bits is set.
    pub const fn none(mask: u16) -> Self {
        Self { not: true, ..Self::any(mask) }
    }

    /// The same, joined by AND.
    #[must_use]
    pub const fn and(self) -> Self {
        Self { and: true, ..self }
    }
}

/// A prefix to match. IPv6 can leave out the first bits (`offset`), which we never announce:
/// implementations disagree about its octets, and some end the session over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixMatch {
    /// The prefix; bits before the offset are zero.
    prefix: Prefix,
    offset: u8,
}

impl PrefixMatch {
    /// Matches addresses in `prefix`.
    pub const fn new(prefix: Prefix) -> Self {
        Self { prefix, offset: 0 }
    }

    /// Matches the bits from `offset` to the length of the prefix only. IPv6, offset below length.
    pub fn with_offset(prefix: Prefix, offset: u8) -> Option<Self> {
        if offset == 0 {
            return Some(Self::new(prefix));
        }
        if prefix.family() != Family::V6 || offset >= prefix.len() {
            return None;
        }
        let mut address = prefix.first();
        address.bits &= u128::MAX >> offset;
        Some(Self { prefix: Prefix::containing(address, prefix.len()), offset })
    }

    /// The prefix.
    pub const fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// First bit that counts.
    pub const fn offset(&self) -> u8 {
        self.offset
    }
}

impl From<Prefix> for PrefixMatch {
    fn from(prefix: Prefix) -> Self {
        Self::new(prefix)
    }
}

/// One condition of a rule. All of a rule must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// Destination prefix.
    Destination(PrefixMatch),
    /// Source prefix.
    Source(PrefixMatch),
    /// IP protocol.
    Protocol(Vec<NumericTerm>),
    /// Source or destination port.
    Port(Vec<NumericTerm>),
    /// Destination port.
    DestinationPort(Vec<NumericTerm>),
    /// Source port.
    SourcePort(Vec<NumericTerm>),
    /// ICMP type.
    IcmpType(Vec<NumericTerm>),
    /// ICMP code.
    IcmpCode(Vec<NumericTerm>),
    /// TCP flags.
    TcpFlags(Vec<BitmaskTerm>),
    /// Packet length.
    PacketLength(Vec<NumericTerm>),
    /// DSCP.
    Dscp(Vec<NumericTerm>),
    /// Fragment bits.
    Fragment(Vec<BitmaskTerm>),
    /// Flow label.
    FlowLabel(Vec<NumericTerm>),
}

/// The terms of a component, whichever sort it is.
enum Terms<'a> {
    Prefix(&'a PrefixMatch),
    Numeric(&'a [NumericTerm]),
    Bitmask(&'a [BitmaskTerm]),
}

impl Component {
    /// Its type.
    pub const fn kind(&self) -> ComponentKind {
        match self {
            Self::Destination(_) => ComponentKind::Destination,
            Self::Source(_) => ComponentKind::Source,
            Self::Protocol(_) => ComponentKind::Protocol,
            Self::Port(_) => ComponentKind::Port,
            Self::DestinationPort(_) => ComponentKind::DestinationPort,
            Self::SourcePort(_) => ComponentKind::SourcePort,
            Self::IcmpType(_) => ComponentKind::IcmpType,
            Self::IcmpCode(_) => ComponentKind::IcmpCode,
            Self::TcpFlags(_) => ComponentKind::TcpFlags,
            Self::PacketLength(_) => ComponentKind::PacketLength,
            Self::Dscp(_) => ComponentKind::Dscp,
            Self::Fragment(_) => ComponentKind::Fragment,
            Self::FlowLabel(_) => ComponentKind::FlowLabel,
        }
    }

    /// A numeric component; `None` for a type that is none.
    pub fn numeric(kind: ComponentKind, terms: Vec<NumericTerm>) -> Option<Self> {
        Some(match kind {
            ComponentKind::Protocol => Self::Protocol(terms),
            ComponentKind::Port => Self::Port(terms),
            ComponentKind::DestinationPort => Self::DestinationPort(terms),
            ComponentKind::SourcePort => Self::SourcePort(terms),
            ComponentKind::IcmpType => Self::IcmpType(terms),
            ComponentKind::IcmpCode => Self::IcmpCode(terms),
            ComponentKind::PacketLength => Self::PacketLength(terms),
            ComponentKind::Dscp => Self::Dscp(terms),
            ComponentKind::FlowLabel => Self::FlowLabel(terms),
            ComponentKind::Destination
            | ComponentKind::Source
            | ComponentKind::TcpFlags
            | ComponentKind::Fragment => return None,
        })
    }

    /// Number of terms; a prefix counts as one.
    pub fn terms(&self) -> usize {
        match self.list() {
            Terms::Prefix(_) => 1,
            Terms::Numeric(terms) => terms.len(),
            Terms::Bitmask(terms) => terms.len(),
        }
    }

    fn list(&self) -> Terms<'_> {
        match self {
            Self::Destination(prefix) | Self::Source(prefix) => Terms::Prefix(prefix),
            Self::TcpFlags(terms) | Self::Fragment(terms) => Terms::Bitmask(terms),
            Self::Protocol(terms)
            | Self::Port(terms)
            | Self::DestinationPort(terms)
            | Self::SourcePort(terms)
            | Self::IcmpType(terms)
            | Self::IcmpCode(terms)
            | Self::PacketLength(terms)
            | Self::Dscp(terms)
            | Self::FlowLabel(terms) => Terms::Numeric(terms),
        }
    }

    /// The first term has nothing before it to be joined to (RFC 8955 §4.2.1.1).
    fn clear_first_and(&mut self) {
        match self {
            Self::Destination(_) | Self::Source(_) => {}
            Self::TcpFlags(terms) | Self::Fragment(terms) => {
                if let Some(first) = terms.first_mut() {
                    first.and = false;
                }
            }
            Self::Protocol(terms)
            | Self::Port(terms)
            | Self::DestinationPort(terms)
            | Self::SourcePort(terms)
            | Self::IcmpType(terms)
            | Self::IcmpCode(terms)
            | Self::PacketLength(terms)
            | Self::Dscp(terms)
            | Self::FlowLabel(terms) => {
                if let Some(first) = terms.first_mut() {
                    first.and = false;
                }
            }
        }
    }
}

/// A rule: components ascending, each at most once, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlowSpecRule {
    family: Family,
    components: Vec<Component>,
}

impl FlowSpecRule {
    /// A rule of these components, in any order.
    pub fn new(
        family: Family,
        components: impl IntoIterator<Item = Component>,
    ) -> Result<Self, FlowSpecError> {
        let mut components: Vec<Component> = components.into_iter().collect();
        components.sort_by_key(Component::kind);
        if components.is_empty() {
            return Err(FlowSpecError::Empty);
        }
        let mut last = None;
        for (offset, component) in components.iter_mut().enumerate() {
            let kind = component.kind();
            if last.replace(kind) == Some(kind) {
                return Err(FlowSpecError::Order { kind: kind as u8, offset });
            }
            if kind == ComponentKind::FlowLabel && family == Family::V4 {
                return Err(FlowSpecError::Kind { kind: kind as u8, offset, family });
            }
            if component.terms() == 0 {
                return Err(FlowSpecError::NoTerms(kind));
            }
            if let Terms::Prefix(matched) = component.list()
                && matched.prefix.family() != family
            {
                return Err(FlowSpecError::PrefixFamily { prefix: matched.prefix, family });
            }
            component.clear_first_and();
        }
        let rule = Self { family, components };
        let octets = rule.octets();
        if octets > MAX_RULE_OCTETS {
            return Err(FlowSpecError::TooLong(octets));
        }
        Ok(rule)
    }

    /// IP version.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Its components, ascending.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The component of a type.
    pub fn component(&self, kind: ComponentKind) -> Option<&Component> {
        self.components.iter().find(|component| component.kind() == kind)
    }

    /// The destination prefix: what our rails look at.
    pub fn destination(&self) -> Option<Prefix> {
        self.components.iter().find_map(|component| match component {
            Component::Destination(matched) => Some(matched.prefix),
            _ => None,
        })
    }

    /// The rule without the components for which `unwanted` holds; `None` when none is left.
    #[must_use]
    pub fn without(&self, mut unwanted: impl FnMut(ComponentKind) -> bool) -> Option<Self> {
        let components: Vec<_> =
            self.components.iter().filter(|c| !unwanted(c.kind())).cloned().collect();
        (!components.is_empty()).then_some(Self { family: self.family, components })
    }
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Destination => "destination",
            Self::Source => "source",
            Self::Protocol => "protocol",
            Self::Port => "port",
            Self::DestinationPort => "destination-port",
            Self::SourcePort => "source-port",
            Self::IcmpType => "icmp-type",
            Self::IcmpCode => "icmp-code",
            Self::TcpFlags => "tcp-flags",
            Self::PacketLength => "packet-length",
            Self::Dscp => "dscp",
            Self::Fragment => "fragment",
            Self::FlowLabel => "flow-label",
        })
    }
}
