//! OPEN (RFC 4271 §4.2) with its capabilities (RFC 5492): who a speaker is and what it can do.
//!
//! ADD-PATH is neither offered nor understood: on a session that carries FlowSpec it makes some
//! daemons announce garbage.

use std::net::Ipv4Addr;

use thiserror::Error;

use crate::family::AfiSafi;
use crate::message::{MAX_MESSAGE, MessageType, begin, finish};
use crate::notification::{Notification, code, open_error};
use crate::reader::{Cut, Reader};

/// What a speaker with an AS number above 65,535 writes into two octets (RFC 6793).
pub const AS_TRANS: u16 = 23_456;
/// Largest restart time in seconds: twelve bits (RFC 4724).
pub const MAX_RESTART_TIME: u16 = 4_095;
const VERSION: u8 = 4;
const PARAMETER_CAPABILITIES: u8 = 2;
/// Marks the longer form of the optional parameters (RFC 9072).
const EXTENDED_PARAMETERS: u8 = 255;

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_MESSAGE: u8 = 6;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ENHANCED_REFRESH: u8 = 70;

/// The graceful restart capability (RFC 4724, 8538).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// The speaker has restarted: it must not be waited for.
    pub restarting: bool,
    /// Routes are also kept after a NOTIFICATION, unless it is a hard reset (RFC 8538).
    pub notification: bool,
    /// How long the session may take to come back, in seconds; at most [`MAX_RESTART_TIME`].
    pub time: u16,
    /// Families for which it works, and whether their forwarding state was preserved.
    pub families: Vec<(AfiSafi, bool)>,
}

/// What a speaker can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Families of routes; none at all means IPv4 unicast (RFC 4760 §8).
    pub families: Vec<AfiSafi>,
    /// It answers ROUTE-REFRESH.
    pub route_refresh: bool,
    /// It marks beginning and end of the answer.
    pub enhanced_refresh: bool,
    /// It takes messages of up to 65,535 octets.
    pub extended_message: bool,
    /// Its AS number in four octets.
    pub four_octet_as: Option<u32>,
    /// Graceful restart.
    pub graceful_restart: Option<GracefulRestart>,
    /// Others: number and value.
    pub others: Vec<(u8, Vec<u8>)>,
}

/// An OPEN message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The AS number in two octets: the real one, or [`AS_TRANS`].
    pub two_octet_as: u16,
    /// Proposed hold time in seconds: 0, or at least 3.
    pub hold_time: u16,
    /// Router id.
    pub router_id: Ipv4Addr,
    /// Capabilities.
    pub capabilities: Capabilities,
}

/// Why an OPEN is refused (RFC 4271 §6.2).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// A version that we do not speak.
    #[error("version {0}, where we speak 4")]
    Version(u8),
    /// A hold time of one or two seconds.
    #[error("hold time of {0} s, where 0 or at least 3 is possible")]
    HoldTime(u16),
    /// A router id of zero.
    #[error("router id 0.0.0.0")]
    RouterId,
    /// An optional parameter other than capabilities.
    #[error("optional parameter {0} is not known")]
    Parameter(u8),
    /// A parameter or capability is longer than what is left.
    #[error("cut: {0}")]
    Cut(Cut),
    /// A capability of a length that it cannot have.
    #[error("capability {capability} of {length} octets")]
    CapabilityLength {
        /// Its number.
        capability: u8,
        /// Its length.
        length: usize,
    },
}

impl From<Cut> for OpenError {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

impl OpenError {
    /// What the peer is told.
    pub fn notification(&self) -> Notification {
        match self {
            Self::Version(_) => {
                Notification::with_data(code::OPEN, open_error::VERSION, &[0, VERSION])
            }
            Self::HoldTime(_) => Notification::new(code::OPEN, open_error::HOLD_TIME),
            Self::RouterId => Notification::new(code::OPEN, open_error::ROUTER_ID),
            Self::Parameter(_) => Notification::new(code::OPEN, open_error::PARAMETER),
            Self::Cut(_) | Self::CapabilityLength { .. } => Notification::new(code::OPEN, 0),
        }
    }
}

impl Open {
    /// The AS number that counts: the one in four octets when it is there.
    pub fn as_number(&self) -> u32 {
        self.capabilities.four_octet_as.unwrap_or(self.two_octet_as.into())
    }

