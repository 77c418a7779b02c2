//! What is told: findings with their values as batches of one size, as a stream or a Parquet file.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray, StructArray, UInt64Array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use recon_core::compare::Kind;
use recon_core::normalise::{Normalisation, normalised};

use super::gather::{NULL_LEN, content_len};
use super::keys::{KeyForm, integer_of};
use super::matching::Segment;
use super::read::slot;
use super::store::{Store, lock};
use super::{Control, DiffCounts};
use crate::TableError;
use crate::attribute::{AttributeKind, Building};
use crate::part_file::PartFile;
use crate::threads::each_unit;

/// Rows of a batch that is told, and of a row group that is written, but for the last.
const BATCH_ROWS: usize = 65_536;

/// Findings that wait to be told. It needs neither the sides nor their files any more.
pub struct Findings {
    pub(super) schema: SchemaRef,
    pub(super) telling: Arc<Telling>,
    pub(super) segments: VecDeque<Segment>,
    pub(super) threads: usize,
    /// Bytes of findings and values that threads may work at once.
    told_bytes_max: usize,
    pub(super) control: Arc<Control>,
    /// Rows told but not yet handed out.
    waiting: Vec<RecordBatch>,
    counts: Arc<Mutex<DiffCounts>>,
}

/// What is needed to make rows of findings.
pub(super) struct Telling {
    pub(super) key: KeyTelling,
    pub(super) names: Vec<String>,
    pub(super) kinds: Vec<AttributeKind>,
    pub(super) ways: Vec<Vec<Normalisation>>,
    pub(super) kept: Store,
    pub(super) values: Option<Store>,
}

/// How keys leave.
#[derive(Clone, Copy)]
pub(super) enum KeyTelling {
    UuidText,
    UuidBytes,
    Text,
    Binary,
    Integer,
}

impl KeyTelling {
    pub(super) fn of(form: KeyForm, is_text: bool) -> Self {
        match form {
            KeyForm::Uuid if is_text => Self::UuidText,
            KeyForm::Uuid => Self::UuidBytes,
            KeyForm::Text => Self::Text,
            KeyForm::Binary => Self::Binary,
            KeyForm::Integer => Self::Integer,
        }
    }

    fn layout(self) -> DataType {
        match self {
            Self::UuidText | Self::Text => DataType::LargeUtf8,
            Self::UuidBytes => DataType::FixedSizeBinary(16),
            Self::Binary => DataType::LargeBinary,
            Self::Integer => DataType::Int64,
        }
    }

    fn array(self, keys: &[&[u8]]) -> Result<ArrayRef, TableError> {
        let mut built = match self {
            Self::UuidText | Self::Text => Building::of(&AttributeKind::Text),
            Self::Binary => Building::of(&AttributeKind::Binary),
            Self::Integer => Building::of(&AttributeKind::Integer),
            Self::UuidBytes => {
                let keys = keys.iter().map(|key| key.first_chunk::<16>().copied());
                return Ok(Arc::new(crate::identifiers::fixed_size_binary(keys)?));
            }
        };
        for key in keys {
            match self {
                Self::UuidText => built.push(Some(&uuid_text(key)))?,
                Self::Integer => built.push(Some(&integer_of(key).to_le_bytes()))?,
                _ => built.push(Some(key))?,
            }
        }
        built.finish()
    }
}

