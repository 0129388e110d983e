//! Templates: which fields a record has, in which order and how long. Data and options templates
//! of NetFlow v9 (RFC 3954 §5.2, §6.1) and of IPFIX (RFC 7011 §3.4), and their withdrawal (§8.1).

use super::Protocol;
use super::error::{NetflowError, TemplateError};
use crate::cursor::{Cursor, Cut};

/// The lowest id of a template. Those below name the sets that define templates.
pub const MIN_TEMPLATE_ID: u16 = 256;

/// Fields that a template may have. The longest templates known have about a hundred.
pub const MAX_FIELDS: usize = 256;

/// Length of a field whose values say how long they are (RFC 7011 §7). H3C uses it in v9 too.
pub const VARIABLE_LENGTH: u16 = 0xffff;

/// The enterprise of elements that count the way back of a flow (RFC 5103 §6.1).
pub const REVERSE_ENTERPRISE: u32 = 29_305;

/// In IPFIX, the bit of an element's number that announces an enterprise.
const ENTERPRISE_BIT: u16 = 0x8000;

/// Whether records carry traffic, or facts about the exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TemplateKind {
    /// Flows and packets.
    Data,
    /// Options: samplers, interfaces, timeouts, each for the scope in its first fields.
    Options,
}

/// One field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldSpec {
    /// Number of the information element, without the enterprise bit; of a v9 scope, its type.
    pub element: u16,
    /// Whose numbering that is: an IANA private enterprise number, or 0 for IANA's own.
    pub enterprise: u32,
    /// Length of each value in bytes, or [`VARIABLE_LENGTH`].
    pub length: u16,
}

impl FieldSpec {
    /// Does each value say how long it is?
    pub const fn is_variable(self) -> bool {
        self.length == VARIABLE_LENGTH
    }

    /// The fewest bytes that a value takes.
    fn least_length(self) -> u32 {
        if self.is_variable() { 1 } else { u32::from(self.length) }
    }

    fn parse(protocol: Protocol, cursor: &mut Cursor<'_>) -> Result<Self, Cut> {
        let (element, length) = (cursor.be16()?, cursor.be16()?);
        Ok(if protocol == Protocol::Ipfix && element & ENTERPRISE_BIT != 0 {
            Self { element: element & !ENTERPRISE_BIT, enterprise: cursor.be32()?, length }
        } else {
            // In v9 the top bit is part of the number: Cisco has elements above 32768.
            Self { element, enterprise: 0, length }
        })
    }
}

/// The layout of a record. It has at least one field, and its records at least one byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    protocol: Protocol,
    kind: TemplateKind,
    id: u16,
    scope_count: u16,
    least_length: u16,
    fields: Box<[FieldSpec]>,
}

impl Template {
    /// A template, if records can be read through it. The first `scope_count` fields are scopes.
    ///
    /// An options template may have none, although RFC 7011 §3.4.2.2 wants one: what it says then
    /// holds for the whole exporter. Fields of length 0 are kept: they exist, as scopes and else.
    pub fn new(
        protocol: Protocol,
        kind: TemplateKind,
        id: u16,
        scope_count: u16,
        fields: Vec<FieldSpec>,
    ) -> Result<Self, TemplateError> {
        if id < MIN_TEMPLATE_ID {
            return Err(TemplateError::Id);
        }
        if fields.len() > MAX_FIELDS {
            return Err(TemplateError::TooManyFields);
        }
        let length = fields.iter().map(|field| field.least_length()).sum();
        if length == 0 {
            return Err(TemplateError::Empty);
        }
        let least_length =
            u16::try_from(length).map_err(|_| TemplateError::RecordTooLong { length })?;
        let most_scopes = if kind == TemplateKind::Options { fields.len() } else { 0 };
        if usize::from(scope_count) > most_scopes {
            let fields = fields.len() as u16;
            return Err(TemplateError::Scopes { scopes: scope_count, fields });
        }
        Ok(Self { protocol, kind, id, scope_count, least_length, fields: fields.into() })
    }

    /// The protocol it was defined in.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What its records carry.
    pub fn kind(&self) -> TemplateKind {
        self.kind
    }

