//! The two sides: Parquet files or batches in memory, cut into units that one thread works at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;

use super::Control;
use super::column::{ArrayColumn, Column};
use super::pages::{Damage, PageColumn, PositionedFile};
use crate::attribute::{AttributeColumn, AttributeKind};
use crate::source::{PANICKED, damaged, footer, open, place_of};
use crate::{Rows, TableError};

/// Rows of a unit in memory.
const BATCH_UNIT_ROWS: usize = 131_072;
/// Rows that the Arrow reader decodes at once.
const ARROW_ROWS: usize = 16_384;
/// Most bytes of a row group, decompressed, as its footer says: larger ones were not written by a sound writer.
const ROW_GROUP_BYTES_MAX: i64 = 16 << 30;

/// One side.
pub(crate) struct Input {
    /// "source" or "directory".
    pub(crate) name: &'static str,
    kept: Kept,
    columns: Vec<InputColumn>,
    pub(crate) units: Vec<Unit>,
}

enum Kept {
    Files(Vec<InputFile>),
    Batches(Vec<RecordBatch>),
}

/// A column that is wanted: the key first, then the attributes.
struct InputColumn {
    name: String,
    data_type: DataType,
}

struct InputFile {
    path: String,
    file: Option<PositionedFile>,
    metadata: ArrowReaderMetadata,
    /// The place of each wanted column among the file's.
    places: Vec<usize>,
    types: Vec<DataType>,
}

/// Rows that one thread reads in one go: a row group, or a piece of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    file: usize,
    /// The row group, or the first row in the batch.
    start: usize,
    pub(crate) rows: usize,
}

impl Input {
    /// Look at one side and check that the columns are there, the key first.
    pub(crate) fn open(
        name: &'static str,
        rows: Rows,
        columns: &[&str],
        (folder, stream_bytes_max): (&Path, usize),
        control: &Control,
    ) -> Result<Self, TableError> {
        let kept = match rows {
            Rows::Files(paths) => Kept::Files(
                paths.into_iter().map(|path| InputFile::open(path, columns)).collect::<Result<Vec<_>, _>>()?,
            ),
            Rows::Stream(stream) => kept_stream(name, stream, columns, (folder, stream_bytes_max), control)?,
        };
        if matches!(&kept, Kept::Files(files) if files.is_empty()) {
            return Err(TableError::Argument { problem: "a side must have at least one file", value: name.to_owned() });
        }
        let units = units_of(&kept)?;
        let columns = columns.iter().enumerate().map(|(place, column)| column_of(&kept, place, column));
        Ok(Self { name, columns: columns.collect::<Result<_, _>>()?, kept, units })
    }

    /// Rows of all units.
    pub(crate) fn rows(&self) -> u64 {
        self.units.iter().map(|unit| unit.rows as u64).sum()
    }

    /// The type of a wanted column by its place.
    pub(crate) fn data_type(&self, place: usize) -> &DataType {
        &self.columns[place].data_type
    }

    /// Open the wanted columns of a unit at these places.
    pub(crate) fn open_unit(
        &self,
        unit: &Unit,
        places: std::ops::Range<usize>,
        kinds: &[AttributeKind],
    ) -> Result<Vec<Column<'_>>, TableError> {
        places.map(|place| self.open_column(unit, place, &kinds[place])).collect()
    }

    fn open_column(&self, unit: &Unit, place: usize, kind: &AttributeKind) -> Result<Column<'_>, TableError> {
        let name = &self.columns[place].name;
        match &self.kept {
            Kept::Batches(batches) => {
                let column = AttributeColumn::of(name, batches[unit.file].column(place))?;
                Ok(Column::Arrays(Box::new(ArrayColumn::of(name, column, unit.start, unit.rows))))
            }
            Kept::Files(files) => {
                let file = &files[unit.file];
                self.guarded(unit, place, || file.column(name, unit, place, kind))
            }
        }
    }

    /// Do something with a file's bytes. The Parquet reader may panic on a file made to harm; that ends as any other damage.
    pub(crate) fn guarded<T>(
        &self,
        unit: &Unit,
        place: usize,
        work: impl FnOnce() -> Result<T, Damage>,
    ) -> Result<T, TableError> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(damage)) => Err(match damage.downcast::<TableError>() {
                Ok(error) => *error,
                Err(damage) => self.damaged(unit, place, &damage),
            }),
            Err(_) => Err(self.damaged(unit, place, &PANICKED)),
        }
    }

    /// What is wrong with a column of a unit.
    pub(crate) fn damaged(&self, unit: &Unit, place: usize, reason: &dyn std::fmt::Display) -> TableError {
        self.wrong(unit, place, format!("not whole Parquet ({reason})"))
    }

    /// An error about a column of a unit.
    pub(crate) fn wrong(&self, unit: &Unit, place: usize, problem: String) -> TableError {
        let column = self.columns[place].name.clone();
        match &self.kept {
            Kept::Files(files) => TableError::FileColumn { problem, file: files[unit.file].path.clone(), column },
            Kept::Batches(_) => TableError::Column { problem: format!("the {} side: {problem}", self.name), column },
        }
    }

    /// The least and the greatest content of the key in a unit, as its footer says.
    pub(crate) fn key_range(&self, unit: &Unit) -> Option<(Vec<u8>, Vec<u8>)> {
        let Kept::Files(files) = &self.kept else { return None };
        let file = &files[unit.file];
        let row_group = file.metadata.metadata().row_groups().get(unit.start)?;
        let leaf = file.leaf(file.places[0])?;
        let statistics = row_group.column(leaf).statistics()?;
        let widen = |bytes: &[u8]| match statistics {
            Statistics::Int32(_) => {
                bytes.try_into().ok().map(|four| i64::from(i32::from_le_bytes(four)).to_le_bytes().to_vec())
            }
            Statistics::Int64(_) | Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_) => Some(bytes.to_vec()),
            _ => None,
        };
        Some((widen(statistics.min_bytes_opt()?)?, widen(statistics.max_bytes_opt()?)?))
    }
}

