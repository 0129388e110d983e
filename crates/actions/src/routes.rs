//! From mitigations to routes: what each kind of mitigation looks like on the wire, for all peers
//! and where it differs for some. What is not set up is not announced.

mod filter;

use std::net::IpAddr;

use thiserror::Error;
use tidewall_bgp::action::ActionError;
use tidewall_bgp::flowspec::FlowSpecError;
use tidewall_bgp::{FlowSpecRoute, Route, RouteAttributes, RouteError, UnicastRoute};
use tidewall_model::{Family, Mitigation, MitigationKind, Prefix};

pub use filter::flow_spec_rule;

/// How mitigations become routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSettings {
    /// Blackholes; `None`: none is announced.
    pub blackhole: Option<UnicastSettings>,
    /// Diversions towards a scrubber.
    pub divert: Option<UnicastSettings>,
    /// Filters: what they carry besides their actions.
    pub flow_spec: Option<RouteAttributes>,
}

/// How a prefix is announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnicastSettings {
    /// Next hop of IPv4; `None`: IPv4 is not announced.
    pub next_hop_v4: Option<IpAddr>,
    /// Next hop of IPv6.
    pub next_hop_v6: Option<IpAddr>,
    /// What the route carries.
    pub attributes: RouteAttributes,
}

/// Why a mitigation has no route.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoRoute {
    /// It tells people, or concerns the total of a group.
    #[error("it is no route")]
    NotARoute,
    /// Nothing is set up for this kind.
    #[error("no {kind} is configured for this announcer")]
    NotConfigured {
        /// Which kind.
        kind: &'static str,
    },
    /// There is no next hop for this IP version.
    #[error("no next hop for {family} is configured, so {prefix} is not announced")]
    NextHop {
        /// IP version.
        family: Family,
        /// Whose route.
        prefix: Prefix,
    },
    /// The rule cannot be written.
    #[error(transparent)]
    Rule(#[from] FlowSpecError),
    /// Its action cannot be written.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// Routers would misread it.
    #[error(transparent)]
    Route(#[from] RouteError),
}

impl RouteSettings {
    /// The route of a mitigation.
    pub fn route(&self, mitigation: &Mitigation) -> Result<Route, NoRoute> {
        let prefix = mitigation.prefix().ok_or(NoRoute::NotARoute)?;
        let kind = mitigation.kind.name();
        let configured = NoRoute::NotConfigured { kind };
        match &mitigation.kind {
            MitigationKind::Notify => Err(NoRoute::NotARoute),
            MitigationKind::Blackhole => self.blackhole.as_ref().ok_or(configured)?.route(prefix),
            MitigationKind::Divert => self.divert.as_ref().ok_or(configured)?.route(prefix),
            MitigationKind::FlowSpec(filter) => {
                let attributes = self.flow_spec.clone().ok_or(configured)?;
                let (rule, actions) = flow_spec_rule(prefix, filter)?;
                Ok(FlowSpecRoute::new(rule, actions, attributes)?.into())
            }
        }
    }
}

impl UnicastSettings {
    fn route(&self, prefix: Prefix) -> Result<Route, NoRoute> {
        let family = prefix.family();
        let next_hop = match family {
            Family::V4 => self.next_hop_v4,
            Family::V6 => self.next_hop_v6,
        };
        let next_hop = next_hop.ok_or(NoRoute::NextHop { family, prefix })?;
        Ok(UnicastRoute::new(prefix, next_hop, self.attributes.clone())?.into())
    }
}
