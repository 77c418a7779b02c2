//! Two tables with a key: what only one of them has, and what differs.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, StructArray, UInt32Array, UInt64Array};
use arrow_buffer::NullBuffer;
use arrow_schema::{Field, Fields, Schema};
use recon_core::compare::{ATTRIBUTES_MAX, CompareCounts, Finding, Kind, Outcome, Rows};
use recon_core::row_digest::{Value, append, digest};

use crate::attribute::{AttributeColumn, AttributeKind, array_of};
use crate::bytes_column::{BytesColumn, is_binary, is_text};
use crate::threads::{checked_threads, in_ranges};
use crate::{Side, TableError};

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

/// A side ready to be walked: its columns, the digest of each row, and the rows in key order.
struct Prepared {
    keys: BytesColumn,
    attributes: Vec<AttributeColumn>,
    digests: Vec<u128>,
    order: Vec<u32>,
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
    check_once(&order.attributes)?;
    let kinds = attribute_kinds(desired, observed, order)?;
    let key_kind = key_kind(desired, observed, &order.key)?;
    let prepared = Compared {
        desired: &Prepared::of("desired", desired, order)?,
        observed: &Prepared::of("observed", observed, order)?,
        key_kind,
        kinds: &kinds,
        fields: order.attributes.iter().zip(&kinds).map(|(name, kind)| Field::new(name, kind.layout(), true)).collect(),
    };
    let Outcome { findings, counts } = recon_core::compare::compare(prepared.desired, prepared.observed);
    Ok((prepared.table_of(&findings)?, counts))
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

/// Refuse an attribute that is asked twice: two columns of one name could not be told apart.
fn check_once(attributes: &[String]) -> Result<(), TableError> {
    let mut seen = BTreeSet::new();
    match attributes.iter().find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(TableError::Column { problem: "attribute is asked twice".to_owned(), column: name.clone() }),
    }
}

fn attribute_kinds(desired: &Side, observed: &Side, order: &Comparison) -> Result<Vec<AttributeKind>, TableError> {
    order
        .attributes
        .iter()
        .map(|name| {
            let (one, other) = (desired.field("desired", name)?, observed.field("observed", name)?);
            AttributeKind::shared(name, one.data_type(), other.data_type())
        })
        .collect()
}

fn key_kind(desired: &Side, observed: &Side, key: &str) -> Result<AttributeKind, TableError> {
    let (one, other) = (desired.field("desired", key)?, observed.field("observed", key)?);
    for field in [one, other] {
        if !is_text(field.data_type()) && !is_binary(field.data_type()) {
            return Err(TableError::wrong_type(key, "strings or bytes", field.data_type()));
        }
    }
    AttributeKind::shared(key, one.data_type(), other.data_type())
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
        if u32::try_from(array.len()).is_err() {
            return Err(TableError::Argument {
                problem: "rows must be fewer than 2^32",
                value: array.len().to_string(),
            });
        }
        let keys = BytesColumn::of(&array)
            .ok_or_else(|| TableError::wrong_type(&order.key, "strings or bytes", array.data_type()))?;
        let attributes = attribute_columns(side, table, &order.attributes)?;
        let digests = in_ranges(keys.len(), order.threads, |rows| digests_of(&attributes, rows, order.seed)).concat();
        let order = sorted_rows(&keys, order.threads);
        Ok(Self { keys, attributes, digests, order })
    }
}

impl Rows for Prepared {
    fn order(&self) -> &[u32] {
        &self.order
    }

    /// Keys are never null once prepared.
    fn key(&self, row: u32) -> &[u8] {
        self.keys.get(row as usize).unwrap_or_default()
    }

    fn digest(&self, row: u32) -> u128 {
        self.digests[row as usize]
    }

