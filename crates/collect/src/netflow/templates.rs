//! The templates of all exporters of a collector, each compiled once. Anyone can send templates in
//! any exporter's name, so they are bounded: for each exporter, in number, and in the fields that
//! they have together. One that was neither heard again nor used for long is forgotten.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tidewall_model::{DropReason, Timestamp};
use tidewall_wire::netflow::{Plan, Template, TemplateKind};

use crate::ExporterIndex;

/// Bounds of the templates, and of the data that waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateLimits {
    /// Templates of one exporter at most.
    pub per_exporter: usize,
    /// Templates of all exporters at most.
    pub total_templates: usize,
    /// Fields of all templates at most.
    pub total_fields: usize,
    /// One that was neither heard nor used for so long is forgotten (RFC 7011 §8.4).
    pub lifetime: Duration,
    /// Sets of data that wait at most.
    pub held_sets: usize,
    /// Bytes that they take together at most.
    pub held_bytes: usize,
    /// Sets of one exporter that wait at most.
    pub held_per_exporter: usize,
    /// How long they wait.
    pub held_for: Duration,
    /// Flows that waited longer are not counted: all of them would count as if they had come when
    /// their template did, which can look like an attack.
    pub counted_within: Duration,
}

impl Default for TemplateLimits {
    fn default() -> Self {
        Self {
            per_exporter: 1024,
            total_templates: 65_536,
            total_fields: 1_000_000,
            lifetime: Duration::from_hours(1),
            held_sets: 4096,
            held_bytes: 8 << 20,
            held_per_exporter: 256,
            held_for: Duration::from_secs(10),
            counted_within: Duration::MAX,
        }
    }
}

/// What records are read through.
pub trait Compile {
    /// From a template, once.
    fn compile(template: &Template) -> Self;
}

impl Compile for Plan {
    fn compile(template: &Template) -> Self {
        Self::new(template)
    }
}

/// A template that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled<C> {
    /// As the exporter defined it.
    pub template: Template,
    /// What its records are read through.
    pub plan: C,
    /// When the exporter defined it last.
    pub heard: Timestamp,
}

/// What a definition changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// There was none with this id.
    New,
    /// It was known as it is.
    Again,
    /// It replaces another one with this id.
    Changed,
    /// It was not learnt. If it was to replace another one, that one is gone: records by the new
    /// layout must not be read by the old one.
    Refused(DropReason),
}

/// The templates of all exporters. Those of data and of options share an exporter's ids.
#[derive(Debug)]
pub struct Templates<C> {
    limits: TemplateLimits,
    /// By [`ExporterIndex`].
    exporters: Vec<Owned<C>>,
    len: usize,
    fields: usize,
    refused: u64,
    /// No template's lifetime ends before.
    next_end: Timestamp,
}

/// The templates of one exporter.
#[derive(Debug)]
struct Owned<C> {
    /// In the order of their ids. The boxes keep a move of one short.
    known: Vec<Known<C>>,
    /// Where the last one was found: most exporters use one template for most of their data.
    last: usize,
}

#[derive(Debug)]
struct Known<C> {
    id: u16,
    /// When it was heard or used last.
    used: Timestamp,
    compiled: Box<Compiled<C>>,
}

impl<C: Compile> Templates<C> {
    /// Without any template.
    pub fn new(limits: TemplateLimits) -> Self {
        Self {
            limits,
            exporters: Vec::new(),
            len: 0,
            fields: 0,
            refused: 0,
            next_end: Timestamp(u64::MAX),
        }
    }

    /// The exporter says that the template with this id is this one. One that is known as it is
    /// is not compiled again; a different one replaces it (RFC 7011 §8.1, RFC 3954 §9).
    pub fn define(
        &mut self,
        exporter: ExporterIndex,
        template: Template,
        now: Timestamp,
    ) -> Learnt {
        let id = template.id();
        let known = self.exporters.get_mut(exporter.0).and_then(|owned| owned.find(id));
        let learnt = match known {
            Some(known) if known.compiled.template == template => {
                known.used = known.used.max(now);
                known.compiled.heard = known.compiled.heard.max(now);
                return Learnt::Again;
            }
            Some(_) => Learnt::Changed,
            None => Learnt::New,
        };
        if learnt == Learnt::Changed {
            self.withdraw(exporter, id);
        }
        if !self.has_room(exporter, &template) {
            self.refused += 1;
            return Learnt::Refused(DropReason::TooManyTemplates);
        }
        self.insert(exporter, template, now);
        learnt
    }

