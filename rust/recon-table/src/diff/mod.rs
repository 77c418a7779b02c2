//! `diff`: two tables with a key, of any size, within a limit of memory.
//!
//! Both sides are read once, column by column, into records of key, digest of the attributes and place, which fall into parts of
//! the order of keys (`read`). A part's records are sorted and walked (`matching`). The rows that are told are read a second
//! time for their values (`gather`), which fall into segments of the findings, and leave in the order of keys (`result`).
//! Whatever lies between these steps is in a `store`, which spills to a file without a name when memory ends.

mod column;
mod control;
mod gather;
mod input;
mod keys;
mod matching;
mod pages;
mod read;
mod result;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow_schema::DataType;
use recon_core::compare::Kind;
use recon_core::normalise::Normalisation;
use recon_core::uuid::parse_text;

use self::input::{Input, Unit};
use self::keys::{AnyKeys, FixedKeys, KeyReading, Layout, Parts};
use self::read::Digester;
use self::result::{KeyTelling, Telling};
use self::store::{Budget, Store};
use crate::attribute::AttributeKind;
use crate::bytes_column::{is_binary, is_text};
use crate::threads::checked_threads;
use crate::{Rows, TableError};

pub use self::control::Control;
pub use self::keys::KeyForm;
pub use self::result::Findings;

/// Most attributes of a comparison.
pub const ATTRIBUTES_MAX: usize = 64;
/// The least memory a comparison can be held to.
pub const MEMORY_LIMIT_MIN: usize = 256 << 20;

/// Memory that is not ours to give: the interpreter, its libraries, and what the allocator keeps.
const BASE_BYTES: usize = 128 << 20;
/// Memory of one column of one unit that is being read: a page, its compressed form and a dictionary.
const COLUMN_BYTES: usize = 4 << 20;
/// Bytes of both sides' records that a part should have: they are sorted in the cache.
const PART_BYTES: usize = 3 << 20;
/// Most parts, so that open chunks stay few.
const PARTS_MAX: usize = 1_024;

/// What to compare by, and how.
#[derive(Debug)]
pub struct Comparison {
    /// The column that says which rows belong together.
    pub key: String,
    /// What keys are; `None` to be found out.
    pub key_form: Option<KeyForm>,
    /// The columns that are compared.
    pub attributes: Vec<String>,
    /// Compare values and not digests of rows.
    pub exact: bool,
    /// Ways in which texts are made alike before they are compared, by attribute.
    pub normalise: BTreeMap<String, Vec<Normalisation>>,
    /// Seed of the digests; drawn anew for each run.
    pub seed: u64,
    /// Most memory, in bytes.
    pub memory_limit: usize,
    /// Threads at work.
    pub threads: usize,
    /// Where temporary files may be.
    pub folder: PathBuf,
    /// Go on when both sides have rows and no key in common.
    pub allow_disjoint: bool,
}

/// How many rows were read, and how many keys came out as what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffCounts {
    /// Rows of the source.
    pub source_rows: u64,
    /// Rows of the directory.
    pub directory_rows: u64,
    /// Keys that stand on both sides, however often.
    pub common: u64,
    /// Keys with equal rows on both sides.
    pub unchanged: u64,
    /// Keys of the source alone.
    pub added: u64,
    /// Keys of the directory alone.
    pub removed: u64,
    /// Keys whose rows differ.
    pub changed: u64,
    /// Keys that stand more than once in the source.
    pub duplicate_source: u64,
    /// Keys that stand more than once in the directory.
    pub duplicate_directory: u64,
    /// Lines that are told.
    pub lines: u64,
    /// Bytes that went to temporary files.
    pub spilled_bytes: u64,
}

impl DiffCounts {
    fn count(&mut self, kind: Kind) {
        self.lines += 1;
        *match kind {
            Kind::Added => &mut self.added,
            Kind::Removed => &mut self.removed,
            Kind::Changed => &mut self.changed,
            Kind::DuplicateSource => &mut self.duplicate_source,
            Kind::DuplicateDirectory => &mut self.duplicate_directory,
        } += 1;
    }

    fn add(&mut self, other: &Self) {
        self.common += other.common;
        self.unchanged += other.unchanged;
        self.added += other.added;
        self.removed += other.removed;
        self.changed += other.changed;
        self.duplicate_source += other.duplicate_source;
        self.duplicate_directory += other.duplicate_directory;
        self.lines += other.lines;
    }
}

/// Everything the steps share.
struct Job {
    sides: [Input; 2],
    /// Of each side, what the wanted columns hold: the key's first.
    kinds: [Vec<AttributeKind>; 2],
    readings: [KeyReading; 2],
    form: KeyForm,
    ways: Vec<Vec<Normalisation>>,
    key: String,
    names: Vec<String>,
    allow_disjoint: bool,
    exact: bool,
    seed: u64,
    threads: usize,
    budget_bytes: usize,
    part_bytes_max: usize,
    budget: Arc<Budget>,
    folder: PathBuf,
    control: Arc<Control>,
}

