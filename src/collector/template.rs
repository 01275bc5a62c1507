//! NetFlow v9 (RFC 3954) and IPFIX (RFC 7011): sets of templates, and sets of records that one of them describes.
//!
//! Bound: [`EXPORTERS_MAX`] exporters, [`TEMPLATES_MAX`] templates of one, [`FIELDS_MAX`] fields in one, and
//! [`FIELDS_HELD_MAX`] fields in all. At the bound the exporter that was silent longest is forgotten; a template too
//! many or too long is refused. Records that come before their template are dropped, counted, and told by name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::CollectorCounters;
use super::element::{self, Export, Reading, number};
use super::half::Half;
use super::reader::Reader;
use crate::model::{AwaitedTemplate, Timestamp};

const EXPORTERS_MAX: usize = 1_024;
const TEMPLATES_MAX: usize = 128;
/// The longest template of the exporters seen has 64.
const FIELDS_MAX: usize = 256;
/// 12 MiB.
const FIELDS_HELD_MAX: usize = 1 << 20;
/// Templates of one exporter whose records came too early, remembered to be told.
const AWAITED_MAX: usize = 16;

/// Address, and source id or observation domain: each has its own templates (RFC 7011 section 8).
type ExporterKey = (IpAddr, u32, Version);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    V9,
    Ipfix,
}

#[derive(Debug, Default)]
struct Exporter {
    templates: BTreeMap<u16, Template>,
    last_seen: Timestamp,
    /// One packet in so many, as an options record said.
    sampling: u32,
    /// Sets that came before their template.
    awaited: BTreeMap<u16, u64>,
}

#[derive(Debug)]
struct Template {
    fields: Vec<Field>,
    options: bool,
    /// It names a sender: its records are about conversations.
    addressed: bool,
    /// Bytes of the shortest record.
    record_min: usize,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    enterprise: u32,
    element: u16,
    /// [`VARIABLE`]: the record tells it.
    length: u16,
}

const VARIABLE: u16 = u16::MAX;

#[derive(Debug, Default)]
pub(super) struct Templates {
    exporters: BTreeMap<ExporterKey, Exporter>,
    fields_held: usize,
}

/// A datagram while its sets are read.
struct Message {
    key: ExporterKey,
    export: Export,
    now: Timestamp,
}

impl Templates {
    /// Reads a datagram, its version already taken. `None`: it contradicts itself; what stood before was read.
    pub fn read(
        &mut self,
        version: Version,
        from: IpAddr,
        bytes: &[u8],
        now: Timestamp,
        counters: &mut CollectorCounters,
        each: &mut dyn FnMut(Half),
    ) -> Option<()> {
        let mut reader = Reader::new(bytes);
        let length_or_count = reader.be16()?;
        let uptime_ms = if version == Version::V9 { Some(reader.be32()?) } else { None };
        let unix_s = reader.be32()?;
        reader.skip(4)?;
        let domain = reader.be32()?;
        let mut sets = match version {
            Version::V9 => reader,
            // The length covers the header of 16 bytes, of which the version was taken before.
            Version::Ipfix => Reader::new(reader.take(usize::from(length_or_count).checked_sub(16)?)?),
        };
        let message = Message { key: (from, domain, version), export: Export { unix_s, uptime_ms }, now };
        while sets.rest().len() >= 4 {
            let (id, length) = (sets.be16()?, sets.be16()?);
            let body = sets.take(usize::from(length).checked_sub(4)?)?;
            self.set(&message, id, body, counters, each)?;
        }
        Some(())
    }

    /// Templates that records wait for, at most [`AWAITED_MAX`] of all exporters, in order.
    pub fn awaited(&self) -> Vec<AwaitedTemplate> {
        let all = self.exporters.iter().flat_map(|((exporter, ..), state)| {
            let each = state.awaited.iter();
            each.map(|(template, sets)| AwaitedTemplate { exporter: *exporter, template: *template, sets: *sets })
        });
        all.take(AWAITED_MAX).collect()
    }

    fn set(
        &mut self,
        message: &Message,
        id: u16,
        body: &[u8],
        counters: &mut CollectorCounters,
        each: &mut dyn FnMut(Half),
    ) -> Option<()> {
        match (message.key.2, id) {
            (Version::V9, 0) | (Version::Ipfix, 2) => self.templates(message, body, false, counters),
            (Version::V9, 1) | (Version::Ipfix, 3) => self.templates(message, body, true, counters),
            (_, 256..) => {
                let exporter = self.exporter(message, counters);
                let Some(template) = exporter.templates.get(&id) else {
                    counters.no_template += 1;
                    let room = exporter.awaited.len() < AWAITED_MAX;
                    if let Some(sets) = exporter.awaited.get_mut(&id) {
                        *sets += 1;
                    } else if room {
                        exporter.awaited.insert(id, 1);
                    }
                    return Some(());
                };
                let sampling = exporter.sampling.max(1);
                if let Some(told) = records(template, message.export, sampling, body, counters, each) {
                    exporter.sampling = told;
                }
                Some(())
            }
            _ => None, // reserved
        }
    }