    fn has_room(&self, exporter: ExporterIndex, template: &Template) -> bool {
        let own = self.exporters.get(exporter.0).map_or(0, |owned| owned.known.len());
        own < self.limits.per_exporter
            && self.len < self.limits.total_templates
            && self.fields + template.fields().len() <= self.limits.total_fields
    }

    /// Adds one whose id the exporter does not have.
    fn insert(&mut self, exporter: ExporterIndex, template: Template, now: Timestamp) {
        if self.exporters.len() <= exporter.0 {
            self.exporters.resize_with(exporter.0 + 1, Owned::default);
        }
        let Some(owned) = self.exporters.get_mut(exporter.0) else { return };
        let id = template.id();
        let at = owned.known.partition_point(|known| known.id < id);
        self.len += 1;
        self.fields += template.fields().len();
        self.next_end = self.next_end.min(now + self.limits.lifetime);
        let plan = C::compile(&template);
        let compiled = Box::new(Compiled { template, plan, heard: now });
        owned.known.insert(at, Known { id, used: now, compiled });
    }

    /// The template, which counts as used now. Asked once for each set of data.
    #[inline]
    pub fn get(
        &mut self,
        exporter: ExporterIndex,
        id: u16,
        now: Timestamp,
    ) -> Option<&Compiled<C>> {
        let known = self.exporters.get_mut(exporter.0)?.find(id)?;
        known.used = known.used.max(now);
        Some(&known.compiled)
    }

    /// An exporter's templates in the order of their ids.
    pub fn of(&self, exporter: ExporterIndex) -> impl Iterator<Item = &Compiled<C>> {
        let known = self.exporters.get(exporter.0).map(|owned| owned.known.iter());
        known.into_iter().flatten().map(|known| &*known.compiled)
    }

    /// The exporter takes a template back (RFC 7011 §8.1). Was it there?
    pub fn withdraw(&mut self, exporter: ExporterIndex, id: u16) -> bool {
        self.remove(exporter, |known| known.id == id) > 0
    }

    /// The exporter takes all templates of a kind back (RFC 7011 §8.1). How many were there?
    pub fn withdraw_all(&mut self, exporter: ExporterIndex, kind: TemplateKind) -> usize {
        self.remove(exporter, |known| known.compiled.template.kind() == kind)
    }

    /// The exporter gave way to another. How many templates did it have?
    pub fn forget(&mut self, exporter: ExporterIndex) -> usize {
        self.remove(exporter, |_| true)
    }

    /// Removes those whose lifetime is over, and says how many. Costs nothing until one may be.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        if now < self.next_end {
            return 0;
        }
        let lifetime = self.limits.lifetime;
        let before = self.len;
        let mut oldest = Timestamp(u64::MAX);
        for at in 0..self.exporters.len() {
            self.remove(ExporterIndex(at), |known| {
                let over = now.since(known.used) >= lifetime;
                if !over {
                    oldest = oldest.min(known.used);
                }
                over
            });
        }
        self.next_end = oldest + lifetime;
        before - self.len
    }

    fn remove(
        &mut self,
        exporter: ExporterIndex,
        mut gone: impl FnMut(&Known<C>) -> bool,
    ) -> usize {
        let Some(owned) = self.exporters.get_mut(exporter.0) else { return 0 };
        let before = owned.known.len();
        owned.known.retain(|known| {
            let gone = gone(known);
            if gone {
                self.fields -= known.compiled.template.fields().len();
            }
            !gone
        });
        let removed = before - owned.known.len();
        // Exporters that had many once must not keep the room for them.
        if owned.known.capacity() > 4 * owned.known.len() {
            owned.known.shrink_to(2 * owned.known.len());
        }
        self.len -= removed;
        removed
    }

    /// Templates known.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None known?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fields of all templates.
    pub fn fields(&self) -> usize {
        self.fields
    }

    /// Definitions that were refused for want of room.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

impl<C> Default for Owned<C> {
    fn default() -> Self {
        Self { known: Vec::new(), last: 0 }
    }
}

impl<C> Owned<C> {
    #[inline]
    fn find(&mut self, id: u16) -> Option<&mut Known<C>> {
        if self.known.get(self.last).is_none_or(|known| known.id != id) {
            self.last = self.known.binary_search_by_key(&id, |known| known.id).ok()?;
        }
        self.known.get_mut(self.last)
    }
}
