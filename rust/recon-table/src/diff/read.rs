//! First pass: every row of both sides becomes a record of its key, the digest of its attributes and its place, in the part of its key.

use std::marker::PhantomData;

use recon_core::normalise::{Normalisation, normalised};
use recon_core::row_digest::{add, column_seed, value_digest};

use super::Job;
use super::column::{Column, Dictionary, NULL, Run};
use super::input::{Input, Unit};
use super::keys::{Layout, Parts, Ranking, Tail};
use super::store::{Scatter, Store, chunk_bytes};
use crate::TableError;
use crate::threads::each_unit;

/// Rows worked column by column before the next ones: their digests and codes stay in the cache.
pub(super) const SLICE_ROWS: usize = 16_384;
/// Keys that are looked at to find parts of about one size.
const SAMPLE_KEYS: usize = 65_536;
/// Units of a side whose first rows are looked at.
const SAMPLE_UNITS: usize = 16;

/// The slot of a part's records of one side.
pub(super) fn slot(part: usize, side: usize) -> usize {
    2 * part + side
}

/// Read both sides into a store by part.
pub(super) fn read_all<L: Layout>(job: &Job, parts: &Parts, store: &Store) -> Result<(), TableError> {
    job.control.begin("read", job.sides.iter().map(Input::rows).sum());
    let chunk = chunk_bytes(job.budget_bytes, job.threads, store.slots());
    let units = job.units();
    each_unit(units.len(), job.threads, |next| {
        let mut reader = UnitReader::<L> {
            job,
            parts,
            digesters: job.digesters(),
            digests: vec![0; SLICE_ROWS],
            scatter: Scatter::new(store, chunk),
            layout: PhantomData,
        };
        while let Some(number) = next() {
            let (side, unit) = units[number];
            reader.read(side, unit, u32::try_from(number).unwrap_or(u32::MAX))?;
        }
        reader.scatter.finish()
    })
}

/// One thread's work of the first pass.
struct UnitReader<'a, L> {
    job: &'a Job,
    parts: &'a Parts,
    digesters: Vec<Digester<'a>>,
    digests: Vec<u128>,
    scatter: Scatter<'a>,
    layout: PhantomData<L>,
}

impl<L: Layout> UnitReader<'_, L> {
    fn read(&mut self, side: usize, unit: &Unit, number: u32) -> Result<(), TableError> {
        let input = &self.job.sides[side];
        let mut columns = input.open_unit(unit, 0..self.job.kinds[side].len(), &self.job.kinds[side])?;
        self.digesters.iter_mut().for_each(Digester::forget);
        for start in (0..unit.rows).step_by(SLICE_ROWS) {
            let rows = SLICE_ROWS.min(unit.rows - start);
            self.digests[..rows].fill(0);
            if !self.job.exact {
                for (place, (column, digester)) in columns.iter_mut().skip(1).zip(&mut self.digesters).enumerate() {
                    let digests = &mut self.digests[..rows];
                    input.guarded(unit, place + 1, || {
                        column.rows(rows, |at, run| {
                            digester.digest(run, &mut digests[at..at + run.len()]);
                            Ok(())
                        })
                    })?;
                }
            }
            self.scatter_keys(side, unit, &mut columns[0], (start, rows), number)?;
            self.job.control.advance(rows as u64)?;
        }
        let read = if self.job.exact { &mut columns[..1] } else { &mut columns[..] };
        for (place, column) in read.iter_mut().enumerate() {
            if input.guarded(unit, place, || Ok(column.next(1)?.is_some()))? {
                return Err(input.damaged(unit, place, &"a row group has more rows than it says"));
            }
        }
        Ok(())
    }

    fn scatter_keys(
        &mut self,
        side: usize,
        unit: &Unit,
        keys: &mut Column<'_>,
        (start, rows): (usize, usize),
        number: u32,
    ) -> Result<(), TableError> {
        let (input, reading) = (&self.job.sides[side], self.job.readings[side]);
        let (parts, scatter, digests) = (self.parts, &mut self.scatter, &self.digests);
        let mut failed = None;
        input.guarded(unit, 0, || {
            keys.rows(rows, |at, run| {
                run.each(|place, content| {
                    let row = at + place;
                    let tail = Tail { digest: digests[row], unit: number, row: row_number(start + row) };
                    let put = |key: &[u8]| -> Result<(), TableError> {
                        let records = scatter.room(slot(parts.part(key), side), L::len(key))?;
                        L::push(records, key, tail);
                        Ok(())
                    };
                    match content.map(|content| reading.with(content, put)) {
                        Some(Some(Ok(()))) => {}
                        Some(Some(Err(error))) => failed = Some(error),
                        Some(None) => failed = Some(self.job.no_key(input, unit)),
                        None => failed = Some(input.wrong(unit, 0, "a key is null".to_owned())),
                    }
                });
                failed.take().map_or(Ok(()), |error| Err(error.into()))
            })
        })
    }
}

