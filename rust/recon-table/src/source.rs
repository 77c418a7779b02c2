//! The Parquet files of one table, opened and checked together, and read a row group at a time.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, FieldRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::TableError;
use crate::bytes_column::{is_binary, is_text};

/// Rows decoded at once: at 128 parts about 256 for each, which keeps the cost of a call small beside its rows.
const BATCH_ROWS: usize = 32_768;

/// The files of one table and the columns wanted of them.
pub(crate) struct Source {
    files: Vec<SourceFile>,
    /// The columns wanted, in the order asked, with the types of the first file.
    pub(crate) fields: Vec<FieldRef>,
}

struct SourceFile {
    path: String,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
}

/// One row group: what one reader decodes in one go.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    /// Position of its file among the files.
    pub(crate) file: usize,
    row_group: usize,
    /// Row of the file its first row is, from 0.
    pub(crate) first_row: usize,
    rows: usize,
}

impl Source {
    /// Open all files and check that each has the wanted columns in types that go together.
    pub(crate) fn open(paths: &[String], wanted: &[String]) -> Result<Self, TableError> {
        let files = paths.iter().map(|path| SourceFile::open(path, wanted)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = files.first() else {
            return Err(TableError::Argument { problem: "files must name at least one", value: "0".to_owned() });
        };
        let fields = wanted.iter().map(|column| first.field(column)).collect::<Result<Vec<_>, _>>()?;
        for file in &files {
            for field in &fields {
                let found = file.field(field.name())?;
                if !exchangeable(field.data_type(), found.data_type()) {
                    return Err(TableError::FileColumn {
                        problem: format!(
                            "type {} differs from the first file's {}",
                            found.data_type(),
                            field.data_type()
                        ),
                        file: file.path.clone(),
                        column: field.name().clone(),
                    });
                }
            }
        }
        Ok(Self { files, fields })
    }

    /// Every row group in order of file and row.
    pub(crate) fn units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        for (file, source) in self.files.iter().enumerate() {
            let mut first_row = 0;
            for (row_group, metadata) in source.metadata.metadata().row_groups().iter().enumerate() {
                let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
                units.push(Unit { file, row_group, first_row, rows });
                first_row += rows;
            }
        }
        units
    }

    /// Rows of all files by their footers; reading checks that they are there.
    pub(crate) fn rows(&self) -> usize {
        self.units().iter().map(|unit| unit.rows).sum()
    }

    /// The path of a file as the caller gave it.
    pub(crate) fn path(&self, file: usize) -> &str {
        &self.files[file].path
    }

    /// Hand each batch of a row group to `take`, its columns as in `fields`, with the row its first row is.
    ///
    /// The Parquet reader may panic on a file made to harm; that ends as an error like any other damage.
    pub(crate) fn read(
        &self,
        unit: Unit,
        mut take: impl FnMut(usize, Vec<ArrayRef>) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let file = &self.files[unit.file];
        let mut batches = guarded(file, || file.batches(unit.row_group))?;
        let mut rows = 0;
        while let Some(batch) = guarded(file, || batches.next().transpose().map_err(|error| file.damaged(&error)))? {
            let first_row = unit.first_row + rows;
            rows += batch.num_rows();
            take(first_row, self.conformed(&batch)?)?;
        }
        if rows == unit.rows {
            return Ok(());
        }
        Err(file.damaged(&format!("a row group says {} rows and has {rows}", unit.rows)))
    }

    /// The wanted columns of a batch in their order, each in the first file's layout.
    fn conformed(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, TableError> {
        self.fields
            .iter()
            .map(|field| {
                let array = batch.column(batch.schema_ref().index_of(field.name())?);
                if array.data_type() == field.data_type() {
                    return Ok(Arc::clone(array));
                }
                Ok(cast(array, field.data_type())?)
            })
            .collect()
    }
}

impl SourceFile {
    fn open(path: &str, wanted: &[String]) -> Result<Self, TableError> {
        let file = open(path)?;
        let loaded = catch_unwind(AssertUnwindSafe(|| ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())));
        let metadata = loaded.map_err(|_| damaged(path, &PANICKED))?.map_err(|error| damaged(path, &error))?;
        let mut roots = Vec::with_capacity(wanted.len());
        for column in wanted {
            roots.push(metadata.schema().index_of(column).map_err(|_| TableError::FileColumn {
                problem: "column is missing".to_owned(),
                file: path.to_owned(),
                column: column.clone(),
            })?);
        }
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        Ok(Self { path: path.to_owned(), metadata, mask })
    }

    /// The field of a column without what is particular to this file.
    fn field(&self, column: &str) -> Result<FieldRef, TableError> {
        let field = self.metadata.schema().field_with_name(column)?;
        Ok(Arc::new(Field::new(column, field.data_type().clone(), true)))
    }

    fn batches(&self, row_group: usize) -> Result<parquet::arrow::arrow_reader::ParquetRecordBatchReader, TableError> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(open(&self.path)?, self.metadata.clone())
            .with_row_groups(vec![row_group])
            .with_projection(self.mask.clone())
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| self.damaged(&error))
    }

    fn damaged(&self, reason: &dyn std::fmt::Display) -> TableError {
        damaged(&self.path, reason)
    }
}

const PANICKED: &str = "the reader gave up";

fn open(path: &str) -> Result<File, TableError> {
    File::open(path)
        .map_err(|error| TableError::File { problem: format!("cannot be opened ({error})"), file: path.to_owned() })
}

fn damaged(path: &str, reason: &(impl std::fmt::Display + ?Sized)) -> TableError {
    TableError::File { problem: format!("not whole Parquet ({reason})"), file: path.to_owned() }
}

fn guarded<T>(file: &SourceFile, work: impl FnOnce() -> Result<T, TableError>) -> Result<T, TableError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(file.damaged(&PANICKED)))
}

/// Whether columns of these types differ in layout at most.
fn exchangeable(one: &DataType, other: &DataType) -> bool {
    one == other || is_text(one) && is_text(other) || is_binary(one) && is_binary(other)
}
