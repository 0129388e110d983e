//! NetFlow v5, v9 and IPFIX datagrams to flow records.
//!
//! One collector belongs to one worker, which must get all datagrams of an exporter: templates,
//! sampling tables and sequence numbers are each exporter's own. What the records of a template
//! look like is worked out when the template is learnt; a record costs neither a map nor an
//! allocation. Sets whose template has not come yet wait for it.

mod clock;
mod compiled;
mod events;
mod held;
mod late;
mod options;
mod reading;
mod remarks;
mod sampling;
mod saved;
mod start;
mod templates;
#[cfg(test)]
mod tests;
mod v5;

use std::net::IpAddr;
use std::time::Duration;

use tidewall_model::{DropCounters, DropReason, SamplingRate, Timestamp};
use tidewall_wire::frame::{LengthMode, TunnelPolicy};
use tidewall_wire::netflow::{
    self as wire, Datagram, NetflowError, Set, SetKind, Sets, TemplateKind, TemplateRecord,
    v5::SamplingWord,
};

use self::clock::Clock;
use self::compiled::Form;
use self::reading::{Context, Reader, Tally};
use self::sampling::SamplingTable;
use self::start::Start;
use crate::{
    ConfiguredSampling, Crediting, ExportDatagram, ExportProtocol, ExporterHealth, ExporterIndex,
    ExporterKey, ExporterLimits, Exporters, FlowDetail, FlowSink, FrameCollector, Remark,
    RemarkKind, SamplingRules,
};

pub use self::events::FirewallEvents;
pub use self::held::Held;
pub use self::saved::{ImageWriter, SavedError, SavedExporter, SavedTemplate, load};
pub use self::templates::{Compile, Compiled, Learnt, TemplateLimits, Templates};

/// How a collector reads.
#[derive(Clone, Debug, Default)]
pub struct NetflowSettings {
    /// Which header of a sampled packet (elements 315, 313 and 104) counts.
    pub tunnels: TunnelPolicy,
    /// Which length of a sampled packet counts. The bytes of a flow are what its exporter says:
    /// they begin at the IP header.
    pub length: LengthMode,
    /// Rates that the configuration gives.
    pub sampling: SamplingRules,
    /// How v5 exporters use their sampling word.
    pub v5_word: SamplingWord,
    /// How many exporters are known at a time.
    pub exporters: ExporterLimits,
    /// How many templates are kept, and what waits for one.
    pub templates: TemplateLimits,
    /// Which events of firewalls count.
    pub firewall_events: FirewallEvents,
    /// When the packets of a flow will count: it decides what is to be said of long flows.
    pub crediting: Crediting,
}

/// Samplers and interfaces remembered for all exporters together.
const MAX_SAMPLING_ENTRIES: usize = 1 << 18;

/// What is known of one exporter, besides its templates.
#[derive(Debug)]
struct State {
    health: ExporterHealth,
    sampling: SamplingTable,
    configured: ConfiguredSampling,
    /// When it started, in milliseconds since the Unix epoch, if options data say so.
    boot_ms: Option<u64>,
    start: Start,
}

/// Turns datagrams into records.
#[derive(Debug)]
pub struct NetflowCollector {
    settings: NetflowSettings,
    exporters: Exporters<State>,
    templates: Templates<Form>,
    held: Held<Context>,
    frames: FrameCollector,
    drops: DropCounters,
    datagrams: u64,
    sequence: u64,
    /// Sampling entries that may still be learnt.
    room: usize,
    /// Has any exporter said something of sampling in its domain 0?
    common: bool,
}

/// The head of a datagram with sets, v9's and IPFIX's alike.
struct Head {
    key: ExporterKey,
    clock: Clock,
    sequence: u32,
}

impl NetflowCollector {
    /// A collector that has heard nothing yet.
    pub fn new(settings: NetflowSettings) -> Self {
        Self {
            exporters: Exporters::new(settings.exporters),
            templates: Templates::new(settings.templates),
            held: Held::new(&settings.templates),
            frames: FrameCollector::new(settings.tunnels, settings.length, SamplingRate::ONE),
            settings,
            drops: DropCounters::default(),
            datagrams: 0,
            sequence: 0,
            room: MAX_SAMPLING_ENTRIES,
            common: false,
        }
    }

    /// Goes on by another header and length of each sampled packet.
    pub const fn set_frames(&mut self, tunnels: TunnelPolicy, length: LengthMode) {
        self.settings.tunnels = tunnels;
        self.settings.length = length;
        self.frames.set(tunnels, length, SamplingRate::ONE);
    }

