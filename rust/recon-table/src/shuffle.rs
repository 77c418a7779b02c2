//! `shuffle`: cut a table of Parquet files into parts by person or by account key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, UInt32Array};
use arrow_schema::{DataType, Field, FieldRef};
use recon_core::HashKey;
use recon_core::marker::{ACCOUNT_KEY_BYTES, MARKER_BYTES, Parts, marker};
use recon_core::uuid::{parse_bytes, parse_text};

use crate::TableError;
use crate::bytes_column::{BytesColumn, is_binary, is_text};
use crate::cut::{Addressed, Counts, Destinations, cut, routed_schema};
use crate::identifiers::fixed_size_binary;
use crate::part_file::{PartFile, Purpose};
use crate::source::Source;
use crate::threads::checked_threads;

/// Columns that a shuffle adds.
const ADDED: [&str; 5] = ["_person", "_marker", "_file", "_row", UNREADABLE];
/// Which UUIDs of a row were there and could not be read, a bit each.
const UNREADABLE: &str = "_unreadable";
const UUID_COLUMNS_MAX: usize = 32;

/// What chooses a row's part.
pub enum KeyKind {
    /// A person id in a UUID's forms, hashed to a marker under this key.
    Person(HashKey),
    /// An account key of 17 bytes, whose front is a marker.
    Account,
}

/// One table to cut.
pub struct Shuffle {
    /// Parquet files of one table.
    pub files: Vec<String>,
    /// The column that holds the key.
    pub key_column: String,
    /// What the key column holds.
    pub key: KeyKind,
    /// Columns to keep, in order.
    pub columns: Vec<String>,
    /// Those of them that hold UUIDs and leave as 16 bytes.
    pub uuid_columns: Vec<String>,
    /// How many parts.
    pub parts: Parts,
    /// Folder of the parts.
    pub out_folder: PathBuf,
    /// Name of the table, without folder or ending.
    pub table: String,
    /// Most threads at work.
    pub threads: usize,
}

/// Cut the table; every file appears, whole, when all of them are.
///
/// # Errors
/// When an argument is out of bounds, or a file is damaged, lacks a column or has one of another type. Nothing is left then.
pub fn shuffle(order: &Shuffle) -> Result<Counts, TableError> {
    let threads = checked_threads(order.threads)?;
    check_table_name(&order.table)?;
    check_columns(&order.columns)?;
    let mut wanted = order.columns.clone();
    if !wanted.contains(&order.key_column) {
        wanted.push(order.key_column.clone());
    }
    let uuid_places = order.uuid_places()?;
    let source = Source::open(&order.files, &wanted)?;
    for &place in &uuid_places {
        check_key(&source, place, |found| is_text(found) || is_binary(found) || *found == DataType::Null)?;
    }
    let key_place = wanted.iter().position(|column| *column == order.key_column).unwrap_or(0);
    match order.key {
        KeyKind::Person(_) => check_key(&source, key_place, |key| is_text(key) || is_binary(key))?,
        KeyKind::Account => check_key(&source, key_place, is_binary)?,
    }
    let kept = order.columns.len();
    let address = |file: usize, first_row: usize, mut columns: Vec<ArrayRef>| {
        let key = Arc::clone(&columns[key_place]);
        columns.truncate(kept);
        let unreadable = read_uuids(&mut columns, &uuid_places)?;
        order.addressed(&source, file, first_row, &key, columns, unreadable)
    };
    let (files, counts) = cut(&source, &address, &order.destinations(&source, &uuid_places), threads)?;
    files.into_iter().try_for_each(PartFile::publish)?;
    Ok(counts)
}

/// Bring the columns at `places` to 16 bytes a row. Returned is, for each row, which of them were there and could not be read.
///
/// Text is taken without blanks around it, and blank text counts as null.
fn read_uuids(columns: &mut [ArrayRef], places: &[usize]) -> Result<Option<ArrayRef>, TableError> {
    let Some(rows) = places.first().map(|&place| columns[place].len()) else { return Ok(None) };
    let mut unreadable = vec![0_u32; rows];
    for (bit, &place) in places.iter().enumerate() {
        let text = is_text(columns[place].data_type());
        let Some(column) = BytesColumn::of(&columns[place]) else { continue };
        let mut read = Vec::with_capacity(rows);
        for (row, refused) in unreadable.iter_mut().enumerate() {
            let found = if text {
                column.text(row).map(str::trim).filter(|text| !text.is_empty()).map(str::as_bytes)
            } else {
                column.get(row)
            };
            let uuid = found.and_then(if text { parse_text } else { parse_bytes });
            *refused |= u32::from(found.is_some() && uuid.is_none()) << bit;
            read.push(uuid);
        }
        columns[place] = Arc::new(fixed_size_binary::<MARKER_BYTES>(read.into_iter())?);
    }
    Ok(Some(Arc::new(UInt32Array::from(unreadable))))
}

impl Shuffle {
    /// Where among the columns those of UUIDs stand.
    fn uuid_places(&self) -> Result<Vec<usize>, TableError> {
        let problem =
            |problem: &str, column: &str| TableError::Column { problem: problem.to_owned(), column: column.to_owned() };
        if let Some(over) = self.uuid_columns.get(UUID_COLUMNS_MAX) {
            return Err(problem("uuid_columns must be 32 at most", over));
        }
        let place_of = |wanted: &String| {
            let found = self.columns.iter().position(|column| column == wanted);
            found.ok_or_else(|| problem("column of UUIDs is not among the columns", wanted))
        };
        self.uuid_columns.iter().map(place_of).collect()
    }

