//! Two tables with a key: what only one of them has, and what differs.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{StringBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use recon_core::row_digest::{Value, append, digest};

use crate::TableError;
use crate::attribute::{AttributeColumn, AttributeKind, array_of};
use crate::bytes_column::{BytesColumn, is_binary, is_text};
use crate::threads::{checked_threads, in_ranges};

/// Most attributes of a comparison: each is a bit of the mask.
pub const ATTRIBUTES_MAX: usize = 64;

/// One of the two tables.
#[derive(Debug)]
pub struct Side {
    /// Its columns; those that are neither key nor attribute are not looked at.
    pub schema: SchemaRef,
    /// Its rows.
    pub batches: Vec<RecordBatch>,
}

impl Side {
    /// A column as one array. `side` is what the table is called where it is missing.
    pub(crate) fn column(&self, side: &str, column: &str) -> Result<ArrayRef, TableError> {
        let field = field_of(side, self, column)?;
        let chunks = self.batches.iter().filter_map(|batch| batch.column_by_name(column));
        crate::columns::gathered(chunks.map(|chunk| Ok(Arc::clone(chunk))), field.data_type())
    }
}

/// What to compare by, and how.
#[derive(Debug)]
pub struct Comparison {
    /// The column that says which rows belong together.
    pub key: String,
    /// The columns that are compared, in the order of the mask's bits.
    pub attributes: Vec<String>,
    /// Seed of the row digests; drawn anew for each run.
    pub seed: u64,
    /// Threads that make digests and sort.
    pub threads: usize,
}

/// How many keys came out as what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompareCounts {
    /// Keys with equal rows on both sides.
    pub unchanged: u64,
    /// Keys of the desired side alone.
    pub added: u64,
    /// Keys of the observed side alone.
    pub removed: u64,
    /// Keys whose rows differ.
    pub changed: u64,
    /// Keys that stand more than once on a side, counted for each such side.
    pub duplicate: u64,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Added,
    Removed,
    Changed,
    DuplicateDesired,
    DuplicateObserved,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::DuplicateDesired => "duplicate-desired",
            Self::DuplicateObserved => "duplicate-observed",
        }
    }
}

/// One line of the result: the rows it was made from, and the attributes that differ.
struct Finding {
    kind: Kind,
    desired: Option<usize>,
    observed: Option<usize>,
    mask: u64,
    count: u32,
}

/// A side ready to be walked: its columns, the digest of each row, and the rows in key order.
struct Prepared {
    keys: BytesColumn,
    attributes: Vec<AttributeColumn>,
    digests: Vec<u128>,
    order: Vec<usize>,
}

/// Compare two tables.
///
/// The result has the columns `kind`, `key`, `mask`, `before`, `after` and `count` (see `_core.pyi`), in key order, and is the same
/// whatever the order of rows, the batches and the threads.
///
/// # Errors
/// When a column is missing, of a type that is not compared or of different types on the two sides; when a key is
/// null; when there are more attributes than the mask has bits.
pub fn compare(
    desired: &Side,
    observed: &Side,
    order: &Comparison,
) -> Result<(RecordBatch, CompareCounts), TableError> {
    if order.attributes.len() > ATTRIBUTES_MAX {
        return Err(TableError::Argument {
            problem: "attributes must be 64 at most",
            value: order.attributes.len().to_string(),
        });
    }
    checked_threads(order.threads)?;
    let kinds = attribute_kinds(desired, observed, order)?;
    let key_kind = key_kind(desired, observed, &order.key)?;
    let wanted = Prepared::of("desired", desired, order)?;
    let seen = Prepared::of("observed", observed, order)?;
    let (findings, counts) = walk(&wanted, &seen);
    Ok((table_of(&findings, &wanted, &seen, order, key_kind, &kinds)?, counts))
}

/// The digest of each row of a table over these attributes, as 16 bytes, most significant first.
///
/// # Errors
/// As [`compare`].
pub fn row_digests(table: &Side, attributes: &[String], seed: u64) -> Result<Vec<[u8; 16]>, TableError> {
    let columns = attribute_columns("table", table, attributes)?;
    let rows = table.batches.iter().map(RecordBatch::num_rows).sum();
    Ok(digests_of(&columns, 0..rows, seed).into_iter().map(u128::to_be_bytes).collect())
}

fn attribute_kinds(desired: &Side, observed: &Side, order: &Comparison) -> Result<Vec<AttributeKind>, TableError> {
    order
        .attributes
        .iter()
        .map(|name| {
            let (one, other) = (field_of("desired", desired, name)?, field_of("observed", observed, name)?);
            AttributeKind::shared(name, one.data_type(), other.data_type())
        })
        .collect()
}