    /// Goes on by other rules of the configuration, for known exporters too. Nothing that was
    /// learnt is forgotten.
    pub fn set_rules(
        &mut self,
        sampling: SamplingRules,
        v5_word: SamplingWord,
        crediting: Crediting,
    ) {
        for (key, state) in self.exporters.states_mut() {
            state.configured = sampling.of(key.address, key.protocol);
            state.health.credited(crediting);
        }
        self.settings = NetflowSettings { sampling, v5_word, crediting, ..self.settings.clone() };
    }

    /// Decodes one datagram, or counts why none of it can be read. What is wrong with a part of it
    /// is counted, and the rest decoded.
    pub fn decode<S: FlowSink>(
        &mut self,
        datagram: &ExportDatagram<'_>,
        sink: &mut S,
    ) -> Result<(), DropReason> {
        self.datagrams += 1;
        let address = datagram.from.ip();
        let key = |protocol, port, domain| ExporterKey {
            protocol,
            address,
            port,
            agent: address,
            domain,
        };
        let decoded = match wire::parse(datagram.data) {
            Ok(Datagram::V5(packet)) => {
                let header = &packet.header;
                let domain = u32::from(u16::from_be_bytes([header.engine_type, header.engine_id]));
                self.v5(key(ExportProtocol::NetflowV5, 0, domain), datagram, &packet, sink)
            }
            Ok(Datagram::V9(packet)) => {
                let header = &packet.header;
                let exported = Timestamp::from_parts(u64::from(header.unix_secs), 0);
                let uptime_ms = Some(header.sys_uptime);
                let head = Head {
                    key: key(ExportProtocol::NetflowV9, 0, header.source_id),
                    clock: Clock { exported, uptime_ms, boot_ms: None },
                    sequence: header.sequence,
                };
                self.sets(&head, datagram, packet.sets(), sink)
            }
            Ok(Datagram::Ipfix(message)) => {
                let header = &message.header;
                let exported = Timestamp::from_parts(u64::from(header.export_time), 0);
                // The port is part of the transport session (RFC 7011 §2), whose templates are
                // its own.
                let port = datagram.from.port();
                let head = Head {
                    key: key(ExportProtocol::Ipfix, port, header.observation_domain),
                    clock: Clock { exported, uptime_ms: None, boot_ms: None },
                    sequence: header.sequence,
                };
                self.sets(&head, datagram, message.sets(), sink)
            }
            Err(error) => {
                if S::DETAIL {
                    remark(sink, address, 0, RemarkKind::Error, &error.to_string());
                }
                Err(refusal(&error))
            }
        };
        decoded.inspect_err(|reason| self.drops.count(*reason))
    }

    fn v5<S: FlowSink>(
        &mut self,
        key: ExporterKey,
        datagram: &ExportDatagram<'_>,
        packet: &wire::v5::Packet<'_>,
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let at = self.exporter(&key, datagram.received)?;
        let nothing = SamplingTable::default();
        let header = &packet.header;
        let exported = Timestamp::from_parts(u64::from(header.unix_secs), header.unix_nsecs);
        if let Some(mut reader) = self.reader(at, &key, &nothing, sink) {
            let health = &mut reader.reader.state.health;
            health.datagram(datagram.received, Some(exported), Some(header.sys_uptime));
            health.sequence(header.flow_sequence, Some(u32::from(header.count)));
            reader.reader.v5(datagram, packet, exported);
            reader.reader.finish();
        }
        Ok(())
    }

    fn sets<S: FlowSink>(
        &mut self,
        head: &Head,
        datagram: &ExportDatagram<'_>,
        sets: Sets<'_>,
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let at = self.exporter(&head.key, datagram.received)?;
        let common = self.lend_common(&head.key);
        let nothing = SamplingTable::default();
        let table = common.as_ref().map_or(&nothing, |(_, table)| table);
        if let Some(mut reader) = self.reader(at, &head.key, table, sink) {
            reader.sets(head, datagram.received, sets);
        }
        if let Some((at, table)) = common
            && let Some(state) = self.exporters.get_mut(at)
        {
            state.sampling = table;
        }
        let learnt = |state: &State| !state.sampling.is_empty();
        if !self.common && head.key.domain == 0 {
            self.common = self.exporters.get(at).is_some_and(learnt);
        }
        Ok(())
    }

