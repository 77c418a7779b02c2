//! Settling: partition by partition, everybody in the order of their keys takes their first candidate that is free.
//!
//! In a partition the people of different groups take turns, but they never meet: their slots differ.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use recon_core::HashKey;
use recon_core::user_id::{Digits, Given, first_free};

use super::chunks::Chunks;
use super::people::{Claim, NOTHING, People, Reading, Seat, Shard};
use super::taken::{Blocked, Owned, Slot, Taken};
use crate::TableError;
use crate::threads::in_turn;

/// Most attempts and codes of a packed [`Given`].
const CODE_BITS: u32 = 21;

/// Give everybody a user ID and write it into their shard.
pub(crate) fn settle(people: &People, taken: Taken, reading: &Reading<'_>) -> Result<(), TableError> {
    let (partitions, owned) = taken.into_partitions();
    // Tables go from partition to partition: fresh memory would cost more than the settling.
    let tables = Mutex::new(Vec::<Slots>::new());
    let lock = || tables.lock().unwrap_or_else(PoisonError::into_inner);
    in_turn(partitions, reading.threads, reading.cancel, |number, slots| {
        let start = owned.partition_point(|(partition, ..)| *partition < number);
        let end = owned.partition_point(|(partition, ..)| *partition <= number);
        let mut used = lock().pop().unwrap_or_default();
        settle_partition(people, number, slots, &owned[start..end], reading.naming_key, &mut used);
        lock().push(used);
        Ok(())
    })?;
    Ok(())
}

fn settle_partition(
    people: &People,
    number: usize,
    taken: Blocked,
    owned: &[Owned],
    naming_key: &HashKey,
    used: &mut Slots,
) {
    let claims = people.shards.iter().map(|shard| shard.claims_in(number).len()).sum::<usize>();
    if claims == 0 {
        return;
    }
    used.clear(taken.iter().map(Chunks::len).sum::<usize>() + owned.len() + claims);
    for chunk in taken.into_iter().flatten() {
        for slot in chunk {
            used.insert(slot);
        }
    }
    let owned = only_owned(owned, used);
    for (number_of_shard, shard) in people.shards.iter().enumerate() {
        for claim in shard.claims_in(number) {
            let seat = Seat::of(number_of_shard, claim.place);
            let is_free = |code: u32| {
                let slot = Slot::of(claim.group, code);
                owner_of(&owned, slot).is_none_or(|owner| owner == seat) && used.insert(slot)
            };
            let given = given_to(claim, shard, naming_key, is_free);
            shard.given[claim.place as usize].store(given.map_or(NOTHING, packed), Ordering::Relaxed);
        }
    }
}

fn given_to(claim: &Claim, shard: &Shard, naming_key: &HashKey, mut is_free: impl FnMut(u32) -> bool) -> Option<Given> {
    if is_free(claim.first) {
        return Some(Given { attempt: 0, digits: Digits::of_code(claim.first)? });
    }
    first_free(naming_key, &shard.persons[claim.place as usize].key(), 1, |digits| is_free(digits.code()))
}

/// The owned slots that block all but one person; those that block everybody go to the used ones.
fn only_owned(owned: &[Owned], used: &mut Slots) -> Vec<(Slot, Seat)> {
    let mut only = Vec::new();
    for rows in owned.chunk_by(|one, other| one.1 == other.1) {
        let (_, slot, seat) = rows[0];
        match rows {
            [_] if !used.holds(slot) => only.push((slot, seat)),
            _ => _ = used.insert(slot),
        }
    }
    only
}

fn owner_of(owned: &[(Slot, Seat)], slot: Slot) -> Option<Seat> {
    let at = owned.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
    owned.get(at).map(|(_, seat)| *seat)
}

fn packed(given: Given) -> u32 {
    given.attempt << CODE_BITS | given.digits.code()
}

/// What [`packed`] packed.
pub(crate) fn unpacked(given: u32) -> Option<Given> {
    Some(Given { attempt: given >> CODE_BITS, digits: Digits::of_code(given & ((1 << CODE_BITS) - 1))? })
}

/// A set of slots with open addressing; it never grows by itself.
#[derive(Default)]
struct Slots {
    /// 0 where there is none; their count is a power of two.
    places: Vec<u64>,
    shift: u32,
}

impl Slots {
    /// Empty, with room for so many.
    fn clear(&mut self, slots: usize) {
        let places = (slots + slots / 2 + 2).next_power_of_two();
        self.places.clear();
        self.places.resize(places, 0);
        self.shift = u64::BITS - places.trailing_zeros();
    }

    /// Add a slot; whether it was not there.
    #[inline]
    fn insert(&mut self, slot: Slot) -> bool {
        let at = self.place(slot);
        let is_new = self.places[at] == 0;
        self.places[at] = slot.number();
        is_new
    }

    fn holds(&self, slot: Slot) -> bool {
        self.places[self.place(slot)] != 0
    }

    /// The place of a slot, or the free one where it belongs.
    #[inline]
    // As many bits of a product as a place has.
    #[allow(clippy::cast_possible_truncation)]
    fn place(&self, slot: Slot) -> usize {
        // Fibonacci hashing: groups and digits are dense numbers, which it spreads.
        let mut at = (slot.number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        while self.places[at] != 0 && self.places[at] != slot.number() {
            at = (at + 1) & (self.places.len() - 1);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use recon_core::user_id::{Digits, Given};

    use super::super::groups::Group;
    use super::super::taken::Slot;
    use super::{Slots, packed, unpacked};

    /// A set tells new slots from old ones until it is full.
    #[test]
    fn slots_are_a_set() {
        let (mut slots, mut obvious) = (Slots::default(), HashSet::new());
        slots.clear(3_000);
        for number in 0..3_000_u32 {
            let code = number * 7 % 1_999;
            let slot = Slot::of(Group::default(), code);
            assert_eq!(slots.holds(slot), obvious.contains(&code));
            assert_eq!(slots.insert(slot), obvious.insert(code));
        }
    }

    /// What is packed comes out again.
    #[test]
    fn given_is_packed() {
        for (attempt, code) in [(0, 0), (3, 9_999), (4, 10_000), (63, 1_109_999)] {
            let given = Given { attempt, digits: Digits::of_code(code).unwrap() };
            assert_eq!(unpacked(packed(given)), Some(given));
        }
    }
}
