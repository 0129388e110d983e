//! UPDATE (RFC 4271 §4.3, RFC 4760): routes announced and withdrawn.
//!
//! We hold no routes of others. What is received is read to the end, so that the session is not
//! ended over what RFC 7606 forgives, and counted; what is sent is packed by
//! [`write_announcements`].

mod write;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use thiserror::Error;

use crate::attribute::{AttributeError, PathAttributes, RawAttribute, kind, raw_attributes};
use crate::family::{AfiSafi, RouteFamily};
use crate::nlri::{Nlri, NlriError};
use crate::notification::{Notification, code};
use crate::reader::{Cut, Reader};

pub use write::{write_announcements, write_end_of_rib, write_withdrawals};

/// What must be known to read an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateContext {
    /// AS numbers have four octets.
    pub four_octet_as: bool,
    /// The peer is of our AS.
    pub internal: bool,
}

/// `MP_REACH_NLRI`: announced routes of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpReach<'a> {
    /// Their family.
    pub family: AfiSafi,
    /// Next hop: no octets for FlowSpec, else one or two addresses.
    pub next_hop: &'a [u8],
    /// The routes.
    pub nlri: &'a [u8],
}

impl MpReach<'_> {
    /// The first address of the next hop, if it is one.
    pub fn next_hop_address(&self) -> Option<IpAddr> {
        match self.next_hop.len() {
            4 => <[u8; 4]>::try_from(self.next_hop).ok().map(IpAddr::from),
            _ => self.next_hop.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        }
    }
}

/// `MP_UNREACH_NLRI`: withdrawn routes of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpUnreach<'a> {
    /// Their family.
    pub family: AfiSafi,
    /// The routes.
    pub nlri: &'a [u8],
}

/// An UPDATE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// Withdrawn IPv4 unicast routes.
    pub withdrawn: &'a [u8],
    /// Announced IPv4 unicast routes.
    pub announced: &'a [u8],
    /// Announced routes of a family.
    pub reach: Option<MpReach<'a>>,
    /// Withdrawn routes of a family.
    pub unreach: Option<MpUnreach<'a>>,
    /// Attributes of all announced routes.
    pub attributes: PathAttributes,
    /// The announced routes count as withdrawn, and why.
    pub treat_as_withdraw: Option<AttributeError>,
    /// Attributes left out: doubled, or malformed in a way that does not matter.
    pub discarded: u32,
}

/// Why an UPDATE ends the session: after these, it is not known where anything begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// The withdrawn routes or the attributes go on behind the end.
    #[error("cut: {0}")]
    Cut(Cut),
    /// `MP_REACH_NLRI` or `MP_UNREACH_NLRI` twice.
    #[error("attribute {0} twice")]
    Twice(u8),
    /// `MP_REACH_NLRI` or `MP_UNREACH_NLRI` without a family and next hop that can be read.
    #[error("attribute {attribute} malformed: {cut}")]
    Multiprotocol {
        /// Which.
        attribute: u8,
        /// What does not fit.
        cut: Cut,
    },
    /// IPv4 unicast routes that cannot be read.
    #[error("routes: {0}")]
    Nlri(NlriError),
}

impl From<Cut> for UpdateError {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

impl UpdateError {
    /// What the peer is told.
    pub fn notification(&self) -> Notification {
        let subcode = match self {
            Self::Cut(_) | Self::Twice(_) => 1,
            Self::Multiprotocol { .. } => 9,
            Self::Nlri(_) => 10,
        };
        Notification::new(code::UPDATE, subcode)
    }
}

impl<'a> Update<'a> {
    /// Reads the body of a message.
    pub fn parse(body: &'a [u8], context: UpdateContext) -> Result<Self, UpdateError> {
        let mut reader = Reader::new(body);
        let length = reader.u16()?;
        let withdrawn = reader.bytes(length.into())?;
        let length = reader.u16()?;
        let attributes = reader.bytes(length.into())?;
        let mut update = Self {
            withdrawn,
            announced: reader.rest(),
            reach: None,
            unreach: None,
            attributes: PathAttributes::default(),
            treat_as_withdraw: None,
            discarded: 0,
        };
        for routes in [update.withdrawn, update.announced] {
            Nlri::list(RouteFamily::Ipv4Unicast, routes)
                .try_for_each(|nlri| nlri.map(drop))
                .map_err(UpdateError::Nlri)?;
        }
        update.take_attributes(attributes, context)?;
        Ok(update)
    }