    /// Its id: that of the sets with its records.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// How many of the first fields are scopes.
    pub fn scope_count(&self) -> u16 {
        self.scope_count
    }

    /// The fields in order.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    /// The fewest bytes of a record; where no field is variable, its length.
    pub fn least_length(&self) -> u16 {
        self.least_length
    }
}

/// What a set of templates says about one, or all, of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateRecord {
    /// The template with this id is this one from now on.
    Definition(Template),
    /// The template with this id is gone (IPFIX only).
    Withdrawal(u16),
    /// All templates of this kind are gone (IPFIX only).
    WithdrawalOfAll(TemplateKind),
}

/// The templates of one set, in order.
///
/// A template that no record can be read through is an error, and the next one follows. One that is
/// cut is an error, and the last item. Zero bytes behind the last template are padding.
#[derive(Clone, Debug)]
pub struct Templates<'a> {
    protocol: Protocol,
    kind: TemplateKind,
    set_id: u16,
    cursor: Cursor<'a>,
}

impl<'a> Templates<'a> {
    /// The templates in what is left of `cursor`, the body of the set with `set_id`.
    pub(super) fn new(
        protocol: Protocol,
        kind: TemplateKind,
        set_id: u16,
        cursor: Cursor<'a>,
    ) -> Self {
        Self { protocol, kind, set_id, cursor }
    }

    fn template(&mut self) -> Result<TemplateRecord, NetflowError> {
        let start = self.cursor;
        let (offset, cut) = (start.offset(), NetflowError::TemplateCut);
        let id = self.cursor.be16().map_err(cut)?;
        let (scopes, fields) = match (self.protocol, self.kind) {
            (Protocol::V9, TemplateKind::Data) => (0, self.cursor.be16().map_err(cut)?),
            (Protocol::V9, TemplateKind::Options) => self.v9_options_counts(offset)?,
            (Protocol::Ipfix, kind) => {
                let fields = self.cursor.be16().map_err(cut)?;
                if fields == 0 {
                    return self.withdrawal(offset, id);
                }
                let options = kind == TemplateKind::Options;
                (if options { self.cursor.be16().map_err(cut)? } else { 0 }, fields)
            }
        };
        // One field more than may be is kept, for the template to be refused by.
        let mut specs = Vec::with_capacity(usize::from(fields).min(MAX_FIELDS + 1));
        for _ in 0..fields {
            let spec = FieldSpec::parse(self.protocol, &mut self.cursor).map_err(cut)?;
            if specs.len() <= MAX_FIELDS {
                specs.push(spec);
            }
        }
        Template::new(self.protocol, self.kind, id, scopes, specs)
            .map(TemplateRecord::Definition)
            .map_err(|reason| NetflowError::Template { offset, id, reason })
    }

    /// Counts of scope fields and of all fields: v9 writes the bytes that both kinds take.
    fn v9_options_counts(&mut self, offset: u32) -> Result<(u16, u16), NetflowError> {
        let mut word = || self.cursor.be16().map_err(NetflowError::TemplateCut);
        let (scope_length, option_length) = (word()?, word()?);
        if !scope_length.is_multiple_of(4) || !option_length.is_multiple_of(4) {
            return Err(NetflowError::OptionsLength { offset, scope_length, option_length });
        }
        Ok((scope_length / 4, scope_length / 4 + option_length / 4))
    }

    fn withdrawal(&self, offset: u32, id: u16) -> Result<TemplateRecord, NetflowError> {
        if id == self.set_id {
            Ok(TemplateRecord::WithdrawalOfAll(self.kind))
        } else if id < MIN_TEMPLATE_ID {
            Err(NetflowError::Template { offset, id, reason: TemplateError::Id })
        } else {
            Ok(TemplateRecord::Withdrawal(id))
        }
    }
}

impl Iterator for Templates<'_> {
    type Item = Result<TemplateRecord, NetflowError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.cursor.peek() == Some(&[0; 4]) {
            self.cursor.skip(4).ok()?;
        }
        if self.cursor.remaining() < 4 {
            return None;
        }
        let template = self.template();
        if let Err(NetflowError::TemplateCut(_) | NetflowError::OptionsLength { .. }) = template {
            self.cursor = self.cursor.limited(0);
        }
        Some(template)
    }
}
