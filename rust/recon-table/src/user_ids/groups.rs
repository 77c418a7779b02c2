//! Groups: the people of one base in one jenjang, numbered.
//!
//! Each group lives in the partition that its hash says, so that threads can work on partitions without meeting. A hash only says
//! where to look; whether two bases are one is decided by their letters.

// Hashes are cut to as many bits as a place has, and an entry's word to its parts.
#![allow(clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use recon_core::user_id::BASE_BYTES_MAX;

use crate::TableError;
use crate::huge::Huge;

/// Partitions of all groups: at national size one has some megabytes, which a core's own cache nearly holds.
pub(crate) const PARTITIONS: usize = 1 << PARTITION_BITS;
const PARTITION_BITS: u32 = 10;
const LOCAL_BITS: u32 = u32::BITS - PARTITION_BITS;

/// Words that hold a base, and how many of them a group's record holds.
const WORDS: usize = BASE_BYTES_MAX.div_ceil(8);
const SHORT_WORDS: usize = 3;
const SHORT_BYTES: usize = 8 * SHORT_WORDS;

/// A group: its partition and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group(u32);

impl Group {
    fn of(partition: usize, local: u32) -> Option<Self> {
        let partition = u32::try_from(partition).ok()?;
        (local >> LOCAL_BITS == 0).then_some(Self(partition << LOCAL_BITS | local))
    }

    pub(crate) fn partition(self) -> usize {
        (self.0 >> LOCAL_BITS) as usize
    }

    /// The number among the groups of its partition.
    pub(crate) fn local(self) -> u32 {
        self.0 & ((1 << LOCAL_BITS) - 1)
    }
}

/// A base in a jenjang, in the form that is hashed and compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    words: [u64; WORDS],
    len: u8,
    jenjang: u8,
}