    /// The family whose initial routes are complete with this UPDATE (RFC 4724 §2).
    pub fn end_of_rib(&self) -> Option<AfiSafi> {
        let bare = self.withdrawn.is_empty()
            && self.announced.is_empty()
            && self.reach.is_none()
            && self.attributes == PathAttributes::default()
            && self.treat_as_withdraw.is_none()
            && self.discarded == 0;
        match self.unreach {
            None if bare => Some(RouteFamily::Ipv4Unicast.into()),
            Some(MpUnreach { family, nlri: [] }) if bare => Some(family),
            _ => None,
        }
    }

    /// Routes of the families that we know, as the UPDATE has them: `true` for announced.
    pub fn routes(&self) -> impl Iterator<Item = (bool, Result<Nlri, NlriError>)> {
        let v4 = RouteFamily::Ipv4Unicast;
        let reach = self.reach.map(|reach| (reach.family, reach.nlri));
        let unreach = self.unreach.map(|unreach| (unreach.family, unreach.nlri));
        let list = |announced: bool, routes: Option<(AfiSafi, &'a [u8])>| {
            routes
                .and_then(|(family, nlri)| Some((RouteFamily::try_from(family).ok()?, nlri)))
                .into_iter()
                .flat_map(|(family, nlri)| Nlri::list(family, nlri))
                .map(move |nlri| (announced, nlri))
        };
        list(false, Some((v4.into(), self.withdrawn)))
            .chain(list(false, unreach))
            .chain(list(true, Some((v4.into(), self.announced))))
            .chain(list(true, reach))
    }

    fn take_attributes(
        &mut self,
        octets: &'a [u8],
        context: UpdateContext,
    ) -> Result<(), UpdateError> {
        let mut seen = [false; 256];
        for attribute in raw_attributes(octets) {
            let attribute = match attribute {
                Ok(attribute) => attribute,
                Err(error) => {
                    self.fault(error);
                    break;
                }
            };
            let seen = seen.get_mut(usize::from(attribute.kind));
            let twice = seen.is_some_and(|seen| std::mem::replace(seen, true));
            match attribute.kind {
                kind::MP_REACH | kind::MP_UNREACH if twice => {
                    return Err(UpdateError::Twice(attribute.kind));
                }
                kind::MP_REACH => self.reach = Some(mp_reach(attribute)?),
                kind::MP_UNREACH => self.unreach = Some(mp_unreach(attribute)?),
                _ if twice => self.discarded += 1,
                _ => self.take(attribute, context),
            }
        }
        self.check_mandatory(context);
        Ok(())
    }

    fn take(&mut self, attribute: RawAttribute<'_>, context: UpdateContext) {
        use crate::attribute::Fault;
        match self.attributes.take(attribute, context.four_octet_as, context.internal) {
            Ok(()) => {}
            Err(Fault::Discard) => self.discarded += 1,
            Err(Fault::TreatAsWithdraw(error)) => self.fault(error),
        }
    }

    fn check_mandatory(&mut self, context: UpdateContext) {
        let multiprotocol = self.reach.is_some_and(|reach| !reach.nlri.is_empty());
        if self.announced.is_empty() && !multiprotocol {
            return;
        }
        let attributes = &self.attributes;
        let missing = [
            (kind::ORIGIN, attributes.origin.is_none()),
            (kind::AS_PATH, attributes.as_path.is_none()),
            (kind::NEXT_HOP, attributes.next_hop.is_none() && !self.announced.is_empty()),
            (kind::LOCAL_PREF, attributes.local_pref.is_none() && context.internal),
        ];
        if let Some((kind, _)) = missing.into_iter().find(|(_, missing)| *missing) {
            self.fault(AttributeError::Missing(kind));
        }
    }

    /// Keeps the first.
    fn fault(&mut self, error: AttributeError) {
        self.treat_as_withdraw.get_or_insert(error);
    }
}

fn mp_reach(attribute: RawAttribute<'_>) -> Result<MpReach<'_>, UpdateError> {
    let malformed = |cut| UpdateError::Multiprotocol { attribute: kind::MP_REACH, cut };
    let read = || {
        let mut reader = Reader::new(attribute.value);
        let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
        let length = reader.u8()?;
        let next_hop = reader.bytes(length.into())?;
        // Reserved; once a count of points of attachment.
        reader.u8()?;
        Ok(MpReach { family, next_hop, nlri: reader.rest() })
    };
    read().map_err(malformed)
}

fn mp_unreach(attribute: RawAttribute<'_>) -> Result<MpUnreach<'_>, UpdateError> {
    let malformed = |cut| UpdateError::Multiprotocol { attribute: kind::MP_UNREACH, cut };
    let read = || {
        let mut reader = Reader::new(attribute.value);
        let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
        Ok(MpUnreach { family, nlri: reader.rest() })
    };
    read().map_err(malformed)
}
