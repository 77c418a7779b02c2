//! The people of a call in the order of their keys, each with a group.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arrow_array::ArrayRef;
use recon_core::HashKey;
use recon_core::marker::AccountKey;
use recon_core::user_id::{Digits, push_base};

use super::chunks::Chunks;
use super::groups::{Gathering, Group, Groups, PARTITIONS, Space};
use super::kept::Kept;
use super::{fixed_column, null_in, text_column};
use crate::TableError;
use crate::feed::{Feed, Rows};
use crate::threads::in_turn;

/// People are cut by the first byte of their key: sorting a shard is a thread's task.
const SHARDS: usize = 256;
/// Most people of a call: each has 60 bytes of memory.
const PEOPLE_MAX: usize = 1 << 30;

/// An account key as numbers in the order of its bytes, and its group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Person {
    high: u64,
    low: u64,
    jenjang: u8,
    pub(crate) group: Group,
}

impl Person {
    fn new(key: &AccountKey, group: Group) -> Self {
        let (high, low, jenjang) = numbers(key);
        Self { high, low, jenjang, group }
    }

    pub(crate) fn key(&self) -> AccountKey {
        let mut key = [self.jenjang; 17];
        key[..8].copy_from_slice(&self.high.to_be_bytes());
        key[8..16].copy_from_slice(&self.low.to_be_bytes());
        key
    }

    fn order(&self) -> (u64, u64, u8) {
        (self.high, self.low, self.jenjang)
    }
}

fn numbers(key: &AccountKey) -> (u64, u64, u8) {
    let ([high, low], jenjang) = key.as_chunks::<8>() else { return (0, 0, 0) };
    (u64::from_be_bytes(*high), u64::from_be_bytes(*low), jenjang[0])
}

/// What a person without a user ID asks for first.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) group: Group,
    /// The person's place in the shard.
    pub(crate) place: u32,
    /// The code of the first candidate's digits.
    pub(crate) first: u32,
}

/// People whose keys have one first byte, in order.
pub(crate) struct Shard {
    pub(crate) persons: Vec<Person>,
    /// Claims by partition of their groups; those of a partition in the order of keys.
    claims: Vec<Claim>,
    /// Where the claims of each partition start; none when there are none.
    starts: Vec<u32>,
    /// What each person has, as the settling writes it.
    pub(crate) given: Vec<AtomicU32>,
}

impl Shard {
    pub(crate) fn claims_in(&self, partition: usize) -> &[Claim] {
        match self.starts.get(partition..partition + 2) {
            Some(&[start, end]) => &self.claims[start as usize..end as usize],
            _ => &[],
        }
    }

    /// Claims are of no use once they are settled.
    pub(crate) fn forget_claims(&mut self) {
        (self.claims, self.starts) = (Vec::new(), Vec::new());
    }
}

/// Everybody.
pub(crate) struct People {
    pub(crate) shards: Vec<Shard>,
    pub(crate) groups: Groups,
}

/// Where a person is: shard and place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    shard: u32,
    pub(crate) place: u32,
}

impl Seat {
    pub(crate) fn of(shard: usize, place: u32) -> Self {
        Self { shard: u32::try_from(shard).unwrap_or(u32::MAX), place }
    }
}

/// How people are read.
pub(crate) struct Reading<'a> {
    pub(crate) naming_key: &'a HashKey,
    pub(crate) threads: usize,
    pub(crate) cancel: &'a AtomicBool,
}

impl People {
    /// Read people: account key and name.
    pub(crate) fn read(rows: Rows, columns: [&str; 2], kept: &Kept, reading: &Reading<'_>) -> Result<Self, TableError> {
        let feed = Feed::open("people", rows, &columns)?;
        let gathering = Gathering::new();
        let arrivals = feed.drain(reading.threads, reading.cancel, Arrivals::new, |arrivals, batch| {
            arrivals.add(batch, columns, &gathering)
        })?;
        let count = arrivals.iter().flat_map(|lane| &lane.shards).map(Chunks::len).sum::<usize>();
        if count > PEOPLE_MAX {
            return Err(TableError::Argument { problem: "too many people", value: count.to_string() });
        }
        let mut lanes = arrivals.into_iter().map(|lane| lane.shards.into_iter()).collect::<Vec<_>>();
        let parts = (0..SHARDS).map(|_| lanes.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>());
        let shards = in_turn(parts.collect(), reading.threads, reading.cancel, |_, parts| {
            Shard::of(parts, columns[0], kept, reading.naming_key)
        })?;
        Ok(Self { shards, groups: gathering.finish()? })
    }

