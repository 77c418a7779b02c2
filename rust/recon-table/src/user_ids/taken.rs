//! Taken user IDs, streamed past the groups: only what can meet a candidate stays.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use recon_core::marker::AccountKey;
use recon_core::user_id::Digits;

use super::chunks::Chunks;
use super::groups::{Group, PARTITIONS, Space};
use super::kept::Kept;
use super::people::{People, Reading, Seat};
use super::{FixedColumn, fixed_column, null_in, text_column};
use crate::TableError;
use crate::bytes_column::{BytesColumn, is_text};
use crate::columns::integers;
use crate::feed::{Feed, Rows};

/// Digits in a group, as one number that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u64);

impl Slot {
    /// The slot of a group's digits, which tells groups of one partition apart.
    #[inline]
    pub(crate) fn of(group: Group, code: u32) -> Self {
        Self((u64::from(group.local()) << 21 | u64::from(code)) + 1)
    }

    #[inline]
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// Names of the columns of taken user IDs.
#[derive(Clone, Copy)]
pub(crate) struct TakenColumns<'a> {
    pub(crate) jenjang: &'a str,
    pub(crate) user_id: &'a str,
    /// No name: nobody owns a taken user ID.
    pub(crate) owner: Option<&'a str>,
    /// The jenjang in the order of their codes, for columns that hold their names.
    pub(crate) jenjang_names: &'a [String],
}

/// What is taken, by partition.
pub(crate) struct Taken {
    lanes: Vec<Lane>,
    /// Slots that block everybody but one person, in order.
    owned: Vec<Owned>,
}

/// The slots of a partition that block everybody, as each thread found them.
pub(crate) type Blocked = Vec<Chunks<Slot>>;

/// A slot of a partition that blocks everybody but one person.
pub(crate) type Owned = (usize, Slot, Seat);

/// What one thread found.
struct Lane {
    slots: Vec<Chunks<Slot>>,
    owned: Vec<Owned>,
    spaces: Vec<Space>,
    rows: Vec<(u32, u32)>,
}

impl Lane {
    fn new() -> Self {
        let slots = (0..PARTITIONS).map(|_| Chunks::default()).collect();
        Self { slots, owned: Vec::new(), spaces: Vec::new(), rows: Vec::new() }
    }

    /// Note a user ID for the next search, if a candidate can look like it.
    #[inline]
    fn note(&mut self, row: u32, jenjang: u8, user_id: &[u8]) {
        if let Some((base, digits)) = Digits::split(user_id)
            && let Some(space) = Space::of(jenjang, base)
        {
            self.spaces.push(space);
            self.rows.push((row, digits.code()));
        }
    }

    /// Find the groups of what was noted; `seat` tells who owns a row and is among its group.
    fn search(
        &mut self,
        people: &People,
        seat: impl Fn(u32, Group) -> Result<Option<Seat>, TableError>,
    ) -> Result<(), TableError> {
        let Self { slots, owned, spaces, rows } = self;
        let mut result = Ok(());
        people.groups.find_all(spaces, |at, group| {
            let (row, code) = rows[at];
            let slot = Slot::of(group, code);
            match seat(row, group) {
                Ok(None) => slots[group.partition()].push(slot),
                Ok(Some(seat)) => owned.push((group.partition(), slot, seat)),
                Err(error) => result = Err(error),
            }
        });
        spaces.clear();
        rows.clear();
        result
    }
}

impl Taken {
    /// Read taken user IDs and keep those that can meet a candidate of `people`, and what is kept.
    pub(crate) fn read(
        rows: Rows,
        columns: TakenColumns<'_>,
        people: &People,
        kept: &Kept,
        reading: &Reading<'_>,
    ) -> Result<Self, TableError> {
        let wanted = [columns.jenjang, columns.user_id].into_iter().chain(columns.owner).collect::<Vec<_>>();
        let feed = Feed::open("taken", rows, &wanted)?;
        let owners = Owners { people, filter: OnceLock::new() };
        let mut lanes =
            feed.drain(reading.threads, reading.cancel, Lane::new, |lane, batch| add(lane, batch, columns, &owners))?;
        let mut lane = Lane::new();
        for (jenjang, user_id) in kept.iter() {
            lane.note(0, jenjang, user_id);
        }
        lane.search(people, |_, _| Ok(None))?;
        lanes.push(lane);
        let mut owned = lanes.iter_mut().flat_map(|lane| std::mem::take(&mut lane.owned)).collect::<Vec<_>>();
        owned.sort_unstable();
        owned.dedup();
        Ok(Self { lanes, owned })
    }

    /// By partition: the slots that block everybody, and those that block everybody but one.
    pub(crate) fn into_partitions(self) -> (Vec<Blocked>, Vec<Owned>) {
        let mut lanes = self.lanes.into_iter().map(|lane| lane.slots.into_iter()).collect::<Vec<_>>();
        let parts = (0..PARTITIONS).map(|_| lanes.iter_mut().filter_map(Iterator::next).collect());
        (parts.collect(), self.owned)
    }
}

