//! What frames the kernel hands over at all: a filter, a sampling rate and a snap length, compiled
//! to one classic BPF program.
//!
//! The filter is a small part of tcpdump's language, for machines without libpcap: the words
//! below, all of which must hold. See [`PacketFilter`].

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;

use tidewall_model::Prefix;

mod compile;
#[cfg(test)]
mod tests;

pub use crate::classic_bpf::ProgramTooLong;
pub(crate) use compile::{compile, sampled};

/// Most terms of a filter: far more than make sense, and their program always fits.
const MAX_TERMS: usize = 32;

/// Conditions that a frame must meet, all of them.
///
/// Written as `TERM and TERM and ...`, where a term is one of `ip`, `ip6`, `tcp`, `udp`, `icmp`
/// (ICMPv6 too), `vlan`, `vlan ID`, `[src|dst] host ADDRESS`, `[src|dst] net PREFIX` and
/// `[src|dst] port PORT`. Up to two VLAN tags are looked at, and behind (`vlan ID` may be either);
/// IPv6 extension headers are not looked behind, and a later fragment has no port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketFilter {
    terms: Vec<Term>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    Ip,
    Ip6,
    Tcp,
    Udp,
    Icmp,
    Vlan(Option<u16>),
    Network(Side, Prefix),
    Port(Side, u16),
}

/// Which end of the packet is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

/// Why a text is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A word that no term begins with.
    #[error(
        "filter: `{word}` is not known here; use ip, ip6, tcp, udp, icmp, vlan [ID], \
         [src|dst] host, net or port, joined with `and`; the rest of tcpdump's language needs \
         libpcap"
    )]
    Word {
        /// The word.
        word: String,
    },
    /// A term that is not followed by what it needs.
    #[error("filter: `{term}` needs {needs}, not `{found}`")]
    Operand {
        /// The term.
        term: String,
        /// What it needs.
        needs: &'static str,
        /// What is there; empty at the end.
        found: String,
    },
    /// Two terms without `and` between them.
    #[error("filter: `and` is missing before `{word}`")]
    And {
        /// The word.
        word: String,
    },
    /// More terms than are looked at.
    #[error("filter: {terms} terms, at most {limit} are possible")]
    TooManyTerms {
        /// Terms written.
        terms: usize,
        /// Terms possible.
        limit: usize,
    },
}

impl FromStr for PacketFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut words = text.split_whitespace().peekable();
        let mut terms = Vec::new();
        loop {
            terms.push(term(&mut words)?);
            match words.next() {
                None => break,
                Some("and" | "&&") => {}
                Some(word) => return Err(FilterError::And { word: word.to_owned() }),
            }
        }
        if terms.len() > MAX_TERMS {
            return Err(FilterError::TooManyTerms { terms: terms.len(), limit: MAX_TERMS });
        }
        Ok(Self { terms })
    }
}

/// Parses one term.
fn term<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> Result<Term, FilterError> {
    let mut word = words.next().unwrap_or_default();
    let side = match word {
        "src" => Side::Source,
        "dst" => Side::Destination,
        _ => Side::Either,
    };
    if side != Side::Either {
        word = words.next().unwrap_or_default();
    }
    let bad = |needs, found: &str| FilterError::Operand {
        term: word.to_owned(),
        needs,
        found: found.to_owned(),
    };
    Ok(match (word, side) {
        ("ip", Side::Either) => Term::Ip,
        ("ip6", Side::Either) => Term::Ip6,
        ("tcp", Side::Either) => Term::Tcp,
        ("udp", Side::Either) => Term::Udp,
        ("icmp", Side::Either) => Term::Icmp,
        ("vlan", Side::Either) => match words.peek() {
            None | Some(&("and" | "&&")) => Term::Vlan(None),
            Some(_) => {
                let id = words.next().unwrap_or_default();
                let number = id.parse().ok().filter(|id| *id < 4096);
                Term::Vlan(Some(number.ok_or_else(|| bad("a number from 0 to 4095", id))?))
            }
        },
        ("host", _) => {
            let text = words.next().unwrap_or_default();
            let address: IpAddr = text.parse().map_err(|_| bad("an address", text))?;
            Term::Network(side, Prefix::host(address.into()))
        }
        ("net", _) => {
            let text = words.next().unwrap_or_default();
            Term::Network(side, text.parse().map_err(|_| bad("a prefix", text))?)
        }
        ("port", _) => {
            let text = words.next().unwrap_or_default();
            Term::Port(side, text.parse().map_err(|_| bad("a number from 0 to 65535", text))?)
        }
        _ => return Err(FilterError::Word { word: word.to_owned() }),
    })
}

impl fmt::Display for PacketFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, term) in self.terms.iter().enumerate() {
            if n > 0 {
                f.write_str(" and ")?;
            }
            term.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => f.write_str("ip"),
            Self::Ip6 => f.write_str("ip6"),
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Vlan(None) => f.write_str("vlan"),
            Self::Vlan(Some(id)) => write!(f, "vlan {id}"),
            Self::Network(side, prefix) => write!(f, "{}net {prefix}", side.word()),
            Self::Port(side, port) => write!(f, "{}port {port}", side.word()),
        }
    }
}

impl Side {
    const fn word(self) -> &'static str {
        match self {
            Self::Source => "src ",
            Self::Destination => "dst ",
            Self::Either => "",
        }
    }
}

/// What the kernel applies before a frame costs this process anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) filter: Option<&'a PacketFilter>,
    /// One frame in so many, by chance.
    pub(crate) sampling: Option<NonZeroU32>,
    /// Bytes handed over of each frame.
    pub(crate) snap_length: u32,
    /// Do frames begin with an Ethernet header, or with that of IP?
    pub(crate) ethernet: bool,
}
