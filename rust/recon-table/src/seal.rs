//! `seal`: cut a table by account key and sort each part by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use recon_core::marker::{ACCOUNT_KEY_BYTES, Parts};

use crate::TableError;
use crate::bytes_column::is_binary;
use crate::cut::{Addressed, Counts, Destinations, cut, routed_schema};
use crate::identifiers::fixed_size_binary;
use crate::part_file::{PartFile, Purpose};
use crate::shuffle::{account_keys_of, check_columns, check_key, check_table_name, places};
use crate::source::Source;
use crate::threads::{checked_threads, in_ranges};

/// Row groups of a sealed part end by rows alone.
const ROW_GROUP_BYTES: usize = usize::MAX;

/// One table to seal.
pub struct Seal {
    /// Parquet files of one table.
    pub files: Vec<String>,
    /// The column that holds account keys.
    pub key_column: String,
    /// Columns to keep, in order.
    pub columns: Vec<String>,
    /// How many parts.
    pub parts: Parts,
    /// Folder of the parts.
    pub out_folder: PathBuf,
    /// Name of the table, without folder or ending.
    pub table: String,
    /// Most threads at work; each holds a part in memory.
    pub threads: usize,
}

/// Seal the table; every file appears, whole, when all of them are.
///
/// # Errors
/// When an argument is out of bounds, or a file is damaged, lacks a column or has one of another type. Nothing is left then.
pub fn seal(order: &Seal) -> Result<Counts, TableError> {
    let threads = checked_threads(order.threads)?;
    check_table_name(&order.table)?;
    check_columns(&order.columns)?;
    let mut wanted = order.columns.clone();
    if !wanted.contains(&order.key_column) {
        wanted.insert(0, order.key_column.clone());
    }
    let source = Source::open(&order.files, &wanted)?;
    let key_place = wanted.iter().position(|column| *column == order.key_column).unwrap_or(0);
    check_key(&source, key_place, is_binary)?;
    let spill = Spill(order.out_folder.join(format!(".{}.spill", order.table)));
    let destinations = order.destinations(&source, key_place, &spill.0);
    let address = |file: usize, _: usize, columns| order.addressed(&source, file, key_place, columns);
    let (mut spilled, counts) = cut(&source, &address, &destinations, threads)?;
    let unmarked = spilled.pop();
    spilled.into_iter().try_for_each(PartFile::publish)?;
    let sealed = order.sorted(&spill.0, key_place, &destinations.routed)?;
    sealed.into_iter().chain(unmarked).try_for_each(PartFile::publish)?;
    Ok(counts)
}

/// The folder that rows pass through on their way to their sorted part; it goes when this does.
struct Spill(PathBuf);

impl Drop for Spill {
    fn drop(&mut self) {
        // What cannot be removed now is replaced by the next seal of the table.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Seal {
    /// The spilled parts, and in its final place the file of the rows without a key.
    fn destinations(&self, source: &Source, key_place: usize, spill: &Path) -> Destinations {
        let mut fields = source.fields.clone();
        let key = Field::new(&self.key_column, DataType::FixedSizeBinary(17), true);
        fields[key_place] = Arc::new(key);
        let mut all = places(spill, self.parts, "unmarked", &self.table);
        all.pop();
        all.extend(places(&self.out_folder, self.parts, "unmarked", &self.table).pop());
        let columns = (0..fields.len()).collect::<Vec<_>>();
        Destinations {
            places: all,
            routed: routed_schema(fields),
            in_parts: columns.clone(),
            aside: columns,
            unrepeated: vec![self.key_column.clone()],
            purpose: Purpose::Passing,
        }
    }

    fn addressed(
        &self,
        source: &Source,
        file: usize,
        key_place: usize,
        mut columns: Vec<ArrayRef>,
    ) -> Result<Addressed, TableError> {
        let keys = account_keys_of(&columns[key_place], source.path(file), &self.key_column)?;
        let part_of = |key: &Option<[u8; ACCOUNT_KEY_BYTES]>| {
            key.as_ref().map_or(self.parts.count(), |key| self.parts.part_of(key))
        };
        let destinations = keys.iter().map(part_of).collect();
        columns[key_place] = Arc::new(fixed_size_binary(keys.into_iter())?);
        Ok(Addressed { columns, destinations })
    }

    /// Sort each spilled part into its place; the file of the rows without a key stays as it is.
    fn sorted(&self, spill: &Path, key_place: usize, schema: &SchemaRef) -> Result<Vec<PartFile>, TableError> {
        let from = places(spill, self.parts, "unmarked", &self.table);
        let to = places(&self.out_folder, self.parts, "unmarked", &self.table);
        // Parts are taken one by one, because a thread that drew small ones should go on to others.
        let next = AtomicUsize::new(0);
        let lanes = in_ranges(self.threads, self.threads, |_| {
            let mut sorted = Vec::new();
            loop {
                let part = next.fetch_add(1, Ordering::Relaxed);
                if part >= self.parts.count() {
                    return Ok(sorted);
                }
                let rows = read_part(&from[part], schema)?;
                sorted.push(self.write_sorted(&rows, key_place, to[part].clone())?);
            }
        });
        Ok(lanes.into_iter().collect::<Result<Vec<_>, TableError>>()?.into_iter().flatten().collect())
    }

    fn write_sorted(&self, rows: &RecordBatch, key_place: usize, place: PathBuf) -> Result<PartFile, TableError> {
        let order = order_of(rows.column(key_place));
        let columns = rows.columns().iter().map(|column| take(column, &order, None)).collect::<Result<Vec<_>, _>>()?;
        let sorted = RecordBatch::try_new(rows.schema(), columns)?;
        let mut file =
            PartFile::create(place, rows.schema_ref(), &[&self.key_column], ROW_GROUP_BYTES, Purpose::Lasting)?;
        file.write(&sorted)?;
        file.finish()?;
        Ok(file)
    }
}

/// All rows of a spilled part.
fn read_part(path: &Path, schema: &SchemaRef) -> Result<RecordBatch, TableError> {
    let columns = schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let source = Source::open(&[path.display().to_string()], &columns)?;
    let mut batches = Vec::new();
    for unit in source.units() {
        source.read(unit, |_, columns| {
            batches.push(RecordBatch::try_new(Arc::clone(schema), columns)?);
            Ok(())
        })?;
    }
    Ok(concat_batches(schema, &batches)?)
}

/// The rows in order of their keys' bytes, those of one key in their own order.
fn order_of(keys: &ArrayRef) -> UInt32Array {
    let keys = keys.as_fixed_size_binary();
    let mut rows = (0_u32..).zip(keys.iter()).map(|(row, key)| (key, row)).collect::<Vec<_>>();
    rows.sort_unstable();
    rows.into_iter().map(|(_, row)| row).collect()
}