/// Compare two tables.
///
/// The findings have the columns `kind`, `key`, `differs`, `before`, `after` and `count` (see `_core.pyi`), in the order of keys, and are
/// the same whatever the order of rows, the batches, the threads and the limit of memory.
///
/// # Errors
/// When a column is missing, of a type that is not compared or of different types on the two sides; when a key is null or not of
/// its form; when a file is damaged; when a temporary file cannot be written; when `control` says to stop.
pub fn diff(source: Rows, directory: Rows, order: Comparison, control: &Arc<Control>) -> Result<Findings, TableError> {
    let job = Job::of(source, directory, order, control)?;
    match job.form {
        KeyForm::Uuid => job.run::<FixedKeys<16>>(),
        KeyForm::Integer => job.run::<FixedKeys<8>>(),
        KeyForm::Text | KeyForm::Binary => job.run::<AnyKeys>(),
    }
}

impl Job {
    fn of(source: Rows, directory: Rows, order: Comparison, control: &Arc<Control>) -> Result<Self, TableError> {
        check(&order)?;
        let wanted = std::iter::once(&order.key).chain(&order.attributes).map(String::as_str).collect::<Vec<_>>();
        control.begin("open", 0);
        let stream_bytes = order.memory_limit / 16;
        let sides = [
            Input::open("source", source, &wanted, (&order.folder, stream_bytes), control)?,
            Input::open("directory", directory, &wanted, (&order.folder, stream_bytes), control)?,
        ];
        let form = match order.key_form {
            Some(form) => form,
            None => found_form(&sides, &order.key)?,
        };
        let kinds = kinds(&sides, form, &order)?;
        let ways = order.attributes.iter().map(|name| order.normalise.get(name).cloned().unwrap_or_default());
        let ways = ways.collect::<Vec<_>>();
        for ((name, ways), kind) in order.attributes.iter().zip(&ways).zip(&kinds[0][1..]) {
            if !ways.is_empty() && *kind != AttributeKind::Text {
                return Err(TableError::Column {
                    problem: "only texts are normalised".to_owned(),
                    column: name.clone(),
                });
            }
        }
        let readings = [0, 1].map(|side| KeyReading::of(form, sides[side].data_type(0)));
        let reading_bytes = order.threads * wanted.len() * COLUMN_BYTES;
        let left = order.memory_limit.saturating_sub(BASE_BYTES + reading_bytes).max(16 << 20);
        // Beside the records: open chunks (an eighth), parts being sorted, batches being written.
        let part_bytes_max = (left / 8 / order.threads).clamp(PART_BYTES * 2, 512 << 20);
        let budget_bytes = left / 2;
        Ok(Self {
            sides,
            kinds,
            readings,
            form,
            ways,
            key: order.key,
            names: order.attributes,
            allow_disjoint: order.allow_disjoint,
            exact: order.exact,
            seed: order.seed,
            threads: order.threads,
            budget_bytes,
            part_bytes_max,
            budget: Arc::new(Budget::new(budget_bytes)),
            folder: order.folder,
            control: Arc::clone(control),
        })
    }

    fn run<L: Layout>(self) -> Result<Findings, TableError> {
        let rows = self.sides.iter().map(Input::rows).sum::<u64>();
        let key_bytes = if self.form == KeyForm::Integer { 8 } else { 16 };
        let record = key_bytes + keys::TAIL as u64;
        let parts = usize::try_from(rows * record / PART_BYTES as u64).unwrap_or(PARTS_MAX).clamp(1, PARTS_MAX);
        let parts = Parts::of(if parts == 1 { Vec::new() } else { read::sampled_keys(&self)? }, parts);
        let store = Store::new(2 * parts.count(), &self.budget, &self.folder);
        read::read_all::<L>(&self, &parts, &store)?;
        let kept = Store::new(0, &self.budget, &self.folder);
        let wanted = Store::new(self.units().len(), &self.budget, &self.folder);
        let mut matched = matching::match_all::<L>(&self, parts.count(), &store, &kept, &wanted)?;
        drop(store);
        matched.counts.source_rows = self.sides[0].rows();
        matched.counts.directory_rows = self.sides[1].rows();
        self.refuse_disjoint(&matched.counts)?;
        let values = if self.names.is_empty() { None } else { Some(gather::gather_all(&self, &matched, &wanted)?) };
        drop(wanted);
        matched.counts.spilled_bytes = self.budget.spilled();
        let telling = Telling {
            key: KeyTelling::of(self.form, is_text(self.sides[0].data_type(0))),
            kinds: self.kinds[0][1..].to_vec(),
            names: self.names,
            ways: self.ways,
            kept,
            values,
        };
        Ok(Findings::new(
            telling,
            matched.segments,
            (self.threads, self.budget_bytes / 4),
            &self.control,
            matched.counts,
        ))
    }

    /// Everything of both sides would be told: before that is gathered, the caller is asked whether it can be meant.
    fn refuse_disjoint(&self, counts: &DiffCounts) -> Result<(), TableError> {
        let disjoint = counts.source_rows > 0 && counts.directory_rows > 0 && counts.common == 0;
        if self.allow_disjoint || !disjoint {
            return Ok(());
        }
        Err(TableError::Column { problem: "the sides have no key in common".to_owned(), column: self.key.clone() })
    }