impl Space {
    /// The space of a base of letters, dots or anything else, upper case as lower case; `None` when it is longer than any base.
    #[inline]
    pub(crate) fn of(jenjang: u8, base: &[u8]) -> Option<Self> {
        if base.len() > BASE_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; 8 * WORDS];
        bytes[..base.len()].copy_from_slice(base);
        let mut words = [0; WORDS];
        let used = if base.len() <= SHORT_BYTES { SHORT_WORDS } else { WORDS };
        for (word, bytes) in words[..used].iter_mut().zip(bytes.as_chunks().0) {
            *word = lower_case(u64::from_le_bytes(*bytes));
        }
        Some(Self { words, len: u8::try_from(base.len()).unwrap_or(u8::MAX), jenjang })
    }

    /// Write the base's text into `bytes` and return it.
    fn text<'a>(&self, bytes: &'a mut [u8; 8 * WORDS]) -> &'a str {
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.words) {
            *bytes = word.to_le_bytes();
        }
        // A group's base was a string; only spaces of groups come here.
        std::str::from_utf8(&bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

/// Eight bytes with the letters A to Z in lower case.
#[inline]
fn lower_case(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let low = word & !HIGH;
    // The high bit of each byte: set where the byte is at least A, and at least the one after Z.
    let from_a = low + ONES * (0x80 - u64::from(b'A'));
    let after_z = low + ONES * (0x7f - u64::from(b'Z'));
    word | ((from_a & !after_z & !word & HIGH) >> 2)
}

/// Numbers that each process draws anew, so that nobody can make up names that all meet in one place.
#[derive(Clone, Copy)]
pub(crate) struct Seeds([u64; 4]);

impl Seeds {
    fn drawn() -> Self {
        let random = RandomState::new();
        Self(std::array::from_fn(|at| random.hash_one(at)))
    }

    /// Where a space is looked for. The top bits give the partition.
    #[inline]
    pub(crate) fn hash(&self, space: &Space) -> u64 {
        let [one, two, three, four] = self.0;
        let words = &space.words;
        let mut hash = folded(words[0] ^ one, words[1] ^ two);
        hash = folded(hash ^ words[2], three ^ u64::from(space.len) << 8 ^ u64::from(space.jenjang));
        if usize::from(space.len) > SHORT_BYTES {
            hash = folded(hash ^ words[3], four ^ words[4]);
            hash = folded(hash ^ words[5], one ^ words[6]);
        }
        folded(hash, four)
    }
}

#[inline]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

#[inline]
fn partition_of(hash: u64) -> usize {
    (hash >> (u64::BITS - PARTITION_BITS)) as usize
}

/// A base as a table holds it: its front, and its length, jenjang and number in one word. A length of 0 is that of no base.
///
/// It has half a line of the cache, so that a search waits for memory once.
type Entry = [u64; SHORT_WORDS + 1];

fn entry(space: &Space, local: u32) -> Entry {
    let [one, two, three, ..] = space.words;
    [one, two, three, u64::from(local) << 32 | tail(space)]
}

#[inline]
fn tail(space: &Space) -> u64 {
    u64::from(space.len) << 8 | u64::from(space.jenjang)
}

#[inline]
fn len_of(entry: &Entry) -> usize {
    (entry[SHORT_WORDS] >> 8 & 0xff) as usize
}

#[inline]
fn local_of(entry: &Entry) -> u32 {
    (entry[SHORT_WORDS] >> 32) as u32
}

/// What follows the front of the few long bases, by number.
type Long = BTreeMap<u32, [u64; WORDS - SHORT_WORDS]>;

/// The base of an entry in its jenjang.
fn space_of(entry: &Entry, long: &Long) -> Space {
    let mut words = [0; WORDS];
    words[..SHORT_WORDS].copy_from_slice(&entry[..SHORT_WORDS]);
    if len_of(entry) > SHORT_BYTES {
        words[SHORT_WORDS..].copy_from_slice(&long.get(&local_of(entry)).copied().unwrap_or_default());
    }
    Space { words, len: (entry[SHORT_WORDS] >> 8) as u8, jenjang: entry[SHORT_WORDS] as u8 }
}

/// The place where a search starts in a table of so many entries: the first of two that share a line of the cache. The bits are not those
/// of the partition.
#[inline]
fn home(entries: usize, hash: u64) -> usize {
    ((u64::from(hash as u32) * entries as u64) >> 32) as usize & !1
}

/// The place where it goes on.
#[inline]
fn next(entries: usize, at: usize) -> usize {
    if at + 1 == entries { 0 } else { at + 1 }
}

/// The number of a space, or the place where it belongs, in a table that is not full.
#[inline]
fn find(entries: &[Entry], long: &Long, hash: u64, space: &Space) -> Result<u32, usize> {
    let mut at = home(entries.len(), hash);
    loop {
        let entry = &entries[at];
        let is_front = entry[..SHORT_WORDS] == space.words[..SHORT_WORDS] && entry[SHORT_WORDS] & 0xffff == tail(space);
        if is_front && (len_of(entry) <= SHORT_BYTES || space_of(entry, long) == *space) {
            return Ok(local_of(entry));
        }
        if len_of(entry) == 0 {
            return Err(at);
        }
        at = next(entries.len(), at);
    }
}

/// The groups of one partition while people come in: a table of open addressing.
#[derive(Default)]
struct Partition {
    entries: Vec<Entry>,
    /// Where each group's entry is.
    places: Vec<u32>,
    long: Long,
}

impl Partition {
    /// The number of a space that is not empty, given now if it is new.
    fn number(&mut self, seeds: &Seeds, hash: u64, space: &Space) -> u32 {
        if self.places.len() * 5 >= self.entries.len() * 4 {
            let mut larger = vec![Entry::default(); (self.entries.len() + self.entries.len() / 2).max(16)];
            self.fill(seeds, &mut larger);
            self.entries = larger;
        }
        find(&self.entries, &self.long, hash, space).unwrap_or_else(|at| {
            let local = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
            if usize::from(space.len) > SHORT_BYTES {
                self.long.insert(local, std::array::from_fn(|at| space.words[SHORT_WORDS + at]));
            }
            self.entries[at] = entry(space, local);
            self.places.push(u32::try_from(at).unwrap_or(u32::MAX));
            local
        })
    }

    /// Put all groups into another table that is empty, and note their places there.
    fn fill(&mut self, seeds: &Seeds, table: &mut [Entry]) {
        for place in &mut self.places {
            let entry = self.entries[*place as usize];
            let mut at = home(table.len(), seeds.hash(&space_of(&entry, &self.long)));
            while len_of(&table[at]) != 0 {
                at = next(table.len(), at);
            }
            table[at] = entry;
            *place = u32::try_from(at).unwrap_or(u32::MAX);
        }
    }

    /// What a search looks at first.
    #[inline]
    fn first(&self, hash: u64) -> u64 {
        self.entries.get(home(self.entries.len(), hash)).map_or(0, |entry| entry[0])
    }
}

/// Groups while people come in, from several threads.
pub(crate) struct Gathering {
    partitions: Vec<Mutex<Partition>>,
    seeds: Seeds,
}

impl Gathering {
    pub(crate) fn new() -> Self {
        Self { partitions: (0..PARTITIONS).map(|_| Mutex::default()).collect(), seeds: Seeds::drawn() }
    }

    /// The group of each space, in their order; new ones are numbered.
    pub(crate) fn number(&self, spaces: &[Space], groups: &mut Vec<Group>) -> Result<(), TableError> {
        let hashes = spaces.iter().map(|space| self.seeds.hash(space)).collect::<Vec<_>>();
        groups.clear();
        groups.resize(spaces.len(), Group::default());
        // Partition by partition, so that each is locked once.
        let order = by_partition(&hashes);
        for rows in
            order.chunk_by(|&one, &other| partition_of(hashes[one as usize]) == partition_of(hashes[other as usize]))
        {
            let number = partition_of(hashes[rows[0] as usize]);
            let mut partition = self.partitions[number].lock().unwrap_or_else(PoisonError::into_inner);
            // One search waits for memory where many together wait once.
            black_box(rows.iter().fold(0, |sum, &row| sum ^ partition.first(hashes[row as usize])));
            for &row in rows {
                let row = row as usize;
                let local = partition.number(&self.seeds, hashes[row], &spaces[row]);
                groups[row] = Group::of(number, local).ok_or_else(|| TableError::Argument {
                    problem: "people have more different names than one call can hold",
                    value: (local as usize * PARTITIONS).to_string(),
                })?;
            }
        }
        Ok(())
    }

    /// The groups when nobody comes any more, in one table.
    pub(crate) fn finish(self) -> Result<Groups, TableError> {
        let partitions =
            self.partitions.into_iter().map(|one| one.into_inner().unwrap_or_else(PoisonError::into_inner));
        let partitions = partitions.collect::<Vec<_>>();
        // A third stays free: with less, searches grow longer.
        let room = |partition: &Partition| (partition.places.len() * 3).div_ceil(2).next_multiple_of(2);
        let mut table = Huge::zeroed(partitions.iter().map(room).sum::<usize>() * size_of::<Entry>())?;
        let mut rest = table.values_mut::<Entry>();
        let (mut start, mut spans) = (0, Vec::with_capacity(PARTITIONS));
        // Each partition's own table goes as soon as it is copied.
        for mut partition in partitions {
            let len = room(&partition);
            let (here, after) = rest.split_at_mut(len);
            partition.fill(&self.seeds, here);
            spans.push(Span { start, len, places: partition.places, long: partition.long });
            (start, rest) = (start + len, after);
        }
        Ok(Groups { table, spans, seeds: self.seeds })
    }
}

/// Rows in the order of their partitions.
fn by_partition(hashes: &[u64]) -> Vec<u32> {
    let mut ends = vec![0_u32; PARTITIONS + 1];
    for &hash in hashes {
        ends[partition_of(hash) + 1] += 1;
    }
    for at in 0..PARTITIONS {
        ends[at + 1] += ends[at];
    }
    let mut order = vec![0; hashes.len()];
    for (row, &hash) in (0_u32..).zip(hashes) {
        let place = &mut ends[partition_of(hash)];
        order[*place as usize] = row;
        *place += 1;
    }
    order
}

/// All groups, complete.
pub(crate) struct Groups {
    table: Huge,
    spans: Vec<Span>,
    seeds: Seeds,
}

/// Where a partition's entries are in the table of all.
struct Span {
    start: usize,
    len: usize,
    places: Vec<u32>,
    long: Long,
}

impl Groups {
    /// Hand on the groups of spaces with their places, in order; of a space without a group nothing.
    pub(crate) fn find_all(&self, spaces: &[Space], mut found: impl FnMut(usize, Group)) {
        let entries = self.table.values::<Entry>();
        let mut hashes = [0; SEARCHES];
        for (start, spaces) in (0..).step_by(SEARCHES).zip(spaces.chunks(SEARCHES)) {
            let hashes = &mut hashes[..spaces.len()];
            for (hash, space) in hashes.iter_mut().zip(spaces) {
                *hash = self.seeds.hash(space);
            }
            // One search waits for memory where many together wait once.
            black_box(hashes.iter().fold(0, |sum, &hash| {
                let span = &self.spans[partition_of(hash)];
                sum ^ entries.get(span.start + home(span.len, hash)).map_or(0, |entry| entry[0])
            }));
            for ((at, &hash), space) in (start..).zip(&*hashes).zip(spaces) {
                let number = partition_of(hash);
                let span = &self.spans[number];
                if span.len == 0 || space.len == 0 {
                    continue;
                }
                let local = find(&entries[span.start..span.start + span.len], &span.long, hash, space);
                if let Some(group) = local.ok().and_then(|local| Group::of(number, local)) {
                    found(at, group);
                }
            }
        }
    }

    fn entry(&self, group: Group) -> &Entry {
        let span = &self.spans[group.partition()];
        &self.table.values()[span.start + span.places[group.local() as usize] as usize]
    }

    /// Bring the bases of groups into the cache: one after the other would each wait for memory.
    pub(crate) fn touch(&self, groups: impl Iterator<Item = Group>) {
        black_box(groups.fold(0, |sum, group| sum ^ self.entry(group)[0]));
    }

    /// Hand a group's base to `take`.
    pub(crate) fn base<T>(&self, group: Group, take: impl FnOnce(&str) -> T) -> T {
        let mut bytes = [0; 8 * WORDS];
        take(space_of(self.entry(group), &self.spans[group.partition()].long).text(&mut bytes))
    }
}

/// Searches that wait for memory together.
pub(crate) const SEARCHES: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Gathering, Space, lower_case};

    fn space(jenjang: u8, base: &str) -> Space {
        Space::of(jenjang, base.as_bytes()).unwrap()
    }

    /// Equal bases of one jenjang are one group, whatever their case and length; others are others, and those nobody has are none.
    #[test]
    fn groups_are_bases_in_a_jenjang() {
        let long = "abdurrahmanabdurrahmanab.abdurrahmanabdurrahmanab";
        let other_end = "abdurrahmanabdurrahmanab.abdurrahmanabdurrahmanac";
        let names = ["budi", "budi.s", "abdurrahmanabdurrahmanab", "abdurrahmanabdurrahmanab.", long, other_end];
        let spaces = names.iter().flat_map(|name| [space(1, name), space(2, name)]).collect::<Vec<_>>();
        let (gathering, mut groups, mut again) = (Gathering::new(), Vec::new(), Vec::new());
        gathering.number(&spaces, &mut groups).unwrap();
        gathering.number(&spaces, &mut again).unwrap();
        assert_eq!(groups, again);
        again.sort_unstable();
        again.dedup();
        assert_eq!(again.len(), spaces.len());
        let finished = gathering.finish().unwrap();
        for (name, pair) in names.iter().zip(groups.chunks(2)) {
            assert_eq!(finished.base(pair[0], str::to_owned), *name);
            let mut found = Vec::new();
            finished.find_all(&[space(2, &name.to_uppercase()), space(3, name)], |at, group| found.push((at, group)));
            assert_eq!(found, [(0, pair[1])]);
        }
        assert!(Space::of(1, format!("{long}x").as_bytes()).is_none());
    }

    /// Thousands of bases keep their groups while the tables grow.
    #[test]
    fn groups_last() {
        let bases = (0..40_000).map(|number| space(1, &format!("n{number}"))).collect::<Vec<_>>();
        let (gathering, mut groups) = (Gathering::new(), Vec::new());
        gathering.number(&bases, &mut groups).unwrap();
        let (finished, mut found) = (gathering.finish().unwrap(), Vec::new());
        finished.find_all(&bases, |_, group| found.push(group));
        assert_eq!(found, groups);
    }

    /// Of all bytes only A to Z change.
    #[test]
    fn letters_alone_are_folded() {
        for byte in 0..=u8::MAX {
            let bytes = [byte, 0, 0xff, byte, b'A', byte, b'z', byte];
            assert_eq!(
                lower_case(u64::from_le_bytes(bytes)).to_le_bytes(),
                bytes.map(|byte| byte.to_ascii_lowercase())
            );
        }
    }
}