    /// The kept columns with those added, and where each row goes.
    fn addressed(
        &self,
        source: &Source,
        file: usize,
        first_row: usize,
        key: &ArrayRef,
        mut columns: Vec<ArrayRef>,
        unreadable: Option<ArrayRef>,
    ) -> Result<Addressed, TableError> {
        let destinations = match &self.key {
            KeyKind::Person(hash_key) => {
                let persons = person_ids(key);
                let markers = persons.iter().map(|id| id.map(|id| marker(hash_key, &id))).collect::<Vec<_>>();
                let destinations = markers.iter().map(|marker| self.destination(marker.as_ref()));
                let destinations = destinations.collect();
                columns.push(Arc::new(fixed_size_binary::<MARKER_BYTES>(persons.into_iter())?));
                columns.push(Arc::new(fixed_size_binary::<MARKER_BYTES>(markers.into_iter())?));
                destinations
            }
            KeyKind::Account => {
                let keys = account_keys_of(key, source.path(file), &self.key_column)?;
                keys.iter().map(|key| self.destination(key.as_ref())).collect()
            }
        };
        columns.extend(unreadable);
        let rows = key.len();
        columns.push(Arc::new(UInt32Array::from_value(u32::try_from(file).unwrap_or(u32::MAX), rows)));
        columns.push(Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row_number(first_row + row)))));
        Ok(Addressed { columns, destinations })
    }

    fn destination<const N: usize>(&self, key: Option<&[u8; N]>) -> usize {
        key.map_or(self.parts.count(), |key| self.parts.part_of(key))
    }

    fn destinations(&self, source: &Source, uuid_places: &[usize]) -> Destinations {
        let kept = self.columns.len();
        let mut fields = source.fields[..kept].to_vec();
        for &place in uuid_places {
            fields[place] = added(fields[place].name(), DataType::FixedSizeBinary(16));
        }
        if matches!(self.key, KeyKind::Person(_)) {
            fields.push(added("_person", DataType::FixedSizeBinary(16)));
            fields.push(added("_marker", DataType::FixedSizeBinary(16)));
        }
        if !uuid_places.is_empty() {
            fields.push(added(UNREADABLE, DataType::UInt32));
        }
        fields.push(added("_file", DataType::UInt32));
        fields.push(added("_row", DataType::Int64));
        let all = fields.len();
        Destinations {
            places: places(&self.out_folder, self.parts, "unkeyed", &self.table),
            routed: routed_schema(fields),
            in_parts: (0..all).collect(),
            aside: (0..kept).chain(all - 2..all).collect(),
            unrepeated: ["_person", "_marker", "_row"].map(str::to_owned).to_vec(),
            purpose: Purpose::Passing,
        }
    }
}

/// The person ids of a key column that holds text or bytes.
fn person_ids(key: &ArrayRef) -> Vec<Option<[u8; MARKER_BYTES]>> {
    let parse = if is_text(key.data_type()) { parse_text } else { parse_bytes };
    BytesColumn::of(key).map_or_else(Vec::new, |column| column.iter().map(|id| id.and_then(parse)).collect())
}

/// The account keys of a binary column of a file.
pub(crate) fn account_keys_of(
    key: &ArrayRef,
    file: &str,
    column: &str,
) -> Result<Vec<Option<[u8; ACCOUNT_KEY_BYTES]>>, TableError> {
    crate::identifiers::fixed_values(key, column).map_err(|error| match error {
        TableError::Column { problem, column } => TableError::FileColumn { problem, file: file.to_owned(), column },
        other => other,
    })
}

/// The files of the parts in order, then that of the rows set aside.
pub(crate) fn places(out_folder: &Path, parts: Parts, aside: &str, table: &str) -> Vec<PathBuf> {
    let file = format!("{table}.parquet");
    let mut places =
        (0..parts.count()).map(|part| out_folder.join(format!("part={part:03}")).join(&file)).collect::<Vec<_>>();
    places.push(out_folder.join(aside).join(&file));
    places
}

/// Refuse a table name that would lead out of its folder.
pub(crate) fn check_table_name(table: &str) -> Result<(), TableError> {
    let fine = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if !table.is_empty() && table.len() <= 100 && !table.starts_with('.') && table.chars().all(fine) {
        return Ok(());
    }
    Err(TableError::Argument {
        problem: "table must be a name of letters, digits, dots, hyphens and low lines",
        value: table.to_owned(),
    })
}

/// Refuse a key column of a type that holds no keys.
pub(crate) fn check_key(source: &Source, place: usize, accepted: fn(&DataType) -> bool) -> Result<(), TableError> {
    let field = &source.fields[place];
    if accepted(field.data_type()) {
        return Ok(());
    }
    Err(TableError::FileColumn {
        problem: format!("keys expected, not {}", field.data_type()),
        file: source.path(0).to_owned(),
        column: field.name().clone(),
    })
}

/// Refuse columns that are asked twice or have the name of one that is added.
pub(crate) fn check_columns(columns: &[String]) -> Result<(), TableError> {
    let mut seen = BTreeSet::new();
    for column in columns {
        if ADDED.contains(&column.as_str()) || !seen.insert(column) {
            return Err(TableError::Column {
                problem: "column is asked twice or has a reserved name".to_owned(),
                column: column.clone(),
            });
        }
    }
    Ok(())
}

fn added(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

fn row_number(row: usize) -> i64 {
    i64::try_from(row).unwrap_or(i64::MAX)
}
