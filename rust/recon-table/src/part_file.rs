//! A Parquet file under construction: it gets its name when it is whole.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

use crate::TableError;
use crate::threads::in_turn;

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
    /// Whether the file has not even the draft's name, and the file itself once it is finished.
    nameless: bool,
    finished: Option<File>,
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
        Self::of((file, false), place, schema, row_group_bytes, properties(unrepeated, purpose))
    }

    /// Start the file `place`, which its owner alone can read. Where the file system has files without a name, it is one until it is
    /// published, so that no way of ending leaves it behind.
    pub(crate) fn create_private(
        place: PathBuf,
        schema: &SchemaRef,
        unrepeated: &[&str],
        row_group_bytes: usize,
    ) -> Result<Self, TableError> {
        let opened = private_file(&place).map_err(|error| unwritable(&place, &error))?;
        Self::of(opened, place, schema, row_group_bytes, properties(unrepeated, Purpose::Lasting))
    }

    fn of(
        (file, nameless): (File, bool),
        place: PathBuf,
        schema: &SchemaRef,
        row_group_bytes: usize,
        properties: WriterProperties,
    ) -> Result<Self, TableError> {
        let draft = draft_of(&place);
        let writer = ArrowWriter::try_new(file, SchemaRef::clone(schema), Some(properties))
            .map_err(|error| unwritable(&place, &error))?;
        Ok(Self { place, draft, writer: Some(writer), nameless, finished: None, row_group_bytes, rows: 0 })
    }

    /// Add rows.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), TableError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        self.rows += rows.num_rows();
        writer.write(rows).map_err(|error| unwritable(&self.place, &error))?;
        if writer.memory_size() > self.row_group_bytes {
            writer.flush().map_err(|error| unwritable(&self.place, &error))?;
        }
        Ok(())
    }

    /// Write the file as row groups, instead of [`write`](Self::write) and [`finish`](Self::finish): `wave` says which come next, until it
    /// says none, and `rows` makes each. Threads make and encode those of a wave side by side. Returns the count of rows.
    pub(crate) fn write_groups<G: Send>(
        &mut self,
        threads: usize,
        mut wave: impl FnMut() -> Result<Vec<G>, TableError>,
        rows: impl Fn(G) -> Result<RecordBatch, TableError> + Sync,
    ) -> Result<usize, TableError> {
        let Some(writer) = self.writer.take() else { return Ok(self.rows) };
        let draft = &self.draft;
        let unwritable = |error: ParquetError| unwritable(draft, &error);
        let (mut writer, factory) = writer.into_serialized_writer().map_err(unwritable)?;
        let mut first = 0;
        loop {
            let groups = wave()?;
            if groups.is_empty() {
                break;
            }
            let count = groups.len();
            let encode = |at, group| encoded(&factory, first + at, &rows(group)?).map_err(unwritable);
            for (chunks, rows) in in_turn(groups, threads, &AtomicBool::new(false), encode)? {
                let mut group = writer.next_row_group().map_err(unwritable)?;
                for chunk in chunks {
                    chunk.append_to_row_group(&mut group).map_err(unwritable)?;
                }
                group.close().map_err(unwritable)?;
                self.rows += rows;
            }
            first += count;
        }
        let file = writer.into_inner().map_err(unwritable)?;
        synced(&file, draft)?;
        self.finished = Some(file);
        Ok(self.rows)
    }

    /// Write what is left and wait until the disk has all of it; the name is still the draft's. Returns the count of rows.
    pub(crate) fn finish(&mut self) -> Result<usize, TableError> {
        if let Some(writer) = self.writer.take() {
            let file = writer.into_inner().map_err(|error| unwritable(&self.place, &error))?;
            synced(&file, &self.place)?;
            self.finished = Some(file);
        }
        Ok(self.rows)
    }

    /// Give a finished file its name, replacing an earlier one.
    pub(crate) fn publish(self) -> Result<(), TableError> {
        if let Some(file) = self.finished.as_ref().filter(|_| self.nameless) {
            // A draft of an earlier try: a name is not given twice.
            let _ = fs::remove_file(&self.draft);
            let file = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, file, CWD, &self.draft, AtFlags::SYMLINK_FOLLOW)
                .map_err(|error| unwritable(&self.place, &std::io::Error::from(error)))?;
        }
        fs::rename(&self.draft, &self.place).map_err(|error| unwritable(&self.place, &error))
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // After `publish` there is no draft; after a failure, whether it could be removed changes nothing.
        let _ = fs::remove_file(&self.draft);
    }
}

/// A file that its owner alone can read, and whether it has no name; else it has the draft's.
fn private_file(place: &Path) -> std::io::Result<(File, bool)> {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(file) = open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        return Ok((File::from(file), true));
    }
    // A file system without such files; a folder that cannot be written fails again.
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(draft_of(place))?;
    Ok((file, false))
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

    /// A private file is whole when its name appears, replaces an earlier one, and is read by its owner alone.
    #[test]
    fn private_files_have_no_name_before_they_are_whole() {
        use std::os::unix::fs::PermissionsExt;

        let folder = Folder::new("private");
        fs::create_dir_all(&folder.0).unwrap();
        let place = folder.0.join("a.parquet");
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(vec![1, 2])) as _)]).unwrap();
        for stale in [false, true] {
            if stale {
                fs::write(folder.0.join(".a.parquet.draft"), "of a run that was killed").unwrap();
            }
            let mut file = PartFile::create_private(place.clone(), rows.schema_ref(), &["n"], usize::MAX).unwrap();
            file.write(&rows).unwrap();
            assert_eq!(file.finish().unwrap(), 2);
            file.publish().unwrap();
            assert_eq!(folder.names(), ["a.parquet"]);
            assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(fs::read(&place).unwrap().ends_with(b"PAR1"));
        }
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