fn key_kind(desired: &Side, observed: &Side, key: &str) -> Result<AttributeKind, TableError> {
    let (one, other) = (field_of("desired", desired, key)?, field_of("observed", observed, key)?);
    for field in [one, other] {
        if !is_text(field.data_type()) && !is_binary(field.data_type()) {
            return Err(TableError::wrong_type(key, "strings or bytes", field.data_type()));
        }
    }
    AttributeKind::shared(key, one.data_type(), other.data_type())
}

fn field_of<'a>(side: &str, table: &'a Side, column: &str) -> Result<&'a Field, TableError> {
    table.schema.field_with_name(column).map_err(|_| TableError::Column {
        problem: format!("the {side} table has no such column"),
        column: column.to_owned(),
    })
}

fn attribute_columns(side: &str, table: &Side, names: &[String]) -> Result<Vec<AttributeColumn>, TableError> {
    names.iter().map(|name| AttributeColumn::of(name, &table.column(side, name)?)).collect()
}

impl Prepared {
    fn of(side: &str, table: &Side, order: &Comparison) -> Result<Self, TableError> {
        let array = table.column(side, &order.key)?;
        if array.logical_null_count() > 0 {
            return Err(TableError::Column {
                problem: format!("the {side} side has a null key"),
                column: order.key.clone(),
            });
        }
        let keys = BytesColumn::of(&array)
            .ok_or_else(|| TableError::wrong_type(&order.key, "strings or bytes", array.data_type()))?;
        let attributes = attribute_columns(side, table, &order.attributes)?;
        let digests = in_ranges(keys.len(), order.threads, |rows| digests_of(&attributes, rows, order.seed)).concat();
        let order = sorted_rows(&keys, order.threads);
        Ok(Self { keys, attributes, digests, order })
    }

    /// The key of a row; keys are never null once prepared.
    fn key(&self, row: usize) -> &[u8] {
        self.keys.get(row).unwrap_or_default()
    }

    /// The rows of the key that stands at `place` of the order.
    fn group(&self, place: usize) -> &[usize] {
        let Some(first) = self.order.get(place) else { return &[] };
        let key = self.key(*first);
        let rest = &self.order[place..];
        let length = rest.iter().take_while(|row| self.key(**row) == key).count();
        &rest[..length]
    }
}

fn digests_of(attributes: &[AttributeColumn], rows: Range<usize>, seed: u64) -> Vec<u128> {
    let mut canonical = Vec::with_capacity(256);
    rows.map(|row| {
        canonical.clear();
        for attribute in attributes {
            append(&mut canonical, attribute.value(row));
        }
        digest(&canonical, seed)
    })
    .collect()
}