    /// Reads the body of a message.
    pub fn parse(body: &[u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(body);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let (two_octet_as, hold_time) = (reader.u16()?, reader.u16()?);
        if matches!(hold_time, 1 | 2) {
            return Err(OpenError::HoldTime(hold_time));
        }
        let router_id = Ipv4Addr::from(reader.take::<4>()?);
        if router_id.is_unspecified() {
            return Err(OpenError::RouterId);
        }
        let mut capabilities = Capabilities::default();
        let short = usize::from(reader.u8()?);
        let mut peek = reader;
        // RFC 9072 §2: the type, not the length, tells the longer form.
        let extended = short != 0 && peek.u8() == Ok(EXTENDED_PARAMETERS);
        let length = if extended { usize::from(peek.u16()?) } else { short };
        let mut parameters = Reader::new(if extended { peek } else { reader }.bytes(length)?);
        while !parameters.is_empty() {
            let kind = parameters.u8()?;
            let length = if extended { parameters.u16()?.into() } else { parameters.u8()?.into() };
            let value = parameters.bytes(length)?;
            if kind != PARAMETER_CAPABILITIES {
                return Err(OpenError::Parameter(kind));
            }
            capabilities.parse(value)?;
        }
        Ok(Self { two_octet_as, hold_time, router_id, capabilities })
    }

    /// Appends the whole message. Capabilities that do not fit into 4,096 octets are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(MessageType::Open, out);
        out.push(VERSION);
        out.extend(self.two_octet_as.to_be_bytes());
        out.extend(self.hold_time.to_be_bytes());
        out.extend(self.router_id.octets());
        // Fixed part, and what the longer form needs around the capabilities.
        let capabilities = self.capabilities.encode(MAX_MESSAGE - 29 - 6);
        let length = capabilities.len() as u16;
        match u8::try_from(capabilities.len() + 2) {
            Ok(2) => out.push(0),
            Ok(short) if short < EXTENDED_PARAMETERS => {
                out.extend([short, PARAMETER_CAPABILITIES, short - 2]);
            }
            _ => {
                out.extend([EXTENDED_PARAMETERS, EXTENDED_PARAMETERS]);
                out.extend((length + 3).to_be_bytes());
                out.push(PARAMETER_CAPABILITIES);
                out.extend(length.to_be_bytes());
            }
        }
        out.extend(capabilities);
        finish(start, out);
    }
}

impl Capabilities {
    fn parse(&mut self, parameter: &[u8]) -> Result<(), OpenError> {
        let mut reader = Reader::new(parameter);
        while !reader.is_empty() {
            let capability = reader.u8()?;
            let length = reader.u8()?;
            let value = reader.bytes(length.into())?;
            let wrong = OpenError::CapabilityLength { capability, length: value.len() };
            match (capability, value) {
                (MULTIPROTOCOL, [high, low, _, safi]) => {
                    let afi = u16::from_be_bytes([*high, *low]);
                    let family = AfiSafi { afi, safi: *safi };
                    if !self.families.contains(&family) {
                        self.families.push(family);
                    }
                }
                (ROUTE_REFRESH, []) => self.route_refresh = true,
                (ENHANCED_REFRESH, []) => self.enhanced_refresh = true,
                (EXTENDED_MESSAGE, []) => self.extended_message = true,
                (FOUR_OCTET_AS, value) => {
                    let octets = <[u8; 4]>::try_from(value).map_err(|_| wrong)?;
                    self.four_octet_as = Some(u32::from_be_bytes(octets));
                }
                (GRACEFUL_RESTART, value) => {
                    self.graceful_restart = Some(graceful_restart(value).ok_or(wrong)?);
                }
                (MULTIPROTOCOL, _) => return Err(wrong),
                _ => self.others.push((capability, value.to_vec())),
            }
        }
        Ok(())
    }

