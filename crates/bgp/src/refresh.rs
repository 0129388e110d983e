//! ROUTE-REFRESH (RFC 2918), with the demarcation of RFC 7313: where the answer begins and ends.

use thiserror::Error;

use crate::family::AfiSafi;
use crate::message::{MessageType, begin, finish};
use crate::notification::{Notification, code};

/// What a ROUTE-REFRESH says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// Send your routes of this family again; also with outbound filters, which we do not read.
    Request,
    /// Beginning of the answer (`BoRR`).
    Begin,
    /// End of the answer (`EoRR`).
    End,
    /// A subtype that we do not know and ignore.
    Other(u8),
}

/// A ROUTE-REFRESH message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// Which routes.
    pub family: AfiSafi,
    /// What about them.
    pub kind: RefreshKind,
}

/// Why a ROUTE-REFRESH is refused: its body is not four octets long (RFC 7313 §5).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a body of {} octets, where a beginning or end has 4", body.len())]
pub struct RefreshError {
    /// Its body.
    pub body: Vec<u8>,
}

impl RefreshError {
    /// What the peer is told, with the whole message.
    pub fn notification(&self) -> Notification {
        let mut message = Vec::new();
        let start = begin(MessageType::RouteRefresh, &mut message);
        message.extend(&self.body);
        finish(start, &mut message);
        Notification::with_data(code::ROUTE_REFRESH, 1, &message)
    }
}

impl RouteRefresh {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, RefreshError> {
        let [afi_high, afi_low, subtype, safi, rest @ ..] = body else {
            return Err(RefreshError { body: body.to_vec() });
        };
        let kind = match subtype {
            0 => RefreshKind::Request,
            1 | 2 if !rest.is_empty() => return Err(RefreshError { body: body.to_vec() }),
            1 => RefreshKind::Begin,
            2 => RefreshKind::End,
            other => RefreshKind::Other(*other),
        };
        let afi = u16::from_be_bytes([*afi_high, *afi_low]);
        Ok(Self { family: AfiSafi { afi, safi: *safi }, kind })
    }

    /// Appends the whole message.
    pub fn encode(self, out: &mut Vec<u8>) {
        let start = begin(MessageType::RouteRefresh, out);
        let subtype = match self.kind {
            RefreshKind::Request => 0,
            RefreshKind::Begin => 1,
            RefreshKind::End => 2,
            RefreshKind::Other(other) => other,
        };
        let [high, low] = self.family.afi.to_be_bytes();
        out.extend([high, low, subtype, self.family.safi]);
        finish(start, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::RouteFamily;
    use crate::message::{MAX_MESSAGE, Message, RawMessage};

    #[test]
    fn what_is_written_is_read() {
        for kind in
            [RefreshKind::Request, RefreshKind::Begin, RefreshKind::End, RefreshKind::Other(7)]
        {
            let refresh = RouteRefresh { family: RouteFamily::Ipv6FlowSpec.into(), kind };
            let mut out = Vec::new();
            refresh.encode(&mut out);
            assert_eq!(out.len(), 23);
            let raw = RawMessage::parse(&out, MAX_MESSAGE).unwrap().unwrap();
            assert_eq!(raw.message(), Ok(Message::RouteRefresh(refresh)));
        }
    }

    #[test]
    fn filters_behind_a_request_are_passed_over_and_a_long_beginning_is_refused() {
        let request = RouteRefresh::parse(&[0, 1, 0, 1, 1, 128, 0, 0]).unwrap();
        assert_eq!(request.kind, RefreshKind::Request);
        let error = RouteRefresh::parse(&[0, 1, 1, 1, 0]).unwrap_err();
        let told = error.notification();
        assert_eq!((told.code, told.subcode), (7, 1));
        assert_eq!(told.data[16..], [0, 24, 5, 0, 1, 1, 1, 0]);
    }
}