/// Row numbers in order of key, then of row: sorted in pieces, then merged by a stable sort of nearly sorted runs.
fn sorted_rows(keys: &BytesColumn, threads: usize) -> Vec<usize> {
    let by_key = |one: &(u64, usize), other: &(u64, usize)| {
        one.0.cmp(&other.0).then_with(|| keys.get(one.1).cmp(&keys.get(other.1))).then_with(|| one.1.cmp(&other.1))
    };
    let pieces = in_ranges(keys.len(), threads, |range| {
        let mut piece = range.map(|row| (front(keys.get(row)), row)).collect::<Vec<_>>();
        piece.sort_unstable_by(by_key);
        piece
    });
    let mut rows = pieces.concat();
    rows.sort_by(by_key);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The first eight bytes of a key as a number in the order of the bytes; most comparisons end there.
fn front(key: Option<&[u8]>) -> u64 {
    let mut first = [0_u8; 8];
    for (to, from) in first.iter_mut().zip(key.unwrap_or_default()) {
        *to = *from;
    }
    u64::from_be_bytes(first)
}

/// Walk both sides in key order.
fn walk(desired: &Prepared, observed: &Prepared) -> (Vec<Finding>, CompareCounts) {
    let (mut findings, mut counts) = (Vec::new(), CompareCounts::default());
    let (mut at_desired, mut at_observed) = (0, 0);
    loop {
        let (wanted, seen) = (desired.group(at_desired), observed.group(at_observed));
        let order = match (wanted.first(), seen.first()) {
            (None, None) => return (findings, counts),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => desired.key(*one).cmp(observed.key(*other)),
        };
        let (wanted, seen) = match order {
            Ordering::Less => (wanted, &[][..]),
            Ordering::Equal => (wanted, seen),
            Ordering::Greater => (&[][..], seen),
        };
        at_desired += wanted.len();
        at_observed += seen.len();
        judge(desired, observed, wanted, seen, &mut findings, &mut counts);
    }
}

/// Judge one key by its rows on the two sides.
fn judge(
    desired: &Prepared,
    observed: &Prepared,
    wanted: &[usize],
    seen: &[usize],
    findings: &mut Vec<Finding>,
    counts: &mut CompareCounts,
) {
    let mut tell = |kind, desired, observed, mask, count: usize| {
        findings.push(Finding { kind, desired, observed, mask, count: u32::try_from(count).unwrap_or(u32::MAX) });
    };
    match (wanted, seen) {
        ([one], [other]) => {
            if desired.digests.get(*one) == observed.digests.get(*other) {
                counts.unchanged += 1;
            } else {
                counts.changed += 1;
                tell(Kind::Changed, Some(*one), Some(*other), mask_of(desired, *one, observed, *other), 1);
            }
        }
        ([one], []) => {
            counts.added += 1;
            tell(Kind::Added, Some(*one), None, 0, 1);
        }
        ([], [other]) => {
            counts.removed += 1;
            tell(Kind::Removed, None, Some(*other), 0, 1);
        }
        _ => {
            if let [first, _, ..] = wanted {
                counts.duplicate += 1;
                tell(Kind::DuplicateDesired, Some(*first), None, 0, wanted.len());
            }
            if let [first, _, ..] = seen {
                counts.duplicate += 1;
                tell(Kind::DuplicateObserved, None, Some(*first), 0, seen.len());
            }
        }
    }
}

/// The attributes whose values differ, by value.
fn mask_of(desired: &Prepared, one: usize, observed: &Prepared, other: usize) -> u64 {
    let pairs = desired.attributes.iter().zip(&observed.attributes).enumerate();
    pairs.fold(
        0,
        |mask, (place, (wanted, seen))| {
            if wanted.value(one) == seen.value(other) { mask } else { mask | 1 << place }
        },
    )
}

fn table_of(
    findings: &[Finding],
    desired: &Prepared,
    observed: &Prepared,
    order: &Comparison,
    key_kind: AttributeKind,
    kinds: &[AttributeKind],
) -> Result<RecordBatch, TableError> {
    let keys = array_of(
        key_kind,
        findings.iter().map(|finding| match (finding.desired, finding.observed) {
            (Some(row), _) => Value::Bytes(desired.key(row)),
            (None, Some(row)) => Value::Bytes(observed.key(row)),
            (None, None) => Value::Null,
        }),
    );
    let (mut names, mut masks, mut numbers) = (StringBuilder::new(), UInt64Builder::new(), UInt32Builder::new());
    for finding in findings {
        names.append_value(finding.kind.name());
        masks.append_value(finding.mask);
        numbers.append_value(finding.count);
    }
    let fields: Fields =
        order.attributes.iter().zip(kinds).map(|(name, kind)| Field::new(name, kind.layout(), true)).collect();
    let before = struct_of(findings, observed, &fields, kinds, |finding| finding.observed);
    let after = struct_of(findings, desired, &fields, kinds, |finding| finding.desired);
    let schema = Schema::new(vec![
        Field::new("kind", DataType::Utf8, false),
        Field::new("key", key_kind.layout(), false),
        Field::new("mask", DataType::UInt64, false),
        Field::new("before", before.data_type().clone(), true),
        Field::new("after", after.data_type().clone(), true),
        Field::new("count", DataType::UInt32, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(names.finish()),
        keys,
        Arc::new(masks.finish()),
        Arc::new(before),
        Arc::new(after),
        Arc::new(numbers.finish()),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// The attributes of one side: of a changed key those that differ, of an added or removed one all, of a duplicate none.
fn struct_of(
    findings: &[Finding],
    side: &Prepared,
    fields: &Fields,
    kinds: &[AttributeKind],
    row_of: impl Fn(&Finding) -> Option<usize>,
) -> StructArray {
    let shown = |finding: &Finding| match finding.kind {
        Kind::DuplicateDesired | Kind::DuplicateObserved => None,
        Kind::Added | Kind::Removed | Kind::Changed => row_of(finding),
    };
    let columns = side.attributes.iter().zip(kinds).enumerate().map(|(place, (attribute, kind))| {
        let values = findings.iter().map(|finding| match shown(finding) {
            Some(row) if finding.kind != Kind::Changed || finding.mask & (1 << place) != 0 => attribute.value(row),
            _ => Value::Null,
        });
        array_of(*kind, values)
    });
    let present = findings.iter().map(|finding| shown(finding).is_some()).collect::<NullBuffer>();
    if fields.is_empty() {
        return StructArray::new_empty_fields(findings.len(), Some(present));
    }
    StructArray::new(fields.clone(), columns.collect(), Some(present))
}
