//! What we announce is narrower than what can be encoded: each check here is a rule that ended
//! sessions, was silently ignored or matched nothing at some router.

use thiserror::Error;
use tidewall_model::Family;

use super::{Component, ComponentKind, FlowSpecRule, NumericOp, NumericTerm, Terms, fragment};

/// Longest rule that we announce. A longer one has two octets of length, which one widely used
/// daemon reads wrongly and then ignores all later rules, and over which another ends the session.
pub const MAX_ANNOUNCED_OCTETS: usize = 239;

/// Why a rule that can be encoded is not announced.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotAnnounceable {
    /// Longer than [`MAX_ANNOUNCED_OCTETS`].
    #[error("{0} octets, where at most {MAX_ANNOUNCED_OCTETS} are safe to announce")]
    TooLong(usize),
    /// An IPv6 prefix with an offset: implementations read it differently.
    #[error("the {0} prefix has an offset, which implementations read differently")]
    Offset(ComponentKind),
    /// A term that is never or always true.
    #[error("a term of {0} is always the same, whatever the packet")]
    Constant(ComponentKind),
    /// A value that the field of the packet cannot have.
    #[error("{kind} {value}, where the field has at most {max}")]
    Value {
        /// Which component.
        kind: ComponentKind,
        /// The value.
        value: u64,
        /// What the field can hold.
        max: u64,
    },
    /// Bits that the component does not have.
    #[error("{kind} has no bits 0x{mask:x} in {family}")]
    Bits {
        /// Which component.
        kind: ComponentKind,
        /// The bits.
        mask: u16,
        /// IP version of the rule.
        family: Family,
    },
    /// Port together with source or destination port, which several routers refuse.
    #[error("port together with {0}, which several routers refuse")]
    PortAnd(ComponentKind),
    /// A component that says nothing without the protocol.
    #[error("{kind} without a protocol, which must be {wanted}")]
    Protocol {
        /// Which component.
        kind: ComponentKind,
        /// What the protocol component must say.
        wanted: &'static str,
    },
}

impl FlowSpecRule {
    /// Is it safe to announce?
    pub fn check_announceable(&self) -> Result<(), NotAnnounceable> {
        let octets = self.octets();
        if octets > MAX_ANNOUNCED_OCTETS {
            return Err(NotAnnounceable::TooLong(octets));
        }
        for component in &self.components {
            self.check_terms(component)?;
        }
        self.check_together()
    }

    fn check_terms(&self, component: &Component) -> Result<(), NotAnnounceable> {
        let kind = component.kind();
        match component.list() {
            Terms::Prefix(matched) if matched.offset != 0 => Err(NotAnnounceable::Offset(kind)),
            Terms::Prefix(_) => Ok(()),
            Terms::Numeric(terms) => {
                let max = largest(kind);
                terms.iter().try_for_each(|term| match term {
                    NumericTerm { op: NumericOp::Never | NumericOp::Always, .. } => {
                        Err(NotAnnounceable::Constant(kind))
                    }
                    NumericTerm { value, .. } if *value > max => {
                        Err(NotAnnounceable::Value { kind, value: *value, max })
                    }
                    _ => Ok(()),
                })
            }
            Terms::Bitmask(terms) => {
                let known = match (kind, self.family) {
                    (ComponentKind::Fragment, Family::V4) => 0x0f,
                    (ComponentKind::Fragment, Family::V6) => 0x0f & !fragment::DONT_FRAGMENT,
                    _ => 0xff,
                };
                terms.iter().try_for_each(|term| match term.mask {
                    0 => Err(NotAnnounceable::Constant(kind)),
                    mask if mask & !known != 0 => {
                        let family = self.family;
                        Err(NotAnnounceable::Bits { kind, mask: mask & !known, family })
                    }
                    _ => Ok(()),
                })
            }
        }
    }

    fn check_together(&self) -> Result<(), NotAnnounceable> {
        let has = |kind| self.component(kind).is_some();
        for kind in [ComponentKind::DestinationPort, ComponentKind::SourcePort] {
            if has(ComponentKind::Port) && has(kind) {
                return Err(NotAnnounceable::PortAnd(kind));
            }
        }
        let icmp: (&[u64], _) = match self.family {
            Family::V4 => (&[1], "=1"),
            Family::V6 => (&[58], "=58"),
        };
        let ports: (&[u64], _) = (&[6, 17, 132], "of =6, =17 and =132");
        for (kind, (protocols, wanted)) in [
            (ComponentKind::Port, ports),
            (ComponentKind::DestinationPort, ports),
            (ComponentKind::SourcePort, ports),
            (ComponentKind::IcmpType, icmp),
            (ComponentKind::IcmpCode, icmp),
            (ComponentKind::TcpFlags, (&[6], "=6")),
        ] {
            if has(kind) && !self.protocol_is_among(protocols) {
                return Err(NotAnnounceable::Protocol { kind, wanted });
            }
        }
        Ok(())
    }

    fn protocol_is_among(&self, protocols: &[u64]) -> bool {
        match self.component(ComponentKind::Protocol) {
            Some(Component::Protocol(terms)) => terms.iter().all(|term| {
                !term.and && term.op == NumericOp::Equal && protocols.contains(&term.value)
            }),
            _ => false,
        }
    }
}

/// Largest value of the packet's field.
const fn largest(kind: ComponentKind) -> u64 {
    match kind {
        ComponentKind::Dscp => 63,
        ComponentKind::FlowLabel => 0xf_ffff,
        ComponentKind::Port
        | ComponentKind::DestinationPort
        | ComponentKind::SourcePort
        | ComponentKind::PacketLength => 0xffff,
        _ => 0xff,
    }
}
