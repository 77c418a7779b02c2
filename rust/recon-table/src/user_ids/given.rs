//! What everybody got, as batches in the order of account keys or as a Parquet file.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{Int32Builder, StringBuilder};
use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use recon_core::marker::ACCOUNT_KEY_BYTES;

use super::groups::SEARCHES;
use super::kept::Kept;
use super::people::{KEPT, People, Person};
use super::settle::unpacked;
use crate::TableError;
use crate::part_file::{PartFile, Purpose, ROW_GROUP_ROWS};
use crate::threads::checked_threads;

/// Rows of a batch.
pub(crate) const BATCH_ROWS: usize = 32_768;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("account_key", DataType::FixedSizeBinary(17), false),
        Field::new("user_id", DataType::Utf8, true),
        Field::new("attempt", DataType::Int32, true),
    ]))
});

/// The user IDs of all people of a call, packed: some 50 bytes a person.
pub struct UserIds {
    people: People,
    kept: Kept,
    /// How many people are before each shard.
    before: Vec<usize>,
    rows: usize,
}

impl UserIds {
    pub(crate) fn new(mut people: People, kept: Kept) -> Self {
        let (mut before, mut rows) = (Vec::with_capacity(people.shards.len()), 0);
        for shard in &mut people.shards {
            shard.forget_claims();
            before.push(rows);
            rows += shard.persons.len();
        }
        Self { people, kept, before, rows }
    }

    /// The columns: `account_key` (17 bytes), `user_id` and `attempt`.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    /// How many people there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many batches there are.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.rows.div_ceil(BATCH_ROWS)
    }

    /// One batch of people in the order of their keys; after the last, batches are empty.
    ///
    /// # Errors
    /// None that bad input leads to.
    pub fn batch(&self, number: usize) -> Result<RecordBatch, TableError> {
        self.some(number * BATCH_ROWS, BATCH_ROWS)
    }

    /// Write all rows to a Parquet file, which appears when it is whole. Returns how many.
    ///
    /// # Errors
    /// When the place cannot be written, or the work is cancelled; nothing is left then.
    pub fn write(&self, place: &Path, threads: usize, cancel: &AtomicBool) -> Result<usize, TableError> {
        let mut file =
            PartFile::create(place.to_owned(), &SCHEMA, &["account_key", "user_id"], usize::MAX, Purpose::Lasting)?;
        let threads = checked_threads(threads)?;
        let mut groups = 0..self.rows.div_ceil(ROW_GROUP_ROWS);
        let wave = || Ok(groups.by_ref().take(threads).collect());
        let rows = file.write_groups(threads, wave, |group| {
            if cancel.load(Ordering::Relaxed) {
                return Err(TableError::Cancelled);
            }
            self.some(group * ROW_GROUP_ROWS, ROW_GROUP_ROWS)
        })?;
        file.publish()?;
        Ok(rows)
    }

    fn some(&self, start: usize, count: usize) -> Result<RecordBatch, TableError> {
        let count = count.min(self.rows.saturating_sub(start));
        let mut keys = Vec::with_capacity(count * ACCOUNT_KEY_BYTES);
        let mut user_ids = StringBuilder::with_capacity(count, count * 20);
        let (mut attempts, mut user_id) = (Int32Builder::with_capacity(count), String::new());
        let (mut people, mut together) = (self.from(start).take(count), Vec::with_capacity(SEARCHES));
        loop {
            together.clear();
            together.extend(people.by_ref().take(SEARCHES));
            if together.is_empty() {
                break;
            }
            self.people.groups.touch(together.iter().map(|(person, _)| person.group));
            for &(person, given) in &together {
                keys.extend_from_slice(&person.key());
                if given == KEPT {
                    user_ids.append_option(self.kept.user_id(&person.key()));
                    attempts.append_null();
                    continue;
                }
                let given = unpacked(given);
                attempts.append_option(given.and_then(|given| i32::try_from(given.attempt).ok()));
                user_ids.append_option(given.map(|given| {
                    user_id.clear();
                    self.people.groups.base(person.group, |base| user_id.push_str(base));
                    given.digits.push_to(&mut user_id);
                    &user_id
                }));
            }
        }
        let keys = FixedSizeBinaryArray::try_new(17, Buffer::from_vec(keys), None)?;
        let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(user_ids.finish()), Arc::new(attempts.finish())];
        Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
    }

    /// People from a place on, in the order of their keys, with what they have.
    fn from(&self, start: usize) -> impl Iterator<Item = (&Person, u32)> {
        let first = self.before.partition_point(|&before| before <= start).saturating_sub(1);
        let skipped = start - self.before.get(first).copied().unwrap_or(0);
        let shards = self.people.shards.get(first..).unwrap_or_default().iter();
        let people = shards.flat_map(|shard| shard.persons.iter().zip(&shard.given));
        people.skip(skipped).map(|(person, given)| (person, given.load(Ordering::Relaxed)))
    }
}