/// The 36 lower-case characters of a UUID (RFC 9562, section 4).
fn uuid_text(key: &[u8]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for byte in key.iter().take(16) {
        if matches!(at, 8 | 13 | 18 | 23) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

impl Findings {
    pub(super) fn new(
        telling: Telling,
        segments: Vec<Segment>,
        (threads, told_bytes_max): (usize, usize),
        control: &Arc<Control>,
        counts: DiffCounts,
    ) -> Self {
        control.begin("write", segments.iter().map(|segment| u64::from(segment.findings)).sum());
        Self {
            schema: telling.schema(),
            telling: Arc::new(telling),
            segments: segments.into(),
            threads,
            told_bytes_max,
            control: Arc::clone(control),
            waiting: Vec::new(),
            counts: Arc::new(Mutex::new(counts)),
        }
    }

    /// The schema of the batches.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// How many keys came out as what: final when all batches were handed out, or at once when digests decided.
    #[must_use]
    pub fn growing_counts(&self) -> Arc<Mutex<DiffCounts>> {
        Arc::clone(&self.counts)
    }

    /// Write all of it to a Parquet file, which appears when it is whole.
    ///
    /// # Errors
    /// When the file cannot be written; nothing is left then.
    pub fn write(mut self, place: PathBuf) -> Result<DiffCounts, TableError> {
        let mut file = PartFile::create_private(place, &self.schema, &["key"], usize::MAX)?;
        let (threads, bytes_max) = (self.threads, self.told_bytes_max);
        let wave = || {
            let (mut wave, mut bytes) = (Vec::with_capacity(threads), 0);
            while wave.len() < threads && bytes < bytes_max {
                let Some(batch) = self.next_batch()? else { break };
                bytes += batch.get_array_memory_size();
                wave.push(batch);
            }
            Ok(wave)
        };
        file.write_groups(threads, wave, Ok)?;
        file.publish()?;
        Ok(lock(&self.counts).clone())
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, TableError> {
        loop {
            let rows = self.waiting.iter().map(RecordBatch::num_rows).sum::<usize>();
            if rows >= BATCH_ROWS || (self.segments.is_empty() && rows > 0) {
                return self.batch().map(Some);
            }
            if self.segments.is_empty() {
                return Ok(None);
            }
            self.tell_more()?;
        }
    }

    /// The first of the waiting rows as one batch.
    fn batch(&mut self) -> Result<RecordBatch, TableError> {
        let all = concat_batches(&self.schema, &self.waiting)?;
        self.waiting.clear();
        if all.num_rows() > BATCH_ROWS {
            self.waiting.push(all.slice(BATCH_ROWS, all.num_rows() - BATCH_ROWS));
        }
        Ok(all.slice(0, BATCH_ROWS.min(all.num_rows())))
    }

    /// The next segments: as many as threads and enough for a batch, while they fit into memory.
    fn next_segments(&mut self) -> Vec<Mutex<Option<Segment>>> {
        let (mut taken, mut findings, mut bytes) = (Vec::new(), 0, 0);
        while taken.len() < self.threads || findings < BATCH_ROWS {
            let Some(segment) = self.segments.pop_front() else { break };
            bytes += self.telling.stored_bytes(&segment);
            if bytes > self.told_bytes_max && !taken.is_empty() {
                self.segments.push_front(segment);
                break;
            }
            findings += segment.findings as usize;
            taken.push(Mutex::new(Some(segment)));
        }
        taken
    }

    /// Make rows of the next segments.
    fn tell_more(&mut self) -> Result<(), TableError> {
        let taken = self.next_segments();
        let made = taken.iter().map(|_| Mutex::new(None)).collect::<Vec<_>>();
        each_unit(taken.len(), self.threads, |next| {
            while let Some(at) = next() {
                let Some(segment) = lock(&taken[at]).take() else { continue };
                let findings = u64::from(segment.findings);
                let (batch, equal) = self.telling.batch(segment, &self.schema)?;
                *lock(&made[at]) = Some(batch);
                let mut counts = lock(&self.counts);
                counts.changed -= equal;
                counts.unchanged += equal;
                counts.lines -= equal;
                drop(counts);
                self.control.advance(findings)?;
            }
            Ok(())
        })?;
        self.waiting.extend(
            made.into_iter().filter_map(|batch| batch.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)),
        );
        Ok(())
    }
}

impl Iterator for Findings {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().map_err(|error| ArrowError::ExternalError(Box::new(error))).transpose()
    }
}

impl arrow_array::RecordBatchReader for Findings {
    fn schema(&self) -> SchemaRef {
        self.schema()
    }
}

/// A finding as it is read back.
struct Line<'a> {
    kind: Kind,
    count: u64,
    key: &'a [u8],
    mask: u64,
}

/// Values of one side of a segment: the record of each finding that has one.
struct Values {
    records: Vec<u8>,
    offsets: Vec<Option<u32>>,
}

impl Values {
    fn read(store: Option<&Store>, segment: &Segment, side: usize) -> Result<Self, TableError> {
        let mut records = Vec::new();
        if let Some(store) = store {
            store.gather(slot(segment.number as usize, side), &mut records)?;
        }
        let mut offsets = vec![None; segment.findings as usize];
        let mut at = 0;
        while at < records.len() {
            let four = |start: usize| u32::from_le_bytes(records[start..].first_chunk().copied().unwrap_or_default());
            // A segment's values are far below 4 GiB, but nothing says so before they are read.
            let offset = u32::try_from(at + 8).map_err(|_| TableError::Argument {
                problem: "the values of 16,384 findings must be below 4 GiB",
                value: records.len().to_string(),
            })?;
            offsets[four(at) as usize] = Some(offset);
            at += 8 + four(at + 4) as usize;
        }
        Ok(Self { records, offsets })
    }

    /// The contents of a finding's attributes one after the other.
    fn of(&self, at: usize) -> Option<Contents<'_>> {
        self.offsets[at].map(|offset| Contents { records: &self.records, at: offset as usize })
    }
}

struct Contents<'a> {
    records: &'a [u8],
    at: usize,
}

impl<'a> Contents<'a> {
    /// The next attribute's content.
    fn take(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.records[self.at..].first_chunk().copied().unwrap_or_default());
        let start = self.at + 4;
        self.at = start + content_len(length);
        (length != NULL_LEN).then(|| &self.records[start..self.at])
    }
}

