//! Options on how frames are counted, shared by the commands that read captures.

use clap::ValueEnum;
use tidewall_wire::frame::{LengthMode, TunnelKind, TunnelPolicy};

use crate::config::Frames;

/// Which header and which length of a frame counts.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FrameArgs {
    /// Bytes of a packet: its frame's length on the wire, or what its IP header says.
    #[arg(long, value_name = "LENGTH", value_enum)]
    pub length: Option<Length>,
    /// Tunnels whose inner packet is counted: a list such as gre,vxlan, or all.
    #[arg(long, value_name = "TUNNELS", value_parser = parse_tunnels)]
    pub inner: Option<TunnelPolicy>,
}

/// Which length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Length {
    /// The frame's length on the wire.
    Wire,
    /// The length in the IP header.
    #[value(name = "ip_header")]
    IpHeader,
}

impl FrameArgs {
    /// `frames`, with what was given on the command line instead.
    pub fn over(&self, frames: Frames) -> Frames {
        let length = self.length.map(|length| match length {
            Length::Wire => LengthMode::Wire,
            Length::IpHeader => LengthMode::IpHeader,
        });
        Frames {
            length: length.unwrap_or(frames.length),
            tunnels: self.inner.unwrap_or(frames.tunnels),
        }
    }
}

fn parse_tunnels(text: &str) -> Result<TunnelPolicy, String> {
    let mut policy = TunnelPolicy::OUTER;
    for name in text.split(',').map(str::trim) {
        if name == "all" {
            return Ok(TunnelPolicy::INNER);
        }
        let kind = TunnelKind::ALL.iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<_> = TunnelKind::ALL.iter().map(|kind| kind.name()).collect();
            format!("`{name}` is not a tunnel; there are {}, and all", names.join(", "))
        })?;
        policy = policy.entering(*kind);
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_named() {
        let policy = parse_tunnels("gre, vxlan").unwrap();
        assert!(policy.enters(TunnelKind::Gre) && policy.enters(TunnelKind::Vxlan));
        assert!(!policy.enters(TunnelKind::GtpU));
        assert_eq!(parse_tunnels("all"), Ok(TunnelPolicy::INNER));
        assert!(parse_tunnels("gre,foo").unwrap_err().contains("`foo` is not a tunnel"));
    }
}