fn column_of(kept: &Kept, place: usize, column: &str) -> Result<InputColumn, TableError> {
    let data_type = match kept {
        Kept::Batches(batches) => {
            batches.first().map_or(DataType::Null, |batch| batch.schema_ref().field(place).data_type().clone())
        }
        Kept::Files(files) => {
            let first = &files[0];
            let kind = |file: &InputFile| {
                AttributeKind::of(column, &file.types[place]).map_err(|error| file.wrong(column, &error))
            };
            let expected = kind(first)?;
            for file in files {
                if kind(file)? != expected {
                    let problem =
                        format!("type {} differs from the first file's {}", file.types[place], first.types[place]);
                    return Err(TableError::FileColumn { problem, file: file.path.clone(), column: column.to_owned() });
                }
            }
            first.types[place].clone()
        }
    };
    Ok(InputColumn { name: column.to_owned(), data_type })
}

fn units_of(kept: &Kept) -> Result<Vec<Unit>, TableError> {
    let mut units = Vec::new();
    match kept {
        Kept::Batches(batches) => {
            for (file, batch) in batches.iter().enumerate() {
                let starts = (0..batch.num_rows()).step_by(BATCH_UNIT_ROWS);
                units.extend(starts.map(|start| Unit {
                    file,
                    start,
                    rows: BATCH_UNIT_ROWS.min(batch.num_rows() - start),
                }));
            }
        }
        Kept::Files(files) => {
            for (place, file) in files.iter().enumerate() {
                for (start, row_group) in file.metadata.metadata().row_groups().iter().enumerate() {
                    let rows = u32::try_from(row_group.num_rows())
                        .map_err(|_| file.damaged(&"a row group says a number of rows that cannot be"))?;
                    file.check_row_group(start)?;
                    units.push(Unit { file: place, start, rows: rows as usize });
                }
            }
        }
    }
    units.retain(|unit| unit.rows > 0);
    Ok(units)
}

impl InputFile {
    fn open(path: String, columns: &[&str]) -> Result<Self, TableError> {
        let file = opened(&path)?;
        Self::of(path, file, false, columns)
    }

    fn of(path: String, file: PositionedFile, keep: bool, columns: &[&str]) -> Result<Self, TableError> {
        let metadata = footer(&path, &file)?;
        let places = columns.iter().map(|column| place_of(&path, &metadata, column)).collect::<Result<Vec<_>, _>>()?;
        let types = places.iter().map(|place| metadata.schema().field(*place).data_type().clone()).collect();
        // Files are opened again for each unit: a table may have more of them than a process may hold open.
        Ok(Self { path, file: keep.then_some(file), metadata, places, types })
    }

