//! Between the passes: the records of a part, sorted and walked. What comes out are findings in the order of the keys, and for each
//! unit the rows whose values they show.

use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use recon_core::compare::{Finding, Kind, Pairs, SortedRows, compare};

use super::keys::{Layout, Parts, Ranking};
use super::read::slot;
use super::store::{Chunk, Scatter, Store, chunk_bytes, lock};
use super::{DiffCounts, Job};
use crate::TableError;
use crate::threads::each_unit;

/// Most findings of a segment: what one thread makes lines of at once.
pub(super) const SEGMENT_FINDINGS: u32 = 16_384;
/// How often a part that is too large is cut again.
const CUTS_MAX: usize = 24;
/// Parts that one of these is cut into.
const CUT_PARTS: usize = 64;
/// Keys sampled of a part that is cut again.
const CUT_SAMPLE: usize = 16_384;

/// Findings in the order of the keys, a piece of a part.
pub(super) struct Segment {
    /// Its part and its place there.
    order: (usize, usize),
    /// Its number, by which values are gathered.
    pub(super) number: u32,
    pub(super) findings: u32,
    pub(super) records: Chunk,
}

/// What matching hands on.
pub(super) struct Matched {
    /// In the order of the keys.
    pub(super) segments: Vec<Segment>,
    pub(super) counts: DiffCounts,
}

impl Matched {
    /// How many numbers segments have.
    pub(super) fn numbers(&self) -> usize {
        self.segments.iter().map(|segment| segment.number as usize + 1).max().unwrap_or(0)
    }
}

/// Match all parts. `wanted` gets, by unit, the row, segment and place of every finding's values.
pub(super) fn match_all<L: Layout>(
    job: &Job,
    parts: usize,
    store: &Store,
    kept: &Store,
    wanted: &Store,
) -> Result<Matched, TableError> {
    job.control.begin("match", parts as u64);
    let chunk = chunk_bytes(job.budget_bytes, job.threads, wanted.slots());
    let (segments, counts) = (Mutex::new(Vec::new()), Mutex::new(DiffCounts::default()));
    let numbers = AtomicU32::new(0);
    each_unit(parts, job.threads, |next| {
        let mut matcher = Matcher::<L> {
            job,
            kept,
            numbers: &numbers,
            wanted: Scatter::new(wanted, chunk),
            part: 0,
            open: Open { number: numbers.fetch_add(1, Ordering::Relaxed), ..Open::default() },
            made: Vec::new(),
            counts: DiffCounts::default(),
            sides: [Vec::new(), Vec::new()],
            layout: PhantomData,
        };
        while let Some(part) = next() {
            (matcher.part, matcher.open.place) = (part, 0);
            matcher.match_part(store, part, 0)?;
            matcher.close()?;
            job.control.advance(1)?;
        }
        matcher.wanted.finish()?;
        lock(&segments).append(&mut matcher.made);
        lock(&counts).add(&matcher.counts);
        Ok(())
    })?;
    let mut segments = segments.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    segments.sort_unstable_by_key(|segment: &Segment| segment.order);
    let counts = counts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Matched { segments, counts })
}

/// The segment that findings are added to.
#[derive(Default)]
struct Open {
    records: Vec<u8>,
    findings: u32,
    number: u32,
    place: usize,
}

/// One thread's work.
struct Matcher<'a, L> {
    job: &'a Job,
    kept: &'a Store,
    numbers: &'a AtomicU32,
    wanted: Scatter<'a>,
    part: usize,
    open: Open,
    made: Vec<Segment>,
    counts: DiffCounts,
    sides: [Vec<u8>; 2],
    layout: PhantomData<L>,
}