/// Units have fewer than 2^32 rows.
fn row_number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// Digests one attribute's values; those of a dictionary once.
pub(super) struct Digester<'a> {
    seed: u64,
    ways: &'a [Normalisation],
    number: u64,
    entries: Vec<u128>,
}

impl<'a> Digester<'a> {
    pub(super) fn new(seed: u64, place: u64, ways: &'a [Normalisation]) -> Self {
        Self { seed: column_seed(seed, place), ways, number: 0, entries: Vec::new() }
    }

    /// Another chunk begins, with dictionaries of its own.
    fn forget(&mut self) {
        self.number = 0;
    }

    #[inline]
    fn value(&self, content: Option<&[u8]>) -> u128 {
        if self.ways.is_empty() {
            return value_digest(content, self.seed);
        }
        let normal = content.and_then(|content| normalised(self.ways, content));
        value_digest(normal.as_deref(), self.seed)
    }

    /// Add the digests of a run to its rows'.
    pub(super) fn digest(&mut self, run: &Run<'_>, rows: &mut [u128]) {
        match run {
            Run::Codes { codes, dictionary } => {
                self.learn(dictionary);
                for (row, code) in rows.iter_mut().zip(*codes) {
                    if *code != NULL {
                        add(row, self.entries[*code as usize]);
                    }
                }
            }
            other => other.each(|at, content| add(&mut rows[at], self.value(content))),
        }
    }

    fn learn(&mut self, dictionary: &Dictionary) {
        if self.number != dictionary.number {
            self.number = dictionary.number;
            let mut entries = std::mem::take(&mut self.entries);
            entries.clear();
            entries.extend(dictionary.spans.iter().map(|span| self.value(span.content(&dictionary.bytes))));
            self.entries = entries;
        }
    }
}

/// Some keys of both sides, evenly spread.
pub(super) fn sampled_keys(job: &Job) -> Result<Vec<Vec<u8>>, TableError> {
    let mut sample = Vec::new();
    for side in 0..2 {
        match clustered_keys(job, side) {
            Some(keys) => sample.extend(keys),
            None => sample_side(job, side, &mut sample)?,
        }
    }
    Ok(sample)
}

fn sample_side(job: &Job, side: usize, sample: &mut Vec<Vec<u8>>) -> Result<(), TableError> {
    let (input, reading) = (&job.sides[side], job.readings[side]);
    let units = input.units.iter().step_by(input.units.len().div_ceil(SAMPLE_UNITS).max(1)).collect::<Vec<_>>();
    let each = SAMPLE_KEYS / units.len().max(1);
    for unit in units {
        let mut keys = input.open_unit(unit, 0..1, &job.kinds[side])?;
        input.guarded(unit, 0, || {
            let Some(run) = keys[0].next(usize::MAX)? else { return Ok(()) };
            let step = run.len().div_ceil(each).max(1);
            // Contents that are no keys are refused when all rows are read.
            run.pick((0..run.len()).step_by(step), |content| {
                sample.extend(content.and_then(|content| reading.with(content, <[u8]>::to_vec)));
            });
            Ok(())
        })?;
        job.control.advance(0)?;
    }
    Ok(())
}

/// Keys between the least and the greatest of each unit, when units hold ranges of keys, as in a sorted file: the first rows of a few
/// units would say little there. `None` otherwise.
fn clustered_keys(job: &Job, side: usize) -> Option<Vec<Vec<u8>>> {
    const UNITS_MIN: usize = 8;
    let (input, reading) = (&job.sides[side], job.readings[side]);
    if input.units.len() < UNITS_MIN {
        return None;
    }
    let key = |content: &[u8]| reading.with(content, <[u8]>::to_vec);
    let ranges = input.units.iter().map(|unit| {
        let (low, high) = input.key_range(unit)?;
        Some((key(&low)?, key(&high)?)).filter(|(low, high)| low <= high)
    });
    let ranges = ranges.collect::<Option<Vec<_>>>()?;
    let (lowest, highest) = (ranges.iter().map(|range| &range.0).min()?, ranges.iter().map(|range| &range.1).max()?);
    let ranking = Ranking::between(lowest, highest);
    let span = u128::from(ranking.rank(highest) - ranking.rank(lowest));
    let ranks = ranges.iter().map(|(low, high)| (ranking.rank(low), ranking.rank(high))).collect::<Vec<_>>();
    let covered = ranks.iter().map(|(low, high)| u128::from(high - low)).sum::<u128>();
    if covered * 4 > span * ranks.len() as u128 {
        return None;
    }
    let each = (SAMPLE_KEYS / ranks.len()).max(2) as u64;
    let between = |(low, high): &(u64, u64)| {
        let (low, step) = (*low, (high - low) / each);
        (0..each).map(move |at| low + at * step)
    };
    Some(ranks.iter().flat_map(between).map(|rank| ranking.key_of(rank)).collect())
}