    /// The exporter's place; one that takes another's place takes nothing else from it.
    fn exporter(&mut self, key: &ExporterKey, now: Timestamp) -> Result<ExporterIndex, DropReason> {
        let (mut new, replaced) = (false, self.exporters.replaced());
        let (rules, crediting) = (&self.settings.sampling, self.settings.crediting);
        let make = || {
            new = true;
            let mut health = ExporterHealth::new(now);
            health.credited(crediting);
            State {
                health,
                sampling: SamplingTable::default(),
                configured: rules.of(key.address, key.protocol),
                boot_ms: None,
                start: Start::default(),
            }
        };
        let at = self.exporters.find(key, now, make).ok_or(DropReason::TooManyExporters)?;
        if new && self.exporters.replaced() != replaced {
            self.templates.forget(at);
            self.drops.add(DropReason::NoTemplate, self.held.forget(at) as u64);
            let states = self.exporters.states_mut();
            let used: usize = states.map(|(_, state)| state.sampling.entries()).sum();
            self.room = MAX_SAMPLING_ENTRIES.saturating_sub(used);
        }
        Ok(at)
    }

    /// What the exporter's domain 0 says of sampling, for another domain. It is taken out, and put
    /// back when the datagram is done.
    fn lend_common(&mut self, key: &ExporterKey) -> Option<(ExporterIndex, SamplingTable)> {
        if !self.common || key.domain == 0 {
            return None;
        }
        let at = self.exporters.position(&ExporterKey { domain: 0, ..*key })?;
        let state = self.exporters.get_mut(at)?;
        Some((at, std::mem::take(&mut state.sampling)))
    }

    fn reader<'a, S>(
        &'a mut self,
        at: ExporterIndex,
        key: &ExporterKey,
        common: &'a SamplingTable,
        sink: &'a mut S,
    ) -> Option<SetReader<'a, S>> {
        Some(SetReader {
            at,
            templates: &mut self.templates,
            held: &mut self.held,
            reader: Reader {
                settings: &self.settings,
                state: self.exporters.get_mut(at)?,
                common,
                drops: &mut self.drops,
                sequence: &mut self.sequence,
                frames: &mut self.frames,
                room: &mut self.room,
                sink,
                detail: FlowDetail::of(key.address, key.domain),
                tally: Tally::default(),
            },
        })
    }

    /// Gives up what has waited too long for its template, and templates that were not heard for
    /// long. To be called about once a second.
    pub fn advance(&mut self, now: Timestamp) {
        let Self { held, exporters, drops, .. } = self;
        held.expire(now, |at, _, _| {
            drops.count(DropReason::NoTemplate);
            if let Some(state) = exporters.get_mut(at) {
                state.health.drop(DropReason::NoTemplate, 1);
            }
        });
        self.templates.expire(now);
    }

    /// What is to outlive a restart: templates, and what exporters said of their sampling.
    pub fn save(&self) -> Vec<u8> {
        let mut image = ImageWriter::new();
        for (key, state) in self.exporters.sorted() {
            let Some(at) = self.exporters.position(key) else { continue };
            let templates = self.templates.of(at).map(|known| (&known.template, known.heard));
            let sampling =
                if state.sampling.is_empty() { Vec::new() } else { state.sampling.to_bytes() };
            image.add(key, templates, &sampling);
        }
        image.finish()
    }

    /// Takes over what was saved, and gives the number of templates that are known by it. Nothing is
    /// taken from an image that is damaged. What came since is not replaced by what is older.
    /// Exporters with templates may come from another worker, and may have been here before that.
    pub fn restore(&mut self, image: &[u8], now: Timestamp) -> Result<usize, SavedError> {
        let mut restored = 0;
        for saved in load(image)? {
            let Ok(at) = self.exporter(&saved.key, now) else { continue };
            for SavedTemplate { template, heard } in saved.templates {
                let (heard, known) = (heard.min(now), self.templates.get(at, template.id(), now));
                if known.is_none_or(|known| known.heard < heard) {
                    let learnt = self.templates.define(at, template, heard);
                    restored += usize::from(matches!(learnt, Learnt::New | Learnt::Changed));
                }
            }
            let Some(state) = self.exporters.get_mut(at) else { continue };
            if saved.key.protocol.has_templates() {
                state.health.heard_elsewhere();
            }
            if state.sampling.is_empty() {
                state.sampling = SamplingTable::from_bytes(&saved.extra, &mut self.room);
                self.common |= saved.key.domain == 0 && !state.sampling.is_empty();
            }
        }
        self.templates.expire(now);
        Ok(restored)
    }

    /// Counts what still waits for its template as without one: nothing more will come.
    pub fn give_up_waiting(&mut self) {
        self.advance(Timestamp(u64::MAX));
    }

    /// All exporters in the order of their keys, and what is known of each.
    pub fn exporters(&self) -> impl Iterator<Item = (&ExporterKey, &ExporterHealth)> {
        self.exporters.sorted().into_iter().map(|(key, state)| (key, &state.health))
    }

    /// What was not counted, by reason: datagrams, sets, templates and records.
    pub const fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// Datagrams received, whatever became of them.
    pub const fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// Flows given.
    pub const fn flows(&self) -> u64 {
        self.sequence
    }

    /// Rates of samplers and interfaces that were not remembered for want of room.
    pub fn sampling_refused(&self) -> u64 {
        self.exporters.sorted().iter().map(|(_, state)| state.sampling.refused()).sum()
    }
}

