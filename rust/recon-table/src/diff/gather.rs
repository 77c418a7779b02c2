//! Second pass: the values of the rows that findings show, from the units that have any, into the findings' segments.

use super::Job;
use super::column::Column;
use super::input::Unit;
use super::matching::Matched;
use super::read::{SLICE_ROWS, slot};
use super::store::{Scatter, Store, chunk_bytes};
use crate::TableError;
use crate::threads::each_unit;

/// The length of a null.
pub(super) const NULL_LEN: u32 = u32::MAX;

/// Read the values that `wanted` asks for into a store with a slot for each segment and side.
///
/// A record: place of its finding (4 bytes), length of the rest (4), and of each attribute the length (4) and the content.
pub(super) fn gather_all(job: &Job, matched: &Matched, wanted: &Store) -> Result<Store, TableError> {
    let values = Store::new(2 * matched.numbers(), &job.budget, &job.folder);
    let chunk = chunk_bytes(job.budget_bytes, job.threads, values.slots());
    let units = job.units();
    let asked = |number: usize, unit: &Unit| if wanted.len(number) > 0 { unit.rows as u64 } else { 0 };
    job.control.begin("gather", units.iter().enumerate().map(|(number, (_, unit))| asked(number, unit)).sum());
    each_unit(units.len(), job.threads, |next| {
        let mut gatherer = Gatherer { job, scatter: Scatter::new(&values, chunk), picked: Picked::default() };
        let mut records = Vec::new();
        while let Some(number) = next() {
            let (side, unit) = units[number];
            wanted.gather(number, &mut records)?;
            if !records.is_empty() {
                gatherer.gather(side, unit, &records)?;
            }
        }
        gatherer.scatter.finish()
    })?;
    Ok(values)
}

/// A row that is wanted, and whose it is.
#[derive(Clone, Copy)]
struct Wish {
    row: u32,
    segment: u32,
    place: u32,
}

fn wishes(records: &[u8]) -> Vec<Wish> {
    let mut wishes = records
        .as_chunks::<12>()
        .0
        .iter()
        .map(|record| {
            let four = |start: usize| u32::from_le_bytes(record[start..].first_chunk().copied().unwrap_or_default());
            Wish { row: four(0), segment: four(4), place: four(8) }
        })
        .collect::<Vec<_>>();
    wishes.sort_unstable_by_key(|wish| wish.row);
    wishes
}

/// One thread's work of the second pass.
struct Gatherer<'a> {
    job: &'a Job,
    scatter: Scatter<'a>,
    picked: Picked,
}

/// Contents of the wanted rows of a slice, column after column: the lengths, and the contents after one another.
#[derive(Default)]
struct Picked {
    lengths: Vec<u32>,
    contents: Vec<u8>,
    /// Where each column's contents begin.
    starts: Vec<usize>,
}

impl Gatherer<'_> {
    fn gather(&mut self, side: usize, unit: &Unit, records: &[u8]) -> Result<(), TableError> {
        let (input, kinds) = (&self.job.sides[side], &self.job.kinds[side]);
        let mut columns = input.open_unit(unit, 1..kinds.len(), kinds)?;
        let wishes = wishes(records);
        let mut left = &wishes[..];
        for start in (0..unit.rows).step_by(SLICE_ROWS) {
            let rows = SLICE_ROWS.min(unit.rows - start);
            let end = start + rows;
            let (mine, rest) = left.split_at(left.partition_point(|wish| (wish.row as usize) < end));
            left = rest;
            self.picked.clear();
            for (place, column) in columns.iter_mut().enumerate() {
                input.guarded(unit, place + 1, || self.picked.column(column, (start, rows), mine))?;
            }
            self.hand_over(side, mine, columns.len())?;
            self.job.control.advance(rows as u64)?;
            if left.is_empty() {
                // What is not read counts as done.
                return self.job.control.advance((unit.rows - end) as u64);
            }
        }
        Ok(())
    }

    /// Put the contents of each wanted row together as its record.
    fn hand_over(&mut self, side: usize, wishes: &[Wish], columns: usize) -> Result<(), TableError> {
        let picked = &self.picked;
        let mut at = picked.starts.clone();
        for (number, wish) in wishes.iter().enumerate() {
            let lengths = (0..columns).map(|column| picked.lengths[column * wishes.len() + number]);
            let body = lengths.clone().map(|length| 4 + content_len(length)).sum::<usize>();
            let record = self.scatter.room(slot(wish.segment as usize, side), 8 + body)?;
            record.extend_from_slice(&wish.place.to_le_bytes());
            record.extend_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_le_bytes());
            for (at, length) in at.iter_mut().zip(lengths) {
                record.extend_from_slice(&length.to_le_bytes());
                let end = *at + content_len(length);
                record.extend_from_slice(&picked.contents[*at..end]);
                *at = end;
            }
        }
        Ok(())
    }
}

/// Bytes that a content of this length takes.
pub(super) fn content_len(length: u32) -> usize {
    if length == NULL_LEN { 0 } else { length as usize }
}

impl Picked {
    fn clear(&mut self) {
        self.lengths.clear();
        self.contents.clear();
        self.starts.clear();
    }

    /// Pick the wanted rows of a column's next rows.
    fn column(
        &mut self,
        column: &mut Column<'_>,
        (first, rows): (usize, usize),
        wishes: &[Wish],
    ) -> Result<(), super::pages::Damage> {
        self.starts.push(self.contents.len());
        let mut left = wishes;
        column.rows(rows, |at, run| {
            let (start, end) = (first + at, first + at + run.len());
            let (mine, rest) = left.split_at(left.partition_point(|wish| (wish.row as usize) < end));
            left = rest;
            run.pick(mine.iter().map(|wish| wish.row as usize - start), |content| match content {
                None => self.lengths.push(NULL_LEN),
                Some(content) => {
                    // A content is shorter than its page, which is below 2^32.
                    self.lengths.push(u32::try_from(content.len()).unwrap_or(NULL_LEN - 1));
                    self.contents.extend_from_slice(content);
                }
            });
            Ok(())
        })
    }
}