    /// Refuse a row group that says what cannot be, before memory is taken for it.
    fn check_row_group(&self, number: usize) -> Result<(), TableError> {
        let row_group = self.metadata.metadata().row_group(number);
        for place in &self.places {
            let Some(leaf) = self.leaf(*place) else { continue };
            let chunk = row_group.column(leaf);
            let wrong = |problem: String| {
                let column = self.metadata.schema().field(*place).name().clone();
                Err(TableError::FileColumn { problem, file: self.path.clone(), column })
            };
            if chunk.uncompressed_size() > ROW_GROUP_BYTES_MAX || row_group.total_byte_size() > ROW_GROUP_BYTES_MAX {
                let bytes = chunk.uncompressed_size().max(row_group.total_byte_size());
                return wrong(format!("row group {number} claims {bytes} bytes, over 16 GiB"));
            }
            if chunk.uncompressed_size() < 0
                || chunk.compressed_size() < 0
                || chunk.num_values() != row_group.num_rows()
            {
                return wrong(format!("not whole Parquet (the sizes of row group {number} cannot be)"));
            }
        }
        Ok(())
    }

    /// The one leaf of a column at the top; `None` when it is nested.
    fn leaf(&self, place: usize) -> Option<usize> {
        let schema = self.metadata.parquet_schema();
        let mut leaves = (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == place);
        let leaf = leaves.next()?;
        leaves.next().is_none().then_some(leaf)
    }

    fn column<'a>(&self, name: &'a str, unit: &Unit, place: usize, kind: &AttributeKind) -> Result<Column<'a>, Damage> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => opened(&self.path)?,
        };
        if let Some(leaf) = self.leaf(self.places[place]) {
            let chunk = self.metadata.metadata().row_group(unit.start).column(leaf);
            if let Some(pages) = PageColumn::open(&file, chunk, kind, &self.types[place], unit.rows)? {
                return Ok(Column::Pages(Box::new(pages)));
            }
        }
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), [self.places[place]]);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![unit.start])
            .with_projection(mask)
            .with_batch_size(ARROW_ROWS)
            .build()?;
        Ok(Column::Arrays(Box::new(ArrayColumn::read(name, reader))))
    }

    fn damaged(&self, reason: &dyn std::fmt::Display) -> TableError {
        damaged(&self.path, reason)
    }

    fn wrong(&self, column: &str, error: &TableError) -> TableError {
        let problem = match error {
            TableError::Column { problem, .. } => problem.clone(),
            other => other.to_string(),
        };
        TableError::FileColumn { problem, file: self.path.clone(), column: column.to_owned() }
    }
}

fn opened(path: &str) -> Result<PositionedFile, TableError> {
    PositionedFile::new(open(path)?).map_err(|error| damaged(path, &error))
}

/// Keep a stream's wanted columns: in memory while it is small, else in a temporary file without a name.
fn kept_stream(
    side: &'static str,
    stream: Box<dyn arrow_array::RecordBatchReader + Send>,
    columns: &[&str],
    (folder, bytes_max): (&Path, usize),
    control: &Control,
) -> Result<Kept, TableError> {
    let schema = stream.schema();
    let mut places = Vec::with_capacity(columns.len());
    for column in columns {
        places.push(schema.index_of(column).map_err(|_| TableError::Column {
            problem: format!("the {side} side has no such column"),
            column: (*column).to_owned(),
        })?);
    }
    let schema = SchemaRef::new(schema.project(&places)?);
    let mut batches = vec![RecordBatch::new_empty(SchemaRef::clone(&schema))];
    let mut bytes = 0;
    let mut stream = stream.map(|batch| {
        control.advance(0)?;
        Ok::<_, TableError>(batch?.project(&places)?)
    });
    for batch in stream.by_ref() {
        let batch = batch?;
        bytes += batch.get_array_memory_size();
        batches.push(batch);
        if bytes > bytes_max {
            return spooled(side, &schema, batches.into_iter().map(Ok).chain(stream), columns, folder);
        }
    }
    Ok(Kept::Batches(batches))
}

fn spooled(
    side: &'static str,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, TableError>>,
    columns: &[&str],
    folder: &Path,
) -> Result<Kept, TableError> {
    let failed = |error: &dyn std::fmt::Display| TableError::Spill {
        problem: error.to_string(),
        folder: folder.display().to_string(),
    };
    let file = tempfile::tempfile_in(folder).map_err(|error| failed(&error))?;
    let writing = file.try_clone().map_err(|error| failed(&error))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(BATCH_UNIT_ROWS))
        .build();
    let plain = SchemaRef::new(Schema::new(schema.fields().clone()));
    let mut writer = ArrowWriter::try_new(writing, plain, Some(properties)).map_err(|error| failed(&error))?;
    for batch in batches {
        writer.write(&batch?).map_err(|error| failed(&error))?;
    }
    writer.close().map_err(|error| failed(&error))?;
    let file = PositionedFile::new(file).map_err(|error| failed(&error))?;
    Ok(Kept::Files(vec![InputFile::of(format!("<the {side} stream>"), file, true, columns)?]))
}
