//! Markers and account keys: what joins the register to the directory, and which part a person is in.

use crate::HashKey;

/// Bytes of a person id and of a marker.
pub const MARKER_BYTES: usize = 16;
/// Bytes of an account key: the marker and the jenjang's code.
pub const ACCOUNT_KEY_BYTES: usize = 17;
/// Most parts a table may be cut into: a writer and its file are open for each.
pub const PARTS_MAX: u32 = 512;

/// A person id or a marker.
pub type Marker = [u8; MARKER_BYTES];
/// A marker and the code of a jenjang.
pub type AccountKey = [u8; ACCOUNT_KEY_BYTES];

/// The marker of a person: the first 16 bytes of the BLAKE3 keyed hash of the person id.
#[must_use]
pub fn marker(key: &HashKey, person_id: &Marker) -> Marker {
    let digest = blake3::keyed_hash(key.as_bytes(), person_id);
    let mut marker = [0_u8; MARKER_BYTES];
    for (to, from) in marker.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    marker
}

/// The key of a person's account in one jenjang.
#[must_use]
pub fn account_key(marker: &Marker, jenjang_code: u8) -> AccountKey {
    let mut key = [jenjang_code; ACCOUNT_KEY_BYTES];
    for (to, from) in key.iter_mut().zip(marker) {
        *to = *from;
    }
    key
}

/// Into how many parts people are cut: a power of two from 1 to [`PARTS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts(u32);

impl Parts {
    /// Parts of this count, or `None` when it is no power of two or over [`PARTS_MAX`].
    #[must_use]
    pub fn new(count: u32) -> Option<Self> {
        (count.is_power_of_two() && count <= PARTS_MAX).then_some(Self(count))
    }

    /// How many parts there are.
    #[must_use]
    pub fn count(self) -> usize {
        self.0 as usize
    }

    /// The part of a marker or an account key: its top log2(count) bits. Bytes that are missing count as zero.
    #[must_use]
    pub fn part_of(self, key: &[u8]) -> usize {
        let mut top = [0_u8; 4];
        for (to, from) in top.iter_mut().zip(key) {
            *to = *from;
        }
        // In 64 bits, because one part asks for a shift by all 32.
        ((u64::from(u32::from_be_bytes(top)) * u64::from(self.0)) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Parts, account_key, marker};
    use crate::HashKey;

    /// A marker is the front of BLAKE3's keyed hash, and an account key is a marker and a code.
    #[test]
    fn marker_is_the_front_of_the_keyed_hash() {
        let key = HashKey::from_bytes(&[1; 32]).unwrap();
        let person = [2; 16];
        let expected = blake3::Hasher::new_keyed(&[1; 32]).update(&person).finalize();
        let marker = marker(&key, &person);
        assert_eq!(marker, expected.as_bytes()[..16]);
        assert_eq!(account_key(&marker, 6)[..16], marker);
        assert_eq!(account_key(&marker, 6)[16], 6);
    }

    /// Counts that are no power of two, zero, or over the bound are refused.
    #[test]
    fn part_counts_are_bounded_powers_of_two() {
        for refused in [0, 3, 12, 1023, 1024] {
            assert_eq!(Parts::new(refused), None, "{refused}");
        }
        for accepted in [1, 2, 128, 512] {
            assert_eq!(Parts::new(accepted).map(Parts::count), Some(accepted as usize));
        }
    }

    proptest! {
        /// The part is the top bits, so that doubling the count splits each part in two.
        #[test]
        fn part_is_the_top_bits(key in any::<[u8; 17]>(), bits in 1_u32..=9) {
            let part = Parts::new(1 << bits).unwrap().part_of(&key);
            prop_assert_eq!(part, usize::from(u16::from_be_bytes([key[0], key[1]]) >> (16 - bits)));
            prop_assert_eq!(Parts::new(1 << (bits - 1)).unwrap().part_of(&key), part / 2);
        }
    }
}
