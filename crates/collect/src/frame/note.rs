//! The words of a frame for a reader: `tcp header cut; gre inner 10.0.0.1 > 10.0.0.2`.

use std::fmt;

use tidewall_model::{Address, protocol};
use tidewall_wire::frame::{
    self, Anomalies, Frame, FrameError, IpVersion, LinkType, TunnelKind, TunnelPolicy,
};

/// Written with `Display`; empty when there is nothing to tell.
#[derive(Clone, Copy, Debug)]
pub struct FrameNote<'a> {
    result: &'a Result<Frame, FrameError>,
    /// The innermost packet that can be reached, when it is not the counted one.
    innermost: Option<Frame>,
}

impl<'a> FrameNote<'a> {
    /// What to tell of a frame and of what the collector made of it. Looks into every tunnel once
    /// more, which costs as much as dissecting the frame.
    pub fn new(link: LinkType, data: &[u8], result: &'a Result<Frame, FrameError>) -> Self {
        let innermost = result.as_ref().ok().and_then(|counted| {
            frame::dissect(link, data, &TunnelPolicy::INNER)
                .ok()
                .filter(|inner| inner.tunnels.depth() > counted.tunnels.depth())
        });
        Self { result, innermost }
    }

    /// Nothing to tell?
    pub fn is_empty(&self) -> bool {
        match self.result {
            Ok(frame) => {
                frame.anomalies.is_empty() && frame.tunnels.is_empty() && self.innermost.is_none()
            }
            Err(_) => false,
        }
    }
}

impl fmt::Display for FrameNote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = match self.result {
            Ok(frame) => frame,
            Err(error) => return error.fmt(f),
        };
        let mut separator = "";
        for word in counted.anomalies.words() {
            f.write_str(separator)?;
            separator = "; ";
            if word == transport_cut() {
                write_protocol(f, counted.protocol)?;
                f.write_str(" header cut")?;
            } else {
                f.write_str(word)?;
            }
        }
        if !counted.tunnels.is_empty() {
            write!(f, "{separator}inside {}", counted.tunnels)?;
            separator = "; ";
        }
        if let Some(inner) = &self.innermost {
            f.write_str(separator)?;
            let further = inner.tunnels.kinds().skip(usize::from(counted.tunnels.depth()));
            write_inner(f, further, inner)?;
        }
        Ok(())
    }
}

fn transport_cut() -> &'static str {
    Anomalies::TRANSPORT_CUT.words().next().unwrap_or_default()
}

fn write_protocol(f: &mut fmt::Formatter<'_>, number: u8) -> fmt::Result {
    match protocol::name(number) {
        Some(name) => f.write_str(name),
        None => write!(f, "protocol {number}"),
    }
}

fn write_inner(
    f: &mut fmt::Formatter<'_>,
    kinds: impl Iterator<Item = TunnelKind>,
    inner: &Frame,
) -> fmt::Result {
    for (level, kind) in kinds.enumerate() {
        f.write_str(if level == 0 { "" } else { "/" })?;
        f.write_str(kind.name())?;
    }
    let address = |bits: u128| match inner.version {
        IpVersion::V4 => Address::v4(bits as u32),
        IpVersion::V6 => Address::v6(bits),
    };
    write!(f, " inner {} > {}", address(inner.src), address(inner.dst))
}
