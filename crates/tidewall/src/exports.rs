//! Export datagrams in captures: which captures hold them, and what they say. A capture of sFlow,
//! NetFlow or IPFIX is told from one of the traffic itself by its first packets, by port and by
//! content, unless the user says what it is.

mod medium;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidewall_collect::{
    Dealing, ExportDatagram, ExporterHealth, ExporterKey, FlowSink, HealthReport, NetflowCollector,
    Part, SflowCollector,
};
use tidewall_model::{Address, DropCounters, DropReason, Family, Timestamp, protocol};
use tidewall_wire::frame::{self, IpVersion, LinkType, TunnelPolicy};

pub(crate) use medium::look;
pub use medium::{FlowProtocol, Medium};

use crate::config::{Flows, Frames};

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// A UDP datagram found in a captured frame.
#[derive(Clone, Copy, Debug)]
struct Datagram<'a> {
    from: SocketAddr,
    port: u16,
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The whole datagram of a frame; `None` when there is no UDP in it, or only a piece of it.
    fn of(link: LinkType, data: &'a [u8]) -> Option<Self> {
        let frame = frame::dissect(link, data, &TunnelPolicy::OUTER).ok()?;
        if frame.protocol != protocol::UDP || frame.fragment != frame::FragmentKind::Whole {
            return None;
        }
        let family = match frame.version {
            IpVersion::V4 => Family::V4,
            IpVersion::V6 => Family::V6,
        };
        let header = data.get(frame.transport_offset as usize..)?;
        let length = header.get(4..6)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        // Behind the datagram there may be a frame's padding; a length of zero is offloading's.
        let end = if length < UDP_HEADER { header.len() } else { length.min(header.len()) };
        let address = Address { family, bits: frame.src };
        Some(Self {
            from: SocketAddr::new(address.into(), frame.src_port),
            port: frame.dst_port,
            payload: header.get(UDP_HEADER..end)?,
        })
    }
}

/// What is known about an exporter at the end of a capture, or at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ExporterReport {
    /// Which exporter.
    pub key: ExporterKey,
    /// What came from it, and what did not.
    pub health: HealthReport,
    /// What is to be said of it, the worst first; empty when all is well.
    pub verdicts: Vec<String>,
}

impl ExporterReport {
    /// Of an exporter as it stands at `now`.
    pub fn new(key: &ExporterKey, health: &ExporterHealth, now: Timestamp) -> Self {
        let verdicts = health.verdicts(now).iter().map(ToString::to_string).collect();
        Self { key: *key, health: health.summary(), verdicts }
    }

    /// As one of the workers of a port knows it: nothing is to be said of a part.
    pub(crate) fn part(key: &ExporterKey, health: &ExporterHealth) -> Self {
        Self { key: *key, health: health.summary(), verdicts: Vec::new() }
    }

