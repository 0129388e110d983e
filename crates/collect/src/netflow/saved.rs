//! What exporters have announced, as bytes that outlive a restart: without, the data of an IPFIX
//! exporter could not be read until it announces its templates again, which may take half an hour.
//! An image is read whole or not at all.
//!
//! It starts with eight bytes of magic, the version (2), the length of what follows the header (8)
//! and the FNV-1a hash of that (8). Then follow the exporters up to the end: the key; what else is
//! kept of the exporter, with its length (8); and its templates, each with its kind (1), id (2),
//! count of scopes (2), time of the last announcement (8), count of fields (2) and fields (8 each).
//! A kind of 0 ends them. Numbers are in network byte order.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use tidewall_model::Timestamp;
use tidewall_wire::netflow::{FieldSpec, Protocol, Template, TemplateError, TemplateKind};

use crate::{ExportProtocol, ExporterKey};

const MAGIC: [u8; 8] = *b"TIDEWTPL";
const VERSION: u16 = 1;
const HEADER_LENGTH: usize = 26;

/// A saved exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedExporter {
    /// Who it is.
    pub key: ExporterKey,
    /// Its templates.
    pub templates: Vec<SavedTemplate>,
    /// What else was kept of it: bytes that mean something to the collector only.
    pub extra: Vec<u8>,
}

/// A saved template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedTemplate {
    /// The template.
    pub template: Template,
    /// When the exporter announced it last. After a change of the clock it may lie in the future.
    pub heard: Timestamp,
}

/// Why an image cannot be used. Offsets count from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SavedError {
    /// It does not begin as one does.
    #[error("not a file of saved templates")]
    Magic,
    /// Another version wrote it.
    #[error("version {version} at offset 8, where {VERSION} can be read")]
    Version {
        /// The version that it gives.
        version: u16,
    },
    /// It was cut, or something was added.
    #[error("{announced} bytes announced at offset 10, and {available} there")]
    Length {
        /// Bytes behind the header, as it says.
        announced: u64,
        /// Bytes behind the header that are there.
        available: u64,
    },
    /// Some byte is not what was written.
    #[error("checksum {announced:016x} at offset 18, where the contents have {found:016x}")]
    Checksum {
        /// The checksum that was written.
        announced: u64,
        /// That of the contents.
        found: u64,
    },
    /// A value goes beyond the end.
    #[error("{needed} bytes needed at offset {offset}, {available} left")]
    Cut {
        /// Where the value starts.
        offset: u64,
        /// Its length in bytes.
        needed: u64,
        /// What is left.
        available: u64,
    },
    /// A number that stands for nothing.
    #[error("{what} {value} at offset {offset} is unknown")]
    Unknown {
        /// Where the number is.
        offset: u64,
        /// What it would name.
        what: &'static str,
        /// The number.
        value: u8,
    },
    /// A template that no record can be read through.
    #[error("template {id} at offset {offset}: {reason}")]
    Template {
        /// Where the template starts.
        offset: u64,
        /// Its id.
        id: u16,
        /// What is wrong with it.
        reason: TemplateError,
    },
    /// A template of an exporter whose protocol has none.
    #[error("a template at offset {offset} of an exporter that speaks {}", protocol.name())]
    Protocol {
        /// Where the template starts.
        offset: u64,
        /// What the exporter speaks.
        protocol: ExportProtocol,
    },
}

/// Writes an image, exporter by exporter.
#[derive(Clone, Debug, Default)]
pub struct ImageWriter {
    body: Vec<u8>,
}

impl ImageWriter {
    /// An image without exporters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an exporter with its templates and when each was heard. One of another protocol than
    /// the exporter's is left out: it could not be read back.
    pub fn add<'t>(
        &mut self,
        key: &ExporterKey,
        templates: impl IntoIterator<Item = (&'t Template, Timestamp)>,
        extra: &[u8],
    ) {
        self.put(&[code_of_protocol(key.protocol)]);
        self.address(key.address);
        self.put(&key.port.to_be_bytes());
        self.address(key.agent);
        self.put(&key.domain.to_be_bytes());
        self.put(&(extra.len() as u64).to_be_bytes());
        self.put(extra);
        for (template, heard) in templates {
            if template_protocol(key.protocol) == Some(template.protocol()) {
                self.template(template, heard);
            }
        }
        self.put(&[0]);
    }

    /// The image.
    pub fn finish(self) -> Vec<u8> {
        let mut image = Vec::with_capacity(HEADER_LENGTH + self.body.len());
        image.extend_from_slice(&MAGIC);
        image.extend_from_slice(&VERSION.to_be_bytes());
        image.extend_from_slice(&(self.body.len() as u64).to_be_bytes());
        image.extend_from_slice(&fnv1a(&self.body).to_be_bytes());
        image.extend_from_slice(&self.body);
        image
    }