/// The reason that a datagram as a whole is refused for.
fn refusal(error: &NetflowError) -> DropReason {
    match error {
        NetflowError::HeaderCut(_) => DropReason::DatagramCut,
        NetflowError::Version { .. } => DropReason::DatagramVersion,
        _ => DropReason::DatagramMalformed,
    }
}

#[cold]
fn remark<S: FlowSink>(sink: &mut S, exporter: IpAddr, domain: u32, kind: RemarkKind, text: &str) {
    sink.remark(&Remark { exporter, domain, kind, text });
}

/// A reader with the templates of its exporter.
struct SetReader<'a, S> {
    at: ExporterIndex,
    templates: &'a mut Templates<Form>,
    held: &'a mut Held<Context>,
    reader: Reader<'a, S>,
}

impl<S: FlowSink> SetReader<'_, S> {
    fn sets(&mut self, head: &Head, received: Timestamp, sets: Sets<'_>) {
        let health = &mut self.reader.state.health;
        health.datagram(received, Some(head.clock.exported), head.clock.uptime_ms);
        let (first, fell) = (health.has_one_datagram(), health.has_restarted());
        self.reader.state.start.datagram(received, &head.clock, first, fell);
        if self.reader.state.start.is_long_ago(received) {
            self.trust(received);
        }
        let boot_ms = self.reader.state.boot_ms;
        let clock = Clock { boot_ms, ..head.clock };
        let context = Context { received, clock, held: false };
        // IPFIX numbers its records of data and options, v9 its datagrams.
        let mut units = Some(0);
        for set in sets {
            let records = match set {
                Ok(set) if set.kind == SetKind::Records => self.records(&set, &context),
                Ok(set) => {
                    self.templates_of(&set, received);
                    Some(0)
                }
                Err(error) => {
                    self.error(&error, DropReason::SetMalformed);
                    // A reserved set has no records.
                    matches!(error, NetflowError::ReservedSet { .. }).then_some(0)
                }
            };
            units = units.zip(records).map(|(sum, records): (u32, u32)| sum + records);
        }
        if head.key.protocol == ExportProtocol::NetflowV9 {
            units = Some(1);
        }
        self.reader.state.health.sequence(head.sequence, units);
        self.reader.finish();
    }

    /// The records of a set, and their number, if it is known.
    fn records(&mut self, set: &Set<'_>, context: &Context) -> Option<u32> {
        let now = context.received;
        let waiting = Context { held: true, ..*context };
        let Some(known) = self.templates.get(self.at, set.id, now) else {
            self.reader.state.health.missing_template(set.id, now);
            if !self.held.hold(self.at, set.id, waiting, set.body, now) {
                self.reader.drop(DropReason::NoTemplate);
            }
            return None;
        };
        if !self.reader.state.start.doubts(known.heard) {
            return self.reader.set(set.id, &known.plan, set.body, context);
        }
        if self.held.hold(self.at, set.id, waiting, set.body, now) {
            return None;
        }
        self.trust(now);
        let known = self.templates.get(self.at, set.id, now)?;
        self.reader.set(set.id, &known.plan, set.body, context)
    }

    /// Goes on by the templates of before the exporter's start.
    #[cold]
    fn trust(&mut self, now: Timestamp) {
        self.reader.state.start.trust();
        let ids: Vec<u16> = self.templates.of(self.at).map(|known| known.template.id()).collect();
        for id in ids {
            self.release(id, now);
        }
    }

    fn templates_of(&mut self, set: &Set<'_>, now: Timestamp) {
        for template in set.templates() {
            match template {
                Ok(TemplateRecord::Definition(template)) => {
                    let id = template.id();
                    self.reader.state.health.template(id);
                    if S::DETAIL {
                        let kind = match template.kind() {
                            TemplateKind::Data => RemarkKind::Template,
                            TemplateKind::Options => RemarkKind::OptionsTemplate,
                        };
                        self.reader.remark(kind, &remarks::template(&template));
                    }
                    match self.templates.define(self.at, template, now) {
                        Learnt::Refused(reason) => self.reader.drop(reason),
                        Learnt::New | Learnt::Changed => self.release(id, now),
                        Learnt::Again if self.reader.state.start.is_recent() => {
                            self.release(id, now);
                        }
                        Learnt::Again => {}
                    }
                }
                Ok(TemplateRecord::Withdrawal(id)) => {
                    self.templates.withdraw(self.at, id);
                    if S::DETAIL {
                        self.reader.remark(RemarkKind::Withdrawal, &format!("{id}"));
                    }
                }
                Ok(TemplateRecord::WithdrawalOfAll(kind)) => {
                    self.templates.withdraw_all(self.at, kind);
                    if S::DETAIL {
                        let text = match kind {
                            TemplateKind::Data => "all templates of data",
                            TemplateKind::Options => "all templates of options",
                        };
                        self.reader.remark(RemarkKind::Withdrawal, text);
                    }
                }
                Err(error) => self.error(&error, DropReason::TemplateMalformed),
            }
        }
    }

    /// Reads the sets that waited for a template. Flows that waited for long would count as if all
    /// of them had come now; what options say is true at any time.
    fn release(&mut self, id: u16, now: Timestamp) {
        let Self { at, templates, held, reader } = self;
        let Some(known) = templates.get(*at, id, now) else { return };
        let of_flows = known.plan.plan.kind() == TemplateKind::Data;
        let in_time = reader.settings.templates.counted_within;
        held.release(*at, id, |context, body| {
            if of_flows && now.since(context.received) > in_time {
                reader.late(&known.plan, body, context);
            } else {
                reader.set(id, &known.plan, body, context);
            }
        });
    }

    fn error(&mut self, error: &NetflowError, reason: DropReason) {
        self.reader.drop(reason);
        if S::DETAIL {
            self.reader.remark(RemarkKind::Error, &error.to_string());
        }
    }
}