impl Telling {
    fn schema(&self) -> SchemaRef {
        let mut fields = vec![
            Field::new("kind", DataType::Utf8, false),
            Field::new("key", self.key.layout(), false),
            Field::new("differs", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), false),
        ];
        // Without attributes there are no values to show, and Parquet has no structs without fields.
        if !self.names.is_empty() {
            let values = DataType::Struct(self.fields());
            fields.extend([Field::new("before", values.clone(), true), Field::new("after", values, true)]);
        }
        fields.push(Field::new("count", DataType::UInt64, false));
        Arc::new(Schema::new(fields))
    }

    fn fields(&self) -> Fields {
        self.names.iter().zip(&self.kinds).map(|(name, kind)| Field::new(name, kind.layout(), true)).collect()
    }

    /// Bytes of a segment's findings and values.
    fn stored_bytes(&self, segment: &Segment) -> usize {
        let values = |side| self.values.as_ref().map_or(0, |store| store.len(slot(segment.number as usize, side)));
        segment.records.len() + values(0) + values(1)
    }

    /// A segment's rows, and how many pairs turned out equal and are not among them.
    fn batch(&self, segment: Segment, schema: &SchemaRef) -> Result<(RecordBatch, u64), TableError> {
        let before = Values::read(self.values.as_ref(), &segment, 1)?;
        let after = Values::read(self.values.as_ref(), &segment, 0)?;
        let records = self.kept.take(segment.records)?;
        let mut lines = self.lines(&records, &before, &after);
        let all = lines.len();
        lines.retain(|(_, line)| line.kind != Kind::Changed || line.mask != 0);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(lines.iter().map(|(_, line)| Some(line.kind.name())).collect::<StringArray>()),
            self.key.array(&lines.iter().map(|(_, line)| line.key).collect::<Vec<_>>())?,
            self.differs(&lines),
        ];
        if !self.names.is_empty() {
            columns.extend([self.side(&lines, &before)?, self.side(&lines, &after)?]);
        }
        columns.push(Arc::new(UInt64Array::from_iter_values(lines.iter().map(|(_, line)| line.count))));
        let equal = (all - lines.len()) as u64;
        Ok((RecordBatch::try_new(Arc::clone(schema), columns)?, equal))
    }

    fn lines<'a>(&self, records: &'a [u8], before: &Values, after: &Values) -> Vec<(usize, Line<'a>)> {
        let (mut lines, mut at) = (Vec::new(), 0);
        while at < records.len() {
            let kind = Kind::ALL[usize::from(records[at])];
            let count = u64::from_le_bytes(records[at + 1..].first_chunk().copied().unwrap_or_default());
            let len = usize::from(u16::from_le_bytes([records[at + 9], records[at + 10]]));
            let key = &records[at + 11..at + 11 + len];
            at += 11 + len;
            let place = lines.len();
            let mask = match (before.of(place), after.of(place)) {
                (Some(one), Some(other)) => self.mask(one, other),
                _ => 0,
            };
            lines.push((place, Line { kind, count, key, mask }));
        }
        lines
    }

    /// Bit i: attribute i differs.
    fn mask(&self, mut one: Contents<'_>, mut other: Contents<'_>) -> u64 {
        let mut mask = 0;
        for (bit, ways) in self.ways.iter().enumerate() {
            let (one, other) = (one.take(), other.take());
            let differs = if ways.is_empty() {
                one != other
            } else {
                one.and_then(|content| normalised(ways, content)) != other.and_then(|content| normalised(ways, content))
            };
            mask |= u64::from(differs) << bit;
        }
        mask
    }

    fn differs(&self, lines: &[(usize, Line<'_>)]) -> ArrayRef {
        let mut built = ListBuilder::new(StringBuilder::new());
        for (_, line) in lines {
            for (bit, name) in self.names.iter().enumerate() {
                if line.mask & (1 << bit) != 0 {
                    built.values().append_value(name);
                }
            }
            built.append(true);
        }
        Arc::new(built.finish())
    }

    /// The attributes of one side: of a changed key those that differ, of an added or removed one all, of a duplicate none.
    fn side(&self, lines: &[(usize, Line<'_>)], values: &Values) -> Result<ArrayRef, TableError> {
        let mut built = self.kinds.iter().map(Building::of).collect::<Vec<_>>();
        for (place, line) in lines {
            let mut contents = values.of(*place);
            for (bit, built) in built.iter_mut().enumerate() {
                let content = contents.as_mut().and_then(Contents::take);
                let shown = line.kind != Kind::Changed || line.mask & (1 << bit) != 0;
                built.push(content.filter(|_| shown))?;
            }
        }
        let shown = |kind: Kind| !matches!(kind, Kind::DuplicateSource | Kind::DuplicateDirectory);
        let present = lines.iter().map(|(place, line)| shown(line.kind) && values.offsets[*place].is_some());
        let present = present.collect::<NullBuffer>();
        let columns = built.into_iter().map(Building::finish).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(StructArray::try_new(self.fields(), columns, Some(present))?))
    }
}