fn add(lane: &mut Lane, batch: &[ArrayRef], columns: TakenColumns<'_>, owners: &Owners<'_>) -> Result<(), TableError> {
    let [jenjang, user_ids, owner @ ..] = batch else { return Ok(()) };
    let jenjang = JenjangColumn::of(jenjang, columns)?;
    let user_ids = text_column(user_ids, columns.user_id)?;
    let owner = owner.first().filter(|owner| owner.null_count() < owner.len() && *owner.data_type() != DataType::Null);
    let owner = owner.map(|owner| fixed_column::<17>(owner, columns.owner.unwrap_or_default())).transpose()?;
    for row in 0..user_ids.len() {
        let user_id = user_ids.get(row).ok_or_else(|| null_in(columns.user_id))?;
        let code = jenjang.code(row)?;
        lane.note(u32::try_from(row).unwrap_or(u32::MAX), code, user_id);
    }
    match owner {
        None => lane.search(owners.people, |_, _| Ok(None)),
        Some(owner) => lane.search(owners.people, |row, group| owners.seat(&owner, row as usize, group)),
    }
}

/// Whose a taken user ID is.
struct Owners<'a> {
    people: &'a People,
    filter: OnceLock<Filter>,
}

impl Owners<'_> {
    /// The seat of a row's owner, if they are one of the group. An owner elsewhere gives nobody a right to this user ID.
    fn seat(&self, owner: &FixedColumn<17>, row: usize, group: Group) -> Result<Option<Seat>, TableError> {
        let Some(key) = owner.get(row)? else { return Ok(None) };
        if !self.filter.get_or_init(|| Filter::of(self.people)).may_hold(key) {
            return Ok(None);
        }
        Ok(self.people.seat(key).filter(|&seat| self.people.person(seat).group == group))
    }
}

/// Bits for the keys of all people: most owners are nobody of this call, and a bit says so sooner than a search.
struct Filter(Vec<AtomicU64>);

impl Filter {
    const BITS_EACH: usize = 16;

    fn of(people: &People) -> Self {
        let count = people.shards.iter().map(|shard| shard.persons.len()).sum::<usize>();
        let words = (count * Self::BITS_EACH / 64).next_power_of_two();
        let filter = Self((0..words).map(|_| AtomicU64::new(0)).collect());
        for person in people.shards.iter().flat_map(|shard| &shard.persons) {
            let (word, bit) = filter.place(&person.key());
            filter.0[word].fetch_or(bit, Ordering::Relaxed);
        }
        filter
    }

    fn may_hold(&self, key: &AccountKey) -> bool {
        let (word, bit) = self.place(key);
        self.0[word].load(Ordering::Relaxed) & bit != 0
    }

    /// Word and bit of a key. Keys of markers are random; others crowd on few bits, which costs time and nothing else.
    fn place(&self, key: &AccountKey) -> (usize, u64) {
        let front = key.first_chunk().map_or(0, |front| u64::from_be_bytes(*front));
        let back = key.last_chunk().map_or(0, |back| u64::from_be_bytes(*back));
        let mixed = (front ^ back.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 6) as usize & (self.0.len() - 1), 1 << (mixed >> 58))
    }
}

/// The jenjang of each row, as code or name.
enum JenjangColumn {
    Codes(arrow_array::Int64Array, String),
    Names(BytesColumn, Vec<String>, String),
}

impl JenjangColumn {
    fn of(array: &ArrayRef, columns: TakenColumns<'_>) -> Result<Self, TableError> {
        let name = columns.jenjang.to_owned();
        if is_text(array.data_type()) {
            return Ok(Self::Names(text_column(array, columns.jenjang)?, columns.jenjang_names.to_vec(), name));
        }
        let codes = integers(array)
            .ok_or_else(|| TableError::wrong_type(columns.jenjang, "integer or string", array.data_type()))?;
        codes.map(|codes| Self::Codes(codes, name.clone())).map_err(|_| outside(&name))
    }

    #[inline]
    fn code(&self, row: usize) -> Result<u8, TableError> {
        match self {
            Self::Codes(codes, column) if codes.is_null(row) => Err(null_in(column)),
            Self::Codes(codes, column) => u8::try_from(codes.value(row)).map_err(|_| outside(column)),
            Self::Names(names, known, column) => {
                let name = names.get(row).ok_or_else(|| null_in(column))?;
                let code = known.iter().position(|known| known.as_bytes() == name);
                code.and_then(|code| u8::try_from(code).ok()).ok_or_else(|| TableError::Column {
                    problem: "a value names no jenjang".to_owned(),
                    column: column.clone(),
                })
            }
        }
    }
}

fn outside(column: &str) -> TableError {
    TableError::Column { problem: "jenjang code outside 0 to 255".to_owned(), column: column.to_owned() }
}