    fn templates(
        &mut self,
        message: &Message,
        body: &[u8],
        options: bool,
        counters: &mut CollectorCounters,
    ) -> Option<()> {
        let mut reader = Reader::new(body);
        while reader.rest().len() >= 4 {
            let (id, count) = (reader.be16()?, reader.be16()?);
            if id == 0 && count == 0 {
                return Some(()); // padding
            }
            let count = match (message.key.2, options) {
                (Version::V9, true) => {
                    // Bytes of scope fields, then of option fields (RFC 3954 section 6.1).
                    let options_bytes = reader.be16()?;
                    usize::from(count) / 4 + usize::from(options_bytes) / 4
                }
                (Version::Ipfix, true) if count > 0 => {
                    reader.skip(2)?; // how many of them are scope
                    usize::from(count)
                }
                _ => usize::from(count),
            };
            let mut template = Template { fields: Vec::new(), options, addressed: false, record_min: 0 };
            for _ in 0..count {
                let (element, length) = (reader.be16()?, reader.be16()?);
                let enterprise = match message.key.2 {
                    Version::Ipfix if element & 0x8000 != 0 => reader.be32()?,
                    _ => 0,
                };
                let element = if message.key.2 == Version::Ipfix { element & 0x7fff } else { element };
                template.addressed |= element::names_sender(enterprise, element);
                template.record_min += if length == VARIABLE { 1 } else { usize::from(length) };
                if template.fields.len() < FIELDS_MAX {
                    template.fields.push(Field { enterprise, element, length });
                }
            }
            self.keep(message, id, count, template, counters);
        }
        Some(())
    }

    fn keep(&mut self, message: &Message, id: u16, count: usize, template: Template, counters: &mut CollectorCounters) {
        let fields = template.fields.len();
        while self.fields_held + fields > FIELDS_HELD_MAX && self.forget_silent(&message.key, counters) {}
        let exporter = self.exporter(message, counters);
        let before = exporter.templates.remove(&id).map_or(0, |old| old.fields.len());
        // None at all withdraws it (RFC 7011 section 8.1); a record of no length would never end.
        let usable = count <= FIELDS_MAX && template.record_min > 0 && id >= 256;
        let room = exporter.templates.len() < TEMPLATES_MAX;
        if usable && room {
            exporter.templates.insert(id, template);
            exporter.awaited.remove(&id);
            counters.templates += 1;
        } else if count > 0 {
            counters.bad_template += 1;
        }
        self.fields_held = self.fields_held.saturating_sub(before) + if usable && room { fields } else { 0 };
    }

    fn exporter(&mut self, message: &Message, counters: &mut CollectorCounters) -> &mut Exporter {
        if self.exporters.len() >= EXPORTERS_MAX && !self.exporters.contains_key(&message.key) {
            self.forget_silent(&message.key, counters);
        }
        let exporter = self.exporters.entry(message.key).or_default();
        exporter.last_seen = message.now;
        exporter
    }

    /// False when there is no other.
    fn forget_silent(&mut self, but: &ExporterKey, counters: &mut CollectorCounters) -> bool {
        let others = self.exporters.iter().filter(|(key, _)| *key != but);
        let Some(key) = others.min_by_key(|(key, e)| (e.last_seen, **key)).map(|(key, _)| *key) else { return false };
        if let Some(gone) = self.exporters.remove(&key) {
            let fields: usize = gone.templates.values().map(|t| t.fields.len()).sum();
            self.fields_held = self.fields_held.saturating_sub(fields);
            counters.exporters_forgotten += 1;
        }
        true
    }
}

/// Every record of a set; the sampling interval that an options record told.
fn records(
    template: &Template,
    export: Export,
    sampling: u32,
    body: &[u8],
    counters: &mut CollectorCounters,
    each: &mut dyn FnMut(Half),
) -> Option<u32> {
    let mut reader = Reader::new(body);
    let mut told = None;
    if !template.options && !template.addressed {
        counters.no_addresses += 1;
        return told;
    }
    // What is left and shorter than a record is padding.
    while reader.rest().len() >= template.record_min {
        let mut reading = Reading::new(export, sampling);
        for field in &template.fields {
            let Some(bytes) = field.take(&mut reader) else {
                counters.malformed += 1;
                return told;
            };
            if !template.options {
                reading.field(field.enterprise, field.element, bytes);
            } else if field.enterprise == 0 && matches!(field.element, 34 | 50 | 305) && !bytes.is_empty() {
                told = Some((number(bytes) as u32).max(1));
            }
        }
        if template.options {
            counters.options += 1;
        } else {
            each(reading.finish());
        }
    }
    told
}

impl Field {
    fn take<'a>(&self, reader: &mut Reader<'a>) -> Option<&'a [u8]> {
        if self.length != VARIABLE {
            return reader.take(usize::from(self.length));
        }
        // RFC 7011 section 7: one byte, or 255 and two.
        let length = match reader.be8()? {
            255 => reader.be16()?,
            short => u16::from(short),
        };
        reader.take(usize::from(length))
    }
}