    /// The units of both sides with their sides: those of the source first.
    fn units(&self) -> Vec<(usize, &Unit)> {
        let of = |side: usize| self.sides[side].units.iter().map(move |unit| (side, unit));
        of(0).chain(of(1)).collect()
    }

    fn digesters(&self) -> Vec<Digester<'_>> {
        (0..).zip(&self.ways).map(|(place, ways)| Digester::new(self.seed, place, ways)).collect()
    }

    /// The error of a content that is no key.
    fn no_key(&self, input: &Input, unit: &Unit) -> TableError {
        let problem = match self.form {
            KeyForm::Uuid => "a key is no UUID (keys of another form: name it, as key form text or binary)".to_owned(),
            _ => format!("a key is longer than {} bytes", keys::KEY_BYTES_MAX),
        };
        input.wrong(unit, 0, problem)
    }
}

/// Refuse what no comparison can be made by.
fn check(order: &Comparison) -> Result<(), TableError> {
    checked_threads(order.threads)?;
    if order.attributes.len() > ATTRIBUTES_MAX {
        let value = order.attributes.len().to_string();
        return Err(TableError::Argument { problem: "attributes must be 64 at most", value });
    }
    if order.memory_limit < MEMORY_LIMIT_MIN {
        let value = order.memory_limit.to_string();
        return Err(TableError::Argument { problem: "memory_limit must be 256 MiB at least", value });
    }
    let mut seen = BTreeSet::new();
    // Two columns of one name could not be told apart.
    if let Some(name) = order.attributes.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(TableError::Column { problem: "attribute is asked twice".to_owned(), column: name.clone() });
    }
    if let Some(name) = order.normalise.keys().find(|name| !seen.contains(name.as_str())) {
        return Err(TableError::Column {
            problem: "a normalisation is asked of what is no attribute".to_owned(),
            column: name.clone(),
        });
    }
    Ok(())
}

/// The form of the keys by their types, and of text by the first key of each side.
fn found_form(sides: &[Input; 2], key: &str) -> Result<KeyForm, TableError> {
    let types = [sides[0].data_type(0), sides[1].data_type(0)];
    let sixteen = |data_type: &DataType| matches!(data_type, DataType::FixedSizeBinary(16));
    let fits = |form: KeyForm| types.iter().all(|found| form.takes(found) || **found == DataType::Null);
    if types.iter().any(|found| sixteen(found)) && fits(KeyForm::Uuid) {
        return Ok(KeyForm::Uuid);
    }
    let firsts = [first_is_uuid(&sides[0], key)?, first_is_uuid(&sides[1], key)?];
    if fits(KeyForm::Text) && firsts.contains(&Some(true)) && !firsts.contains(&Some(false)) {
        return Ok(KeyForm::Uuid);
    }
    if let Some(form) = [KeyForm::Text, KeyForm::Binary, KeyForm::Integer].into_iter().find(|form| fits(*form)) {
        return Ok(form);
    }
    Err(key_types_differ(key, types))
}

fn key_types_differ(key: &str, types: [&DataType; 2]) -> TableError {
    TableError::Column {
        problem: format!(
            "the key must be text, bytes or integers, and alike on both sides: {} and {}",
            types[0], types[1]
        ),
        column: key.to_owned(),
    }
}

/// Whether a side's first key is a UUID of 36 characters; `None` when it has no rows, or they are no text.
fn first_is_uuid(input: &Input, key: &str) -> Result<Option<bool>, TableError> {
    let data_type = input.data_type(0);
    let (Some(unit), true) = (input.units.first(), is_text(data_type)) else { return Ok(None) };
    let kind = AttributeKind::of(key, data_type)?.unwrap_or(AttributeKind::Text);
    let mut columns = input.open_unit(unit, 0..1, &[kind])?;
    input.guarded(unit, 0, || {
        let mut found = None;
        if let Some(run) = columns[0].next(1)? {
            run.each(|_, content| {
                found = Some(content.is_some_and(|text| text.len() == 36 && parse_text(text).is_some()));
            });
        }
        Ok(found)
    })
}

/// What the wanted columns of each side hold.
fn kinds(sides: &[Input; 2], form: KeyForm, order: &Comparison) -> Result<[Vec<AttributeKind>; 2], TableError> {
    let types = [sides[0].data_type(0), sides[1].data_type(0)];
    if !types.iter().all(|found| form.takes(found) || **found == DataType::Null) {
        return Err(key_types_differ(&order.key, types));
    }
    let mut kinds = types.map(|found| {
        vec![match form {
            KeyForm::Integer => AttributeKind::Integer,
            _ if is_binary(found) => AttributeKind::Binary,
            _ => AttributeKind::Text,
        }]
    });
    for (place, name) in order.attributes.iter().enumerate() {
        let types = [sides[0].data_type(place + 1), sides[1].data_type(place + 1)];
        let kind = AttributeKind::shared(name, types[0], types[1])?;
        for kinds in &mut kinds {
            kinds.push(kind.clone());
        }
    }
    Ok(kinds)
}