impl<L: Layout> Matcher<'_, L> {
    fn match_part(&mut self, store: &Store, part: usize, cuts: usize) -> Result<(), TableError> {
        let bytes = store.len(slot(part, 0)) + store.len(slot(part, 1));
        if bytes > self.job.part_bytes_max && cuts < CUTS_MAX {
            return self.match_large(store, part, cuts);
        }
        let [mut one, mut other] = std::mem::take(&mut self.sides);
        store.gather(slot(part, 0), &mut one)?;
        store.gather(slot(part, 1), &mut other)?;
        let (source, directory) = sorted_sides::<L>(&one, &other);
        let pairs = if self.job.exact { Pairs::All } else { Pairs::Differing };
        let mut failed = Ok(());
        let walked = compare(&source, &directory, pairs, |finding| {
            if failed.is_ok() {
                failed = self.tell(&finding, &source, &directory);
            }
        });
        self.counts.unchanged += walked.unchanged;
        self.counts.common += walked.common;
        self.sides = [one, other];
        failed
    }

    /// Cut a part again that is too large to be held, or count its rows when they have one key.
    fn match_large(&mut self, store: &Store, part: usize, cuts: usize) -> Result<(), TableError> {
        let (found, sample) = Extent::of::<L>(store, part)?;
        let (Some(lowest), Some(highest)) = (&found.lowest, &found.highest) else { return Ok(()) };
        if lowest == highest {
            return self.tell_one_key(store, part, &found);
        }
        let parts = Parts::of(sample, CUT_PARTS);
        let finer = store.beside(2 * parts.count());
        let mut scatter = Scatter::new(&finer, 32 << 10);
        for side in 0..2 {
            store.drain(slot(part, side), |records| {
                let mut offset = 0;
                while offset < records.len() {
                    let (key, after) = L::key(records, offset);
                    let end = after + super::keys::TAIL;
                    let room = scatter.room(slot(parts.part(key), side), end - offset)?;
                    room.extend_from_slice(&records[offset..end]);
                    offset = end;
                }
                self.job.control.advance(0)
            })?;
        }
        scatter.finish()?;
        (0..parts.count()).try_for_each(|part| self.match_part(&finer, part, cuts + 1))
    }

    fn tell_one_key(&mut self, store: &Store, part: usize, found: &Extent) -> Result<(), TableError> {
        self.counts.common += u64::from(found.rows.iter().all(|rows| *rows > 0));
        for (kind, side) in [(Kind::DuplicateSource, 0), (Kind::DuplicateDirectory, 1)] {
            if found.rows[side] > 1 {
                self.counts.count(kind);
                self.write(kind, found.rows[side], found.lowest.as_deref().unwrap_or_default())?;
            }
            store.drain(slot(part, side), |_| Ok(()))?;
        }
        Ok(())
    }

    fn tell(&mut self, finding: &Finding, source: &Sorted<L>, directory: &Sorted<L>) -> Result<(), TableError> {
        self.counts.count(finding.kind);
        let shown = match finding.kind {
            Kind::DuplicateSource | Kind::DuplicateDirectory => [None, None],
            Kind::Added | Kind::Removed | Kind::Changed => [finding.source, finding.directory],
        };
        for (side, at) in [source, directory].into_iter().zip(shown) {
            let Some(at) = at else { continue };
            let (unit, row) = side.place(at);
            let room = self.wanted.room(unit, 12)?;
            room.extend_from_slice(&row);
            room.extend_from_slice(&self.open.number.to_le_bytes());
            room.extend_from_slice(&self.open.findings.to_le_bytes());
        }
        let key = match (finding.source, finding.directory) {
            (Some(at), _) => source.key(at),
            (None, Some(at)) => directory.key(at),
            (None, None) => &[],
        };
        self.write(finding.kind, finding.count, key)
    }

    /// A finding's record: kind (1 byte), count (8), length of the key (2), key.
    fn write(&mut self, kind: Kind, count: u64, key: &[u8]) -> Result<(), TableError> {
        let records = &mut self.open.records;
        records.push(kind.code());
        records.extend_from_slice(&count.to_le_bytes());
        records.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        records.extend_from_slice(key);
        self.open.findings += 1;
        if self.open.findings == SEGMENT_FINDINGS { self.close() } else { Ok(()) }
    }

    /// End the open segment and begin the next.
    fn close(&mut self) -> Result<(), TableError> {
        if self.open.findings > 0 {
            self.made.push(Segment {
                order: (self.part, self.open.place),
                number: self.open.number,
                findings: self.open.findings,
                records: self.kept.keep(std::mem::take(&mut self.open.records))?,
            });
            self.open.place += 1;
            self.open.findings = 0;
            self.open.number = self.numbers.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Keys and rows of a part that is too large.
#[derive(Default)]
struct Extent {
    lowest: Option<Vec<u8>>,
    highest: Option<Vec<u8>>,
    rows: [u64; 2],
}

impl Extent {
    fn of<L: Layout>(store: &Store, part: usize) -> Result<(Self, Vec<Vec<u8>>), TableError> {
        let (mut found, mut sample) = (Self::default(), Vec::new());
        // Records are about as long as each other: so far apart the sample has its size.
        let apart = ((store.len(slot(part, 0)) + store.len(slot(part, 1))) / CUT_SAMPLE).max(1);
        let mut passed = apart;
        for side in 0..2 {
            store.scan(slot(part, side), |records| {
                let mut offset = 0;
                while offset < records.len() {
                    let (key, after) = L::key(records, offset);
                    if found.lowest.as_deref().is_none_or(|lowest| key < lowest) {
                        found.lowest = Some(key.to_vec());
                    }
                    if found.highest.as_deref().is_none_or(|highest| key > highest) {
                        found.highest = Some(key.to_vec());
                    }
                    found.rows[side] += 1;
                    passed += after + super::keys::TAIL - offset;
                    if passed >= apart {
                        passed = 0;
                        sample.push(key.to_vec());
                    }
                    offset = after + super::keys::TAIL;
                }
            })?;
        }
        // With these in it, the ranking is that of all keys.
        sample.extend(found.lowest.clone());
        sample.extend(found.highest.clone());
        Ok((found, sample))
    }
}

/// Records of one side in the order of their keys.
struct Sorted<'a, L> {
    records: &'a [u8],
    entries: Vec<(u64, u32)>,
    layout: PhantomData<L>,
}

fn sorted_sides<'a, L: Layout>(one: &'a [u8], other: &'a [u8]) -> (Sorted<'a, L>, Sorted<'a, L>) {
    let (mut lowest, mut highest) = (None, None);
    for records in [one, other] {
        each_record::<L>(records, |_, key| {
            lowest = Some(lowest.map_or(key, |lowest: &[u8]| lowest.min(key)));
            highest = Some(highest.map_or(key, |highest: &[u8]| highest.max(key)));
        });
    }
    let ranking = Ranking::between(lowest.unwrap_or_default(), highest.unwrap_or_default());
    (Sorted::of(one, &ranking), Sorted::of(other, &ranking))
}

