//! What a frame carries when it does not carry IP, in the numbers of the layer that said so.

use std::fmt;

/// The protocol that was found in the place of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkProtocol {
    /// An EtherType.
    EtherType(u16),
    /// An 802.2 destination service access point.
    Llc(u8),
    /// An organisation's own protocol behind SNAP: OUI, then protocol.
    Snap(u32, u16),
    /// A PPP protocol number.
    Ppp(u16),
    /// An address family of a loopback or packet-filter capture.
    Family(u32),
    /// A network layer protocol identifier (ISO/IEC TR 9577), as frame relay has it.
    Nlpid(u8),
    /// The next protocol of a network service header.
    Nsh(u8),
    /// A pseudowire payload or associated channel that is not recognised.
    Pseudowire,
    /// Encrypted below IP: protected 802.11, confidential MACsec.
    Encrypted,
    /// An 802.11 management or control frame, or data without a body.
    WlanWithoutData,
}

impl fmt::Display for LinkProtocol {
    /// The usual short name, or the layer and the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.name() {
            return f.write_str(name);
        }
        match *self {
            Self::EtherType(number) => write!(f, "ethertype {number:#06x}"),
            Self::Llc(sap) => write!(f, "llc {sap:#04x}"),
            Self::Snap(oui, number) => write!(f, "snap {oui:#08x} {number:#06x}"),
            Self::Ppp(number) => write!(f, "ppp {number:#06x}"),
            Self::Family(number) => write!(f, "family {number}"),
            Self::Nlpid(number) => write!(f, "nlpid {number:#04x}"),
            Self::Nsh(number) => write!(f, "nsh {number}"),
            Self::Pseudowire | Self::Encrypted | Self::WlanWithoutData => Ok(()),
        }
    }
}

impl LinkProtocol {
    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::EtherType(0x0806) => "arp",
            Self::EtherType(0x8035) => "rarp",
            Self::EtherType(0x8809) => "slow protocols",
            Self::EtherType(0x8863) => "pppoe discovery",
            Self::EtherType(0x888e) => "eapol",
            Self::EtherType(0x88cc) => "lldp",
            Self::EtherType(0x88f7) => "ptp",
            Self::EtherType(0x8902) => "cfm",
            Self::EtherType(0x9000) => "loop",
            Self::Llc(0x42) | Self::Snap(0x00_000c, 0x010b) => "stp",
            Self::Llc(0xf0) => "netbios",
            Self::Llc(0xfe) => "iso",
            Self::EtherType(0x8137) | Self::Llc(0xff) => "ipx",
            Self::Snap(0x00_000c, 0x2000) => "cdp",
            Self::Snap(0x00_000c, 0x2003) => "vtp",
            Self::Snap(0x00_000c, 0x2004) => "dtp",
            Self::Ppp(0x8021) => "ipcp",
            Self::Ppp(0x8057) => "ipv6cp",
            Self::Ppp(0x80fd) => "ccp",
            Self::Ppp(0xc021) => "lcp",
            Self::Ppp(0xc023) => "pap",
            Self::Ppp(0xc223) => "chap",
            Self::Pseudowire => "pseudowire",
            Self::Encrypted => "encrypted",
            Self::WlanWithoutData => "802.11 without data",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_names_and_others_their_number() {
        assert_eq!(LinkProtocol::EtherType(0x0806).to_string(), "arp");
        assert_eq!(LinkProtocol::EtherType(0x1234).to_string(), "ethertype 0x1234");
        assert_eq!(LinkProtocol::Snap(0x08_0007, 0x809b).to_string(), "snap 0x080007 0x809b");
        assert_eq!(LinkProtocol::Ppp(0xc021).to_string(), "lcp");
        assert_eq!(LinkProtocol::Encrypted.to_string(), "encrypted");
    }
}