impl<S: FlowSink> Reader<'_, S> {
    /// The records of a set whose template is known, and their number, if that is.
    fn set(&mut self, id: u16, form: &Form, body: &[u8], context: &Context) -> Option<u32> {
        match form.plan.kind() {
            TemplateKind::Data => self.data(form, body, context),
            TemplateKind::Options => self.options(id, form, body),
        }
    }

    fn options(&mut self, id: u16, form: &Form, body: &[u8]) -> Option<u32> {
        let mut number = 0;
        for record in form.plan.records(body, 0) {
            let Ok(record) = record else {
                self.drop(DropReason::RecordMalformed);
                return None;
            };
            number += 1;
            let said = options::OptionsRecord::read(&record);
            if let Some(rate) = said.rate() {
                let table = &mut self.state.sampling;
                table.learn(said.sampler, said.interface, rate, self.room);
            }
            if said.active_timeout.is_some() || said.idle_timeout.is_some() {
                self.state.health.timeouts(said.active_timeout, said.idle_timeout);
            }
            self.state.boot_ms = said.boot_ms.or(self.state.boot_ms);
            if S::DETAIL {
                self.remark(RemarkKind::Options, &remarks::options(id, &record));
            }
        }
        self.tally.options += u64::from(number);
        Some(number)
    }

    fn remark(&mut self, kind: RemarkKind, text: &str) {
        remark(self.sink, self.detail.exporter, self.detail.domain, kind, text);
    }

    /// Hands the sums of the datagram to the exporter's health.
    fn finish(&mut self) {
        let health = &mut self.state.health;
        health.flows(self.tally.flows);
        health.options(self.tally.options);
        if self.tally.longest_ms != 0 {
            health.longest_flow(Duration::from_millis(u64::from(self.tally.longest_ms)));
        }
        if self.tally.absurd != 0 {
            health.absurd_durations(self.tally.absurd);
        }
    }
}