#[inline]
fn each_record<'a, L: Layout>(records: &'a [u8], mut take: impl FnMut(usize, &'a [u8])) {
    let mut offset = 0;
    while offset < records.len() {
        let (key, after) = L::key(records, offset);
        take(offset, key);
        offset = after + super::keys::TAIL;
    }
}

impl<'a, L: Layout> Sorted<'a, L> {
    fn of(records: &'a [u8], ranking: &Ranking) -> Self {
        let mut entries = Vec::with_capacity(records.len() / (super::keys::TAIL + 16));
        // A part held in memory is far below 4 GiB.
        each_record::<L>(records, |offset, key| {
            entries.push((ranking.rank(key), u32::try_from(offset).unwrap_or(u32::MAX)));
        });
        // By rank alone first: a comparison of two numbers needs no branch.
        entries.sort_unstable_by_key(|entry| entry.0);
        for equal in entries.chunk_by_mut(|one, other| one.0 == other.0).filter(|equal| equal.len() > 1) {
            equal.sort_unstable_by_key(|entry| L::key(records, entry.1 as usize).0);
        }
        Self { records, entries, layout: PhantomData }
    }

    fn tail(&self, at: usize) -> &[u8] {
        let (_, after) = L::key(self.records, self.entries[at].1 as usize);
        &self.records[after..after + super::keys::TAIL]
    }

    /// The unit of a row, and the row there.
    fn place(&self, at: usize) -> (usize, [u8; 4]) {
        let tail = self.tail(at);
        let four = |start: usize| tail[start..].first_chunk().copied().unwrap_or_default();
        (u32::from_le_bytes(four(16)) as usize, four(20))
    }
}

impl<L: Layout> SortedRows for Sorted<'_, L> {
    fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    fn rank(&self, at: usize) -> u64 {
        self.entries[at].0
    }

    #[inline]
    fn key(&self, at: usize) -> &[u8] {
        L::key(self.records, self.entries[at].1 as usize).0
    }

    #[inline]
    fn digest(&self, at: usize) -> u128 {
        self.tail(at).first_chunk().map_or(0, |digest| u128::from_le_bytes(*digest))
    }
}
