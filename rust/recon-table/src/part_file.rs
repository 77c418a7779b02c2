//! A Parquet file under construction: it gets its name when it is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::TableError;

/// Most rows of a row group: 128 k, so that a reader holds little at a time.
pub(crate) const ROW_GROUP_ROWS: usize = 131_072;

/// Before this many bytes a dictionary is given up. Names and addresses hardly repeat, and each open part holds one a column.
const DICTIONARY_BYTES: usize = 131_072;

/// What a file is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be read once, soon: little time goes into its size, and nothing is said about its values.
    Passing,
    /// To be kept.
    Lasting,
}

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
        purpose: Purpose,
    ) -> Result<Self, TableError> {
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        }
        let draft = draft_of(&place);
        let file = File::create(&draft).map_err(|error| unwritable(&draft, &error))?;
        let writer = ArrowWriter::try_new(file, SchemaRef::clone(schema), Some(properties(unrepeated, purpose)))
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

    /// Write what is left and wait until the disk has all of it; the name is still the draft's. Returns the count of rows.
    pub(crate) fn finish(&mut self) -> Result<usize, TableError> {
        if let Some(writer) = self.writer.take() {
            let file = writer.into_inner().map_err(|error| unwritable(&self.draft, &error))?;
            file.sync_data().map_err(|error| unwritable(&self.draft, &error))?;
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

/// A name in the same folder that no reader of `*.parquet` takes for a table.
fn draft_of(place: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(".draft");
    place.with_file_name(name)
}

fn properties(unrepeated: &[&str], purpose: Purpose) -> WriterProperties {
    // A range of each row group is what a reader skips by; pages are too small to be worth an index.
    let (compression, statistics) = match purpose {
        Purpose::Passing => (Compression::LZ4_RAW, EnabledStatistics::None),
        Purpose::Lasting => (Compression::ZSTD(ZstdLevel::default()), EnabledStatistics::Chunk),
    };
    let mut properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_statistics_enabled(statistics);
    if purpose == Purpose::Passing {
        // Building one costs more than reading the values as they are.
        properties = properties.set_dictionary_enabled(false);
    }
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

    use super::{PartFile, Purpose};

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
        let mut file =
            PartFile::create(folder.0.join("a.parquet"), rows.schema_ref(), &["n"], usize::MAX, Purpose::Lasting)
                .unwrap();
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