    /// As so many workers of a port know it together, at `now`.
    pub(crate) fn join(
        key: &ExporterKey,
        parts: &[Part<'_>],
        workers: usize,
        now: Timestamp,
    ) -> Option<Self> {
        let health = HealthReport::join(parts, dealing(key, workers))?;
        let verdicts = health.verdicts(now).iter().map(ToString::to_string).collect();
        Some(Self { key: *key, health, verdicts })
    }

    /// What workers that are no more knew, the exporters that were heard last first: at most
    /// `most` of them.
    pub(crate) fn left(reports: &[Self], most: usize) -> Vec<Self> {
        let mut parts: BTreeMap<ExporterKey, Vec<Part<'_>>> = BTreeMap::new();
        for Self { key, health, .. } in reports {
            parts.entry(*key).or_default().push(Part { report: health, left: true });
        }
        let join = |(key, parts): (ExporterKey, Vec<Part<'_>>)| {
            let health = HealthReport::join(&parts, dealing(&key, 1))?;
            Some(Self { key, health, verdicts: Vec::new() })
        };
        let mut left: Vec<_> = parts.into_iter().filter_map(join).collect();
        left.sort_by_key(|report| Reverse(report.health.last_seen));
        left.truncate(most);
        left
    }

    /// As an object; its keys are part of the interface.
    pub fn to_json(&self) -> Value {
        let Self { key, health, verdicts } = self;
        let milliseconds = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
        json!({
            "exporter": key.address,
            "agent": key.agent,
            "port": key.port,
            "protocol": key.protocol.name(),
            "domain": key.domain,
            "first_seen": health.first_seen,
            "last_seen": health.last_seen,
            "datagrams": health.datagrams,
            "flows": health.flows,
            "options": health.options,
            "templates": health.templates,
            "lost": health.lost,
            "lost_share": health.lost as f64 / (health.received + health.lost).max(1) as f64,
            "gaps": health.gaps,
            "disorder": health.disorder,
            "restarts": health.restarts,
            "clock_behind_ms": health.clock_behind_ms,
            "sampling": health.sampling.iter().map(|used| json!({
                "rate": used.rate.get(),
                "origin": used.origin.name(),
                "last": used.last,
            })).collect::<Vec<_>>(),
            "active_timeout_ms": milliseconds(health.active_timeout),
            "idle_timeout_ms": milliseconds(health.idle_timeout),
            "longest_flow_ms": milliseconds(Some(health.longest_flow)),
            "absurd_durations": health.absurd_durations,
            "missing_templates": health.missing_templates.iter().map(|missing| json!({
                "id": missing.id,
                "since": missing.since,
                "sets": missing.sets,
            })).collect::<Vec<_>>(),
            "drops": health.drops.iter().map(|(reason, count)| (reason.name(), *count))
                .collect::<BTreeMap<_, _>>(),
            "agent_drops": health.agent_drops,
            "compared": health.compared,
            "verdicts": verdicts,
        })
    }
}

/// How so many workers of a port get what an exporter sends.
const fn dealing(key: &ExporterKey, workers: usize) -> Dealing {
    if key.protocol.has_templates() { Dealing::Whole } else { Dealing::Spread { workers } }
}

/// The collectors of all flow protocols, for datagrams in captured frames.
#[derive(Debug)]
pub(crate) struct Exports {
    sflow: SflowCollector,
    netflow: NetflowCollector,
    /// Packets that are no export datagrams.
    drops: DropCounters,
    latest: Timestamp,
}

impl Exports {
    /// Collectors that know nothing yet.
    pub(crate) fn new(flows: &Flows, frames: Frames) -> Self {
        Self {
            sflow: SflowCollector::new(flows.sflow(frames)),
            netflow: NetflowCollector::new(flows.netflow(frames)),
            drops: DropCounters::default(),
            latest: Timestamp::ZERO,
        }
    }

    /// Decodes the datagram of a frame, as `protocol` or as what it looks like.
    pub(crate) fn decode(
        &mut self,
        link: LinkType,
        time: Timestamp,
        data: &[u8],
        protocol: Option<FlowProtocol>,
        sink: &mut impl FlowSink,
    ) -> Result<(), DropReason> {
        let datagram = Datagram::of(link, data);
        let found = datagram.as_ref().and_then(|d| protocol.or_else(|| medium::protocol_of(d)));
        let (Some(datagram), Some(protocol)) = (datagram, found) else {
            self.drops.count(DropReason::NotAnExport);
            return Err(DropReason::NotAnExport);
        };
        self.latest = self.latest.max(time);
        let export = ExportDatagram::new(datagram.from, time, datagram.payload);
        match protocol {
            FlowProtocol::Sflow => self.sflow.decode(&export, sink),
            FlowProtocol::Netflow => {
                self.netflow.advance(time);
                self.netflow.decode(&export, sink)
            }
        }
    }

    /// What was not counted, and why. Sets of data that still wait for a template are counted as
    /// without one: nothing more will come.
    pub(crate) fn finish(&mut self) -> DropCounters {
        self.netflow.give_up_waiting();
        let mut drops = self.drops;
        drops.merge(self.sflow.drops());
        drops.merge(self.netflow.drops());
        drops
    }

    /// All exporters, in the order of their keys.
    pub(crate) fn exporters(&self) -> Vec<ExporterReport> {
        let all = self.sflow.exporters().into_iter().chain(self.netflow.exporters());
        let mut reports: Vec<_> =
            all.map(|(key, health)| ExporterReport::new(key, health, self.latest)).collect();
        reports.sort_by_key(|report| report.key);
        reports
    }
}