    fn values(&self, row: u32) -> impl Iterator<Item = Value<'_>> {
        self.attributes.iter().map(move |attribute| attribute.value(row as usize))
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

/// Row numbers in order of key, then of row: sorted in pieces, then merged by a stable sort of sorted runs.
fn sorted_rows(keys: &BytesColumn, threads: usize) -> Vec<u32> {
    let by_key = |one: &(u128, u32), other: &(u128, u32)| match one.0.cmp(&other.0) {
        Ordering::Equal => (keys.get(one.1 as usize), one.1).cmp(&(keys.get(other.1 as usize), other.1)),
        differing => differing,
    };
    let pieces = in_ranges(keys.len(), threads, |range| {
        let row_number = |row| u32::try_from(row).unwrap_or(u32::MAX);
        let mut piece = range.map(|row| (front(keys.get(row)), row_number(row))).collect::<Vec<_>>();
        piece.sort_unstable_by(by_key);
        piece
    });
    let mut rows = pieces.concat();
    rows.sort_by(by_key);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The first 16 bytes of a key as a number in the order of the bytes; most comparisons end there.
fn front(key: Option<&[u8]>) -> u128 {
    let mut first = [0_u8; 16];
    for (to, from) in first.iter_mut().zip(key.unwrap_or_default()) {
        *to = *from;
    }
    u128::from_be_bytes(first)
}

/// Both sides, and the columns that come out of them.
struct Compared<'a> {
    desired: &'a Prepared,
    observed: &'a Prepared,
    key_kind: AttributeKind,
    kinds: &'a [AttributeKind],
    fields: Fields,
}

impl Compared<'_> {
    fn table_of(&self, findings: &[Finding]) -> Result<RecordBatch, TableError> {
        let keys = findings.iter().map(|finding| match (finding.desired, finding.observed) {
            (Some(row), _) => Value::Bytes(self.desired.key(row)),
            (None, Some(row)) => Value::Bytes(self.observed.key(row)),
            (None, None) => Value::Null,
        });
        let columns: [(&str, ArrayRef, bool); 6] = [
            (
                "kind",
                Arc::new(StringArray::from_iter_values(findings.iter().map(|finding| finding.kind.name()))),
                false,
            ),
            ("key", array_of(self.key_kind, keys), false),
            ("mask", Arc::new(UInt64Array::from_iter_values(findings.iter().map(|finding| finding.mask))), false),
            ("before", Arc::new(self.struct_of(findings, self.observed, |finding| finding.observed)), true),
            ("after", Arc::new(self.struct_of(findings, self.desired, |finding| finding.desired)), true),
            ("count", Arc::new(UInt32Array::from_iter_values(findings.iter().map(|finding| finding.count))), false),
        ];
        let field =
            |(name, array, nullable): &(&str, ArrayRef, bool)| Field::new(*name, array.data_type().clone(), *nullable);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        Ok(RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array, _)| array).collect())?)
    }

    /// The attributes of one side: of a changed key those that differ, of an added or removed one all, of a duplicate none.
    fn struct_of(
        &self,
        findings: &[Finding],
        side: &Prepared,
        row_of: impl Fn(&Finding) -> Option<u32>,
    ) -> StructArray {
        let shown = |finding: &Finding| match finding.kind {
            Kind::DuplicateDesired | Kind::DuplicateObserved => None,
            Kind::Added | Kind::Removed | Kind::Changed => row_of(finding),
        };
        let columns = side.attributes.iter().zip(self.kinds).enumerate().map(|(place, (attribute, kind))| {
            let differs = |finding: &Finding| finding.kind != Kind::Changed || finding.mask & (1 << place) != 0;
            let values = findings.iter().map(|finding| match shown(finding) {
                Some(row) if differs(finding) => attribute.value(row as usize),
                _ => Value::Null,
            });
            array_of(*kind, values)
        });
        let present = findings.iter().map(|finding| shown(finding).is_some()).collect::<NullBuffer>();
        if self.fields.is_empty() {
            return StructArray::new_empty_fields(findings.len(), Some(present));
        }
        StructArray::new(self.fields.clone(), columns.collect(), Some(present))
    }
}
