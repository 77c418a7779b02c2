//! Groups: the people of one base in one jenjang, numbered.
//!
//! Each group lives in the partition that its hash says, so that threads can work on partitions without meeting. A hash only says
//! where to look; whether two bases are one is decided by their letters.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use recon_core::user_id::BASE_BYTES_MAX;

use crate::TableError;

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

/// A base as the table holds it: its front here, and its length, jenjang and number in one word. No length is none's.
///
/// It has half a line of the cache, so that a search waits for memory once.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Entry {
    words: [u64; SHORT_WORDS],
    local: u32,
    len: u8,
    jenjang: u8,
}

/// The groups of one partition in a table of open addressing.
#[derive(Default)]
pub(crate) struct Partition {
    /// Their count is a power of two, or none.
    entries: Vec<Entry>,
    /// Where each group's entry is.
    places: Vec<u32>,
    /// What follows the front of the few long bases.
    long: BTreeMap<u32, [u64; WORDS - SHORT_WORDS]>,
}

impl Partition {
    /// The place where a search starts. The bits are not those of the partition.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & self.entries.len().wrapping_sub(1)
    }

    /// The number of a space, or the place where it belongs. There is at least one entry, and one that is none.
    #[inline]
    fn find(&self, hash: u64, space: &Space) -> Result<u32, usize> {
        let mut at = self.home(hash);
        loop {
            let entry = &self.entries[at];
            if entry.len == 0 {
                return Err(at);
            }
            if self.is(entry, space) {
                return Ok(entry.local);
            }
            at = (at + 1) & (self.entries.len() - 1);
        }
    }

    #[inline]
    fn is(&self, entry: &Entry, space: &Space) -> bool {
        let is_front =
            entry.words == space.words[..SHORT_WORDS] && entry.len == space.len && entry.jenjang == space.jenjang;
        is_front && (usize::from(space.len) <= SHORT_BYTES || self.rest(entry) == space.words[SHORT_WORDS..])
    }

    fn rest(&self, entry: &Entry) -> [u64; WORDS - SHORT_WORDS] {
        if usize::from(entry.len) <= SHORT_BYTES {
            return Default::default();
        }
        self.long.get(&entry.local).copied().unwrap_or_default()
    }

    fn space(&self, entry: &Entry) -> Space {
        let mut words = [0; WORDS];
        words[..SHORT_WORDS].copy_from_slice(&entry.words);
        words[SHORT_WORDS..].copy_from_slice(&self.rest(entry));
        Space { words, len: entry.len, jenjang: entry.jenjang }
    }

    /// The number of a space that is not empty, given now if it is new.
    fn number(&mut self, seeds: &Seeds, hash: u64, space: &Space) -> u32 {
        if self.places.len() * 4 >= self.entries.len() * 3 {
            self.grow(seeds);
        }
        self.find(hash, space).unwrap_or_else(|at| {
            let local = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
            if usize::from(space.len) > SHORT_BYTES {
                self.long.insert(local, std::array::from_fn(|at| space.words[SHORT_WORDS + at]));
            }
            let words = std::array::from_fn(|at| space.words[at]);
            self.entries[at] = Entry { words, local, len: space.len, jenjang: space.jenjang };
            self.places.push(u32::try_from(at).unwrap_or(u32::MAX));
            local
        })
    }

    fn grow(&mut self, seeds: &Seeds) {
        let count = (self.entries.len() * 2).max(16);
        let old = std::mem::replace(&mut self.entries, vec![Entry::default(); count]);
        for local in 0..self.places.len() {
            let entry = old[self.places[local] as usize];
            let mut at = self.home(seeds.hash(&self.space(&entry)));
            while self.entries[at].len != 0 {
                at = (at + 1) & (count - 1);
            }
            self.entries[at] = entry;
            self.places[local] = u32::try_from(at).unwrap_or(u32::MAX);
        }
    }

    /// What a search looks at first.
    #[inline]
    fn first(&self, hash: u64) -> u64 {
        self.entries.get(self.home(hash)).map_or(0, |entry| entry.words[0])
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

    /// The groups when nobody comes any more.
    pub(crate) fn finish(self) -> Groups {
        let partitions =
            self.partitions.into_iter().map(|one| one.into_inner().unwrap_or_else(PoisonError::into_inner));
        Groups { partitions: partitions.collect(), seeds: self.seeds }
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
    partitions: Vec<Partition>,
    seeds: Seeds,
}

impl Groups {
    /// The groups of spaces, `None` where there is none, handed on in order.
    pub(crate) fn find_all(&self, spaces: &[Space], mut found: impl FnMut(usize, Group)) {
        let mut hashes = [0; SEARCHES];
        for (start, spaces) in (0..).step_by(SEARCHES).zip(spaces.chunks(SEARCHES)) {
            let hashes = &mut hashes[..spaces.len()];
            for (hash, space) in hashes.iter_mut().zip(spaces) {
                *hash = self.seeds.hash(space);
            }
            // One search waits for memory where many together wait once.
            black_box(hashes.iter().fold(0, |sum, &hash| sum ^ self.partitions[partition_of(hash)].first(hash)));
            for ((at, &hash), space) in (start..).zip(&*hashes).zip(spaces) {
                let number = partition_of(hash);
                let partition = &self.partitions[number];
                if partition.entries.is_empty() || space.len == 0 {
                    continue;
                }
                if let Some(group) = partition.find(hash, space).ok().and_then(|local| Group::of(number, local)) {
                    found(at, group);
                }
            }
        }
    }

    /// Bring the bases of groups into the cache: one after the other would each wait for memory.
    pub(crate) fn touch(&self, groups: impl Iterator<Item = Group>) {
        let word = |group: Group| {
            let partition = &self.partitions[group.partition()];
            partition.entries[partition.places[group.local() as usize] as usize].words[0]
        };
        black_box(groups.fold(0, |sum, group| sum ^ word(group)));
    }

    /// Hand a group's base to `take`.
    pub(crate) fn base<T>(&self, group: Group, take: impl FnOnce(&str) -> T) -> T {
        let mut bytes = [0; 8 * WORDS];
        let partition = &self.partitions[group.partition()];
        let entry = &partition.entries[partition.places[group.local() as usize] as usize];
        take(partition.space(entry).text(&mut bytes))
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
        let finished = gathering.finish();
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
        let (finished, mut found) = (gathering.finish(), Vec::new());
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