    fn encode(&self, room: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut add = |capability: u8, value: &[u8]| {
            let Ok(length) = u8::try_from(value.len()) else { return };
            if out.len() + 2 + value.len() <= room {
                out.extend([capability, length]);
                out.extend(value);
            }
        };
        for family in &self.families {
            let [high, low] = family.afi.to_be_bytes();
            add(MULTIPROTOCOL, &[high, low, 0, family.safi]);
        }
        if self.route_refresh {
            add(ROUTE_REFRESH, &[]);
        }
        if self.extended_message {
            add(EXTENDED_MESSAGE, &[]);
        }
        if let Some(restart) = &self.graceful_restart {
            let flags = u16::from(restart.restarting) << 15 | u16::from(restart.notification) << 14;
            let mut value = (flags | restart.time.min(MAX_RESTART_TIME)).to_be_bytes().to_vec();
            for (family, preserved) in &restart.families {
                value.extend(family.afi.to_be_bytes());
                value.extend([family.safi, u8::from(*preserved) << 7]);
            }
            add(GRACEFUL_RESTART, &value);
        }
        if let Some(number) = self.four_octet_as {
            add(FOUR_OCTET_AS, &number.to_be_bytes());
        }
        if self.enhanced_refresh {
            add(ENHANCED_REFRESH, &[]);
        }
        for (capability, value) in &self.others {
            add(*capability, value);
        }
        out
    }
}

fn graceful_restart(value: &[u8]) -> Option<GracefulRestart> {
    let ([high, low], families) = value.split_first_chunk()?;
    let word = u16::from_be_bytes([*high, *low]);
    let (families, []) = families.as_chunks::<4>() else { return None };
    let family = |[high, low, safi, flags]: &[u8; 4]| {
        let afi = u16::from_be_bytes([*high, *low]);
        (AfiSafi { afi, safi: *safi }, flags & 0x80 != 0)
    };
    Some(GracefulRestart {
        restarting: word & 0x8000 != 0,
        notification: word & 0x4000 != 0,
        time: word & MAX_RESTART_TIME,
        families: families.iter().map(family).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::RouteFamily;

    fn body(open: &Open) -> Vec<u8> {
        let mut out = Vec::new();
        open.encode(&mut out);
        out.split_off(19)
    }

    fn open() -> Open {
        let families: Vec<AfiSafi> = RouteFamily::ALL.map(AfiSafi::from).to_vec();
        let restart = GracefulRestart {
            restarting: true,
            notification: true,
            time: 120,
            families: families.iter().map(|family| (*family, true)).collect(),
        };
        let capabilities = Capabilities {
            families,
            route_refresh: true,
            enhanced_refresh: true,
            extended_message: true,
            four_octet_as: Some(4_200_000_000),
            graceful_restart: Some(restart),
            others: vec![(73, b"\x02us".to_vec())],
        };
        let router_id = Ipv4Addr::new(10, 99, 0, 10);
        Open { two_octet_as: AS_TRANS, hold_time: 90, router_id, capabilities }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut open = open();
        assert_eq!(Open::parse(&body(&open)), Ok(open.clone()));
        assert_eq!(open.as_number(), 4_200_000_000);
        // So many that only the longer form of RFC 9072 holds them.
        open.capabilities.others.extend((100..140).map(|n| (n, vec![n; 9])));
        let long = body(&open);
        assert_eq!(&long[9..11], &[255, 255]);
        assert_eq!(Open::parse(&long), Ok(open.clone()));
        open.capabilities = Capabilities::default();
        assert_eq!(Open::parse(&body(&open)), Ok(open));
    }

    #[test]
    fn bytes_of_the_restart_capability() {
        let bytes = body(&open());
        let want = [64, 18, 0xc0, 120, 0, 1, 1, 0x80, 0, 2, 1, 0x80];
        assert!(bytes.windows(want.len()).any(|window| window == want), "{bytes:x?}");
    }

    #[test]
    fn refusals_have_the_code_of_the_rfc() {
        let good = body(&open());
        let refused = |offset: usize, byte: &[u8]| {
            let mut bytes = good.clone();
            bytes[offset..offset + byte.len()].copy_from_slice(byte);
            let notification = Open::parse(&bytes).unwrap_err().notification();
            (notification.code, notification.subcode)
        };
        assert_eq!(refused(0, &[5]), (2, 1));
        assert_eq!(refused(3, &[0, 2]), (2, 6));
        assert_eq!(refused(5, &[0, 0, 0, 0]), (2, 3));
        assert_eq!(refused(10, &[1]), (2, 4), "authentication, long gone");
        assert_eq!(refused(13, &[5]), (2, 0), "a family of five octets");
        for cut in 10..good.len() {
            assert!(Open::parse(&good[..cut]).is_err(), "{cut}");
        }
    }
}
