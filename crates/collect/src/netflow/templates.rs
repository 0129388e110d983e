//! The templates of all exporters, each compiled when it is learnt.

use std::collections::BTreeMap;

use tidewall_model::{DropReason, Timestamp};
use tidewall_wire::netflow::{Template, TemplateKind};

use crate::ExporterIndex;

/// Made from a template.
pub trait Compile {
    /// The form that records are read through.
    fn compile(template: &Template) -> Self;
}

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateLimits {
    /// Templates of one exporter.
    pub per_exporter: usize,
    /// Bytes of sets that wait.
    pub held_bytes: usize,
}

impl Default for TemplateLimits {
    fn default() -> Self {
        Self { per_exporter: 1024, held_bytes: 1 << 20 }
    }
}

/// A template and its form.
#[derive(Debug)]
pub struct Compiled<C> {
    /// As it was defined.
    pub template: Template,
    /// As records are read.
    pub form: C,
}

/// What a definition did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// Its id was free.
    New,
    /// It was known.
    Again,
    /// It took another's place.
    Changed,
    /// It was not learnt.
    Refused(DropReason),
}

/// All templates.
#[derive(Debug)]
pub struct Templates<C> {
    limits: TemplateLimits,
    all: BTreeMap<(ExporterIndex, u16), Compiled<C>>,
}

impl<C: Compile> Templates<C> {
    /// None yet.
    pub fn new(limits: TemplateLimits) -> Self {
        Self { limits, all: BTreeMap::new() }
    }

    /// Learns one.
    pub fn define(&mut self, at: ExporterIndex, template: Template, _: Timestamp) -> Learnt {
        let key = (at, template.id());
        let learnt = match self.all.get(&key) {
            Some(known) if known.template == template => return Learnt::Again,
            Some(_) => Learnt::Changed,
            None if self.all.len() >= self.limits.per_exporter => {
                return Learnt::Refused(DropReason::TooManyTemplates);
            }
            None => Learnt::New,
        };
        let form = C::compile(&template);
        self.all.insert(key, Compiled { template, form });
        learnt
    }

    /// Forgets one.
    pub fn withdraw(&mut self, at: ExporterIndex, id: u16) -> bool {
        self.all.remove(&(at, id)).is_some()
    }

    /// Forgets all of a kind.
    pub fn withdraw_all(&mut self, at: ExporterIndex, kind: TemplateKind) -> usize {
        let before = self.all.len();
        self.all.retain(|key, known| key.0 != at || known.template.kind() != kind);
        before - self.all.len()
    }

    /// The one with an id.
    pub fn get(&mut self, at: ExporterIndex, id: u16, _: Timestamp) -> Option<&Compiled<C>> {
        self.all.get(&(at, id))
    }

    /// Forgets an exporter's.
    pub fn forget(&mut self, at: ExporterIndex) {
        self.all.retain(|key, _| key.0 != at);
    }

    /// Forgets those that were not heard for long.
    pub fn expire(&mut self, _: Timestamp) -> usize {
        0
    }
}
