//! The Parquet files of one table, opened and checked together, and read a row group at a time.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;

use crate::TableError;
use crate::attribute::{AttributeKind, array_of};
use crate::bytes_column::{BytesColumn, is_binary, is_text};

/// Rows decoded at once: at 128 parts about 256 for each, which keeps the cost of a call small beside its rows.
const BATCH_ROWS: usize = 32_768;

/// The files of one table and the columns wanted of them.
pub(crate) struct Source {
    files: Vec<SourceFile>,
    /// The columns wanted, in the order asked: the files' type, or where they differ in layout the large one.
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
        Self::of(paths.iter().map(|path| SourceFile::open(path, wanted)).collect::<Result<_, _>>()?, wanted)
    }

    /// As [`open`](Self::open), but strings and bytes come as views of the files' pages, which saves a copy of each.
    pub(crate) fn open_views(paths: &[String], wanted: &[String]) -> Result<Self, TableError> {
        let open = |path: &String| SourceFile::open(path, wanted)?.with_views();
        Self::of(paths.iter().map(open).collect::<Result<_, _>>()?, wanted)
    }

    fn of(files: Vec<SourceFile>, wanted: &[String]) -> Result<Self, TableError> {
        let Some(first) = files.first() else {
            return Err(TableError::Argument { problem: "files must name at least one", value: "0".to_owned() });
        };
        let mut fields = wanted.iter().map(|column| first.field(column)).collect::<Result<Vec<_>, _>>()?;
        for (field, place) in fields.iter_mut().zip(wanted) {
            for file in &files {
                let found = file.field(place)?;
                *field = shared(field, &found).ok_or_else(|| file.differing(&found, first, field))?;
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

    /// The wanted columns of a batch in their order, all of one layout.
    fn conformed(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, TableError> {
        let conform = |field: &FieldRef| {
            let array = batch.column(batch.schema_ref().index_of(field.name())?);
            if array.data_type() == field.data_type() {
                return Ok(Arc::clone(array));
            }
            let kind = if is_text(field.data_type()) { AttributeKind::Text } else { AttributeKind::Binary };
            let bytes = BytesColumn::of(array)
                .ok_or_else(|| TableError::wrong_type(field.name(), "strings or bytes", array.data_type()))?;
            array_of(&kind, bytes.iter())
        };
        self.fields.iter().map(conform).collect()
    }
}

impl SourceFile {
    fn open(path: &str, wanted: &[String]) -> Result<Self, TableError> {
        let file = open(path)?;
        let metadata = footer(path, &file)?;
        let roots = wanted.iter().map(|column| place_of(path, &metadata, column)).collect::<Result<Vec<_>, _>>()?;
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        Ok(Self { path: path.to_owned(), metadata, mask })
    }

    /// The file with strings and bytes of any length read as views; dictionaries and values of one length stay as they are.
    fn with_views(self) -> Result<Self, TableError> {
        let schema = self.metadata.schema();
        let viewed = |field: &FieldRef| match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
            DataType::Binary | DataType::LargeBinary => {
                Arc::new(field.as_ref().clone().with_data_type(DataType::BinaryView))
            }
            _ => Arc::clone(field),
        };
        let fields = schema.fields().iter().map(viewed).collect::<Vec<_>>();
        let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(self.metadata.metadata()), options)
            .map_err(|error| self.damaged(&error))?;
        Ok(Self { metadata, ..self })
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

    fn differing(&self, found: &FieldRef, first: &Self, expected: &FieldRef) -> TableError {
        let expected =
            first.field(expected.name()).map_or_else(|_| expected.data_type().clone(), |f| f.data_type().clone());
        TableError::FileColumn {
            problem: format!("type {} differs from the first file's {expected}", found.data_type()),
            file: self.path.clone(),
            column: found.name().clone(),
        }
    }

    fn damaged(&self, reason: &dyn std::fmt::Display) -> TableError {
        damaged(&self.path, reason)
    }
}

pub(crate) const PANICKED: &str = "the reader gave up";

/// What a file's footer says. A footer made to harm may make the reader panic; that ends as any other damage.
pub(crate) fn footer(path: &str, file: &impl ChunkReader) -> Result<ArrowReaderMetadata, TableError> {
    let loaded = catch_unwind(AssertUnwindSafe(|| ArrowReaderMetadata::load(file, ArrowReaderOptions::new())));
    loaded.map_err(|_| damaged(path, &PANICKED))?.map_err(|error| damaged(path, &error))
}

/// The place of a column among a file's.
pub(crate) fn place_of(path: &str, metadata: &ArrowReaderMetadata, column: &str) -> Result<usize, TableError> {
    metadata.schema().index_of(column).map_err(|_| TableError::FileColumn {
        problem: "column is missing".to_owned(),
        file: path.to_owned(),
        column: column.to_owned(),
    })
}

pub(crate) fn open(path: &str) -> Result<File, TableError> {
    File::open(path)
        .map_err(|error| TableError::File { problem: format!("cannot be opened ({error})"), file: path.to_owned() })
}

pub(crate) fn damaged(path: &str, reason: &(impl std::fmt::Display + ?Sized)) -> TableError {
    TableError::File { problem: format!("not whole Parquet ({reason})"), file: path.to_owned() }
}

fn guarded<T>(file: &SourceFile, work: impl FnOnce() -> Result<T, TableError>) -> Result<T, TableError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(file.damaged(&PANICKED)))
}

/// The field that holds the values of both, or `None` when their types differ in more than layout.
fn shared(one: &FieldRef, other: &FieldRef) -> Option<FieldRef> {
    let (first, second) = (one.data_type(), other.data_type());
    let both = |is_kind: fn(&DataType) -> bool| is_kind(first) && is_kind(second);
    let large = match (first == second, both(is_text), both(is_binary)) {
        (true, _, _) => return Some(Arc::clone(one)),
        (_, true, _) => DataType::LargeUtf8,
        (_, _, true) => DataType::LargeBinary,
        _ => return None,
    };
    Some(Arc::new(Field::new(one.name(), large, true)))
}