    fn template(&mut self, template: &Template, heard: Timestamp) {
        self.put(&[code_of_kind(template.kind())]);
        self.put(&template.id().to_be_bytes());
        self.put(&template.scope_count().to_be_bytes());
        self.put(&heard.0.to_be_bytes());
        // A template has MAX_FIELDS at most.
        self.put(&(template.fields().len() as u16).to_be_bytes());
        for field in template.fields() {
            self.put(&field.element.to_be_bytes());
            self.put(&field.enterprise.to_be_bytes());
            self.put(&field.length.to_be_bytes());
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.put(&[4]);
                self.put(&address.octets());
            }
            IpAddr::V6(address) => {
                self.put(&[6]);
                self.put(&address.octets());
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }
}

/// Reads an image.
pub fn load(image: &[u8]) -> Result<Vec<SavedExporter>, SavedError> {
    let mut reader = Reader { image, rest: image };
    // What is too short for the magic has none.
    if !image.starts_with(&MAGIC) {
        return Err(SavedError::Magic);
    }
    reader.array::<{ MAGIC.len() }>()?;
    match reader.be16()? {
        VERSION => {}
        version => return Err(SavedError::Version { version }),
    }
    let (announced, checksum) = (reader.be64()?, reader.be64()?);
    let available = reader.rest.len() as u64;
    if announced != available {
        return Err(SavedError::Length { announced, available });
    }
    let found = fnv1a(reader.rest);
    if checksum != found {
        return Err(SavedError::Checksum { announced: checksum, found });
    }
    let mut exporters = Vec::new();
    while !reader.rest.is_empty() {
        exporters.push(reader.exporter()?);
    }
    Ok(exporters)
}

struct Reader<'a> {
    image: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn exporter(&mut self) -> Result<SavedExporter, SavedError> {
        let offset = self.offset();
        let [value] = self.array()?;
        let unknown = SavedError::Unknown { offset, what: "protocol", value };
        let protocol = protocol_of_code(value).ok_or(unknown)?;
        let (address, port, agent) = (self.address()?, self.be16()?, self.address()?);
        let key = ExporterKey { protocol, address, port, agent, domain: self.be32()? };
        let extra_length = self.be64()?;
        let extra = self.take(extra_length)?.to_vec();
        let mut templates = Vec::new();
        while let Some(template) = self.template(protocol)? {
            templates.push(template);
        }
        Ok(SavedExporter { key, templates, extra })
    }

    fn template(&mut self, speaks: ExportProtocol) -> Result<Option<SavedTemplate>, SavedError> {
        let offset = self.offset();
        let kind = match self.array()? {
            [0] => return Ok(None),
            [value] => kind_of_code(value).ok_or(SavedError::Unknown {
                offset,
                what: "kind of template",
                value,
            })?,
        };
        let Some(protocol) = template_protocol(speaks) else {
            return Err(SavedError::Protocol { offset, protocol: speaks });
        };
        let (id, scopes, heard) = (self.be16()?, self.be16()?, Timestamp(self.be64()?));
        let count = self.be16()?;
        let mut fields = Vec::new();
        for _ in 0..count {
            let (element, enterprise) = (self.be16()?, self.be32()?);
            fields.push(FieldSpec { element, enterprise, length: self.be16()? });
        }
        match Template::new(protocol, kind, id, scopes, fields) {
            Ok(template) => Ok(Some(SavedTemplate { template, heard })),
            Err(reason) => Err(SavedError::Template { offset, id, reason }),
        }
    }

    fn address(&mut self) -> Result<IpAddr, SavedError> {
        let offset = self.offset();
        match self.array()? {
            [4] => Ok(Ipv4Addr::from(self.array::<4>()?).into()),
            [6] => Ok(Ipv6Addr::from(self.array::<16>()?).into()),
            [value] => Err(SavedError::Unknown { offset, what: "kind of address", value }),
        }
    }

    fn be16(&mut self) -> Result<u16, SavedError> {
        self.array().map(u16::from_be_bytes)
    }

    fn be32(&mut self) -> Result<u32, SavedError> {
        self.array().map(u32::from_be_bytes)
    }

    fn be64(&mut self) -> Result<u64, SavedError> {
        self.array().map(u64::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SavedError> {
        let cut = self.cut(N as u64);
        let (array, rest) = self.rest.split_first_chunk().ok_or(cut)?;
        self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], SavedError> {
        let split = usize::try_from(length).ok().and_then(|at| self.rest.split_at_checked(at));
        let (taken, rest) = split.ok_or(self.cut(length))?;
        self.rest = rest;
        Ok(taken)
    }

    fn cut(&self, needed: u64) -> SavedError {
        SavedError::Cut { offset: self.offset(), needed, available: self.rest.len() as u64 }
    }

    fn offset(&self) -> u64 {
        (self.image.len() - self.rest.len()) as u64
    }
}

/// The number that the datagrams of a protocol begin with; 1 for sFlow, whose do not.
fn code_of_protocol(protocol: ExportProtocol) -> u8 {
    match protocol {
        ExportProtocol::Sflow => 1,
        ExportProtocol::NetflowV5 => 5,
        ExportProtocol::NetflowV9 => 9,
        ExportProtocol::Ipfix => 10,
    }
}

fn protocol_of_code(code: u8) -> Option<ExportProtocol> {
    match code {
        1 => Some(ExportProtocol::Sflow),
        5 => Some(ExportProtocol::NetflowV5),
        9 => Some(ExportProtocol::NetflowV9),
        10 => Some(ExportProtocol::Ipfix),
        _ => None,
    }
}

fn code_of_kind(kind: TemplateKind) -> u8 {
    match kind {
        TemplateKind::Data => 1,
        TemplateKind::Options => 2,
    }
}

fn kind_of_code(code: u8) -> Option<TemplateKind> {
    match code {
        1 => Some(TemplateKind::Data),
        2 => Some(TemplateKind::Options),
        _ => None,
    }
}

/// The protocol of an exporter's templates.
fn template_protocol(speaks: ExportProtocol) -> Option<Protocol> {
    match speaks {
        ExportProtocol::NetflowV9 => Some(Protocol::V9),
        ExportProtocol::Ipfix => Some(Protocol::Ipfix),
        ExportProtocol::Sflow | ExportProtocol::NetflowV5 => None,
    }
}

/// FNV-1a with 64 bits. It notices every change of a single byte.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
