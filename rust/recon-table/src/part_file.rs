//! A Parquet file under construction: it gets its name when it is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::TableError;
use crate::threads::in_ranges;

/// Most rows of a row group: 128 k, so that a reader holds little at a time.
pub(crate) const ROW_GROUP_ROWS: usize = 131_072;

/// Before this many bytes a dictionary is given up. Names and addresses hardly repeat, and each open part holds one a column.
const DICTIONARY_BYTES: usize = 131_072;

/// A file being written beside its final place. Dropped before [`PartFile::publish`], it leaves nothing.
pub(crate) struct PartFile {
    place: PathBuf,
    draft: PathBuf,
    writer: Option<ArrowWriter<File>>,
    row_group_bytes: usize,
    rows: usize,
}

impl PartFile {
    /// Start the file `place`; row groups end at [`ROW_GROUP_ROWS`] or when they hold `row_group_bytes` of memory.
    ///
    /// `unrepeated` names columns whose values do not repeat, for which no dictionary is tried.
    pub(crate) fn create(
        place: PathBuf,
        schema: &SchemaRef,
        unrepeated: &[&str],
        row_group_bytes: usize,
    ) -> Result<Self, TableError> {
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        }
        let draft = draft_of(&place);
        let file = File::create(&draft).map_err(|error| unwritable(&draft, &error))?;
        let writer = ArrowWriter::try_new(file, SchemaRef::clone(schema), Some(properties(unrepeated)))
            .map_err(|error| unwritable(&draft, &error))?;
        Ok(Self { place, draft, writer: Some(writer), row_group_bytes, rows: 0 })
    }

    /// Add rows.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), TableError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        self.rows += rows.num_rows();
        writer.write(rows).map_err(|error| unwritable(&self.draft, &error))?;
        if writer.memory_size() > self.row_group_bytes {
            writer.flush().map_err(|error| unwritable(&self.draft, &error))?;
        }
        Ok(())
    }

    /// Write the file as row groups, each what `rows` says of its number, instead of [`write`](Self::write) and
    /// [`finish`](Self::finish). Threads encode them side by side. Returns the count of rows.
    pub(crate) fn write_groups(
        &mut self,
        groups: usize,
        threads: usize,
        rows: impl Fn(usize) -> Result<RecordBatch, TableError> + Sync,
    ) -> Result<usize, TableError> {
        let Some(writer) = self.writer.take() else { return Ok(self.rows) };
        let draft = &self.draft;
        let unwritable = |error: ParquetError| unwritable(draft, &error);
        let (mut writer, factory) = writer.into_serialized_writer().map_err(unwritable)?;
        for first in (0..groups).step_by(threads) {
            let wave = in_ranges(threads.min(groups - first), threads, |places| {
                let encode = |place| encoded(&factory, first + place, &rows(first + place)?).map_err(unwritable);
                places.map(encode).collect::<Result<Vec<_>, TableError>>()
            });
            for (chunks, rows) in wave.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
                let mut group = writer.next_row_group().map_err(unwritable)?;
                for chunk in chunks {
                    chunk.append_to_row_group(&mut group).map_err(unwritable)?;
                }
                group.close().map_err(unwritable)?;
                self.rows += rows;
            }
        }
        synced(&writer.into_inner().map_err(unwritable)?, draft)?;
        Ok(self.rows)
    }

    /// Write what is left and wait until the disk has all of it; the name is still the draft's. Returns the count of rows.
    pub(crate) fn finish(&mut self) -> Result<usize, TableError> {
        if let Some(writer) = self.writer.take() {
            let file = writer.into_inner().map_err(|error| unwritable(&self.draft, &error))?;
            synced(&file, &self.draft)?;
        }
        Ok(self.rows)
    }

    /// Give a finished file its name, replacing an earlier one.
    pub(crate) fn publish(self) -> Result<(), TableError> {
        fs::rename(&self.draft, &self.place).map_err(|error| unwritable(&self.place, &error))
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // After `publish` there is no draft; after a failure, whether it could be removed changes nothing.
        let _ = fs::remove_file(&self.draft);
    }
}

fn synced(file: &File, draft: &Path) -> Result<(), TableError> {
    file.sync_data().map_err(|error| unwritable(draft, &error))
}

/// The column chunks of a row group, and how many rows they have.
fn encoded(
    factory: &ArrowRowGroupWriterFactory,
    group: usize,
    rows: &RecordBatch,
) -> Result<(Vec<ArrowColumnChunk>, usize), ParquetError> {
    let mut writers = factory.create_column_writers(group)?.into_iter();
    let mut chunks = Vec::with_capacity(rows.num_columns());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        for (leaf, mut writer) in compute_leaves(field, column)?.into_iter().zip(&mut writers) {
            writer.write(&leaf)?;
            chunks.push(writer.close()?);
        }
    }
    Ok((chunks, rows.num_rows()))
}

/// A name in the same folder that no reader of `*.parquet` takes for a table.
fn draft_of(place: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(".draft");
    place.with_file_name(name)
}

fn properties(unrepeated: &[&str]) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        // A range of each row group is what a reader skips by; pages are too small to be worth an index.
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for column in unrepeated {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(*column), false);
    }
    properties.build()
}

fn unwritable(place: &Path, reason: &(impl std::fmt::Display + ?Sized)) -> TableError {
    TableError::File { problem: format!("cannot be written ({reason})"), file: place.display().to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow_array::{Int32Array, RecordBatch};

    use super::PartFile;

    /// A folder of this test's own, removed when it ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("recon-table-{}-{name}", std::process::id())))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn written(folder: &Folder) -> PartFile {
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(vec![1, 2])) as _)]).unwrap();
        let mut file = PartFile::create(folder.0.join("a.parquet"), rows.schema_ref(), &["n"], usize::MAX).unwrap();
        file.write(&rows).unwrap();
        file
    }

    /// The name appears with the whole file, and a file given up leaves nothing.
    #[test]
    fn only_whole_files_get_a_name() {
        let folder = Folder::new("names");
        let mut file = written(&folder);
        assert_eq!(folder.names(), [".a.parquet.draft"]);
        assert_eq!(file.finish().unwrap(), 2);
        assert_eq!(folder.names(), [".a.parquet.draft"]);
        file.publish().unwrap();
        assert_eq!(folder.names(), ["a.parquet"]);
        let whole = fs::read(folder.0.join("a.parquet")).unwrap();
        drop(written(&folder));
        assert_eq!(folder.names(), ["a.parquet"]);
        assert_eq!(fs::read(folder.0.join("a.parquet")).unwrap(), whole);
    }
}