    /// Where the person of a key is.
    pub(crate) fn seat(&self, key: &AccountKey) -> Option<Seat> {
        let (high, low, jenjang) = numbers(key);
        let shard = shard_of(high);
        let found = self.shards[shard].persons.binary_search_by(|person| person.order().cmp(&(high, low, jenjang)));
        Some(Seat::of(shard, u32::try_from(found.ok()?).ok()?))
    }

    pub(crate) fn person(&self, seat: Seat) -> &Person {
        &self.shards[seat.shard as usize].persons[seat.place as usize]
    }
}

fn shard_of(high: u64) -> usize {
    usize::from(high.to_be_bytes()[0])
}

/// What one thread has read so far.
struct Arrivals {
    shards: Vec<Chunks<Person>>,
    base: String,
    spaces: Vec<Space>,
    groups: Vec<Group>,
}

impl Arrivals {
    fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Chunks::default()).collect();
        Self { shards, base: String::new(), spaces: Vec::new(), groups: Vec::new() }
    }

    fn add(&mut self, batch: &[ArrayRef], columns: [&str; 2], gathering: &Gathering) -> Result<(), TableError> {
        let [keys, names] = batch else { return Ok(()) };
        let keys = fixed_column::<17>(keys, columns[0])?;
        let names = text_column(names, columns[1])?;
        self.spaces.clear();
        for row in 0..keys.len() {
            let jenjang = keys.get(row)?.ok_or_else(|| null_in(columns[0]))?[16];
            self.base.clear();
            push_base(&mut self.base, names.text(row).unwrap_or_default());
            self.spaces.extend(Space::of(jenjang, self.base.as_bytes()));
        }
        gathering.number(&self.spaces, &mut self.groups)?;
        for (row, &group) in self.groups.iter().enumerate() {
            let person = keys.get(row)?.map(|key| Person::new(key, group));
            if let Some(person) = person {
                self.shards[shard_of(person.high)].push(person);
            }
        }
        Ok(())
    }
}

/// What a person has: nothing, what they keep, or the attempt and code of what they were given.
pub(crate) const NOTHING: u32 = u32::MAX;
pub(crate) const KEPT: u32 = u32::MAX - 1;

impl Shard {
    fn of(parts: Vec<Chunks<Person>>, column: &str, kept: &Kept, naming_key: &HashKey) -> Result<Self, TableError> {
        let mut persons = Vec::with_capacity(parts.iter().map(Chunks::len).sum());
        for part in parts {
            part.into_iter().for_each(|chunk| persons.extend_from_slice(&chunk));
        }
        persons.sort_unstable_by(|one: &Person, other| {
            // Two keys hardly ever agree in their first half.
            one.high.cmp(&other.high).then_with(|| one.order().cmp(&other.order()))
        });
        if persons.windows(2).any(|pair| pair[0].order() == pair[1].order()) {
            return Err(TableError::Column {
                problem: "an account key stands twice".to_owned(),
                column: column.to_owned(),
            });
        }
        let given = persons.iter().map(|_| AtomicU32::new(NOTHING)).collect();
        let mut shard = Self { persons, claims: Vec::new(), starts: Vec::new(), given };
        shard.mark_kept(kept);
        shard.claim(naming_key);
        Ok(shard)
    }

    fn mark_kept(&self, kept: &Kept) {
        if kept.is_empty() {
            return;
        }
        for (person, given) in self.persons.iter().zip(&self.given) {
            if kept.user_id(&person.key()).is_some() {
                given.store(KEPT, Ordering::Relaxed);
            }
        }
    }

    /// Claim everybody's first candidate, by partition.
    fn claim(&mut self, naming_key: &HashKey) {
        let claimants = || {
            let claimants = (0_u32..).zip(self.persons.iter().zip(&self.given));
            claimants.filter(|(_, (_, given))| given.load(Ordering::Relaxed) == NOTHING)
        };
        let mut starts = vec![0; PARTITIONS + 1];
        for (_, (person, _)) in claimants() {
            starts[person.group.partition() + 1] += 1;
        }
        for at in 0..PARTITIONS {
            starts[at + 1] += starts[at];
        }
        let mut ends = starts.clone();
        let mut claims = vec![Claim { group: Group::default(), place: 0, first: 0 }; starts[PARTITIONS] as usize];
        for (place, (person, _)) in claimants() {
            let end = &mut ends[person.group.partition()];
            let first = Digits::of(naming_key, &person.key(), 0).map_or(0, Digits::code);
            claims[*end as usize] = Claim { group: person.group, place, first };
            *end += 1;
        }
        (self.claims, self.starts) = (claims, starts);
    }
}
