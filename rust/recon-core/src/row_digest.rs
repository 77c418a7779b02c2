//! Digests of rows: xxh3 over each value's content, added up, so that columns can be worked one by one.
//!
//! A digest tells rows apart within one run; it never guards integrity, and its seed is drawn anew for each run, so that no
//! two values can be chosen to meet. Two differing rows meet with a chance of about 2^-128 a pair.
//!
//! The content of a value, whatever layout it came in: text in UTF-8; bytes; a boolean as one byte `0` or `1`; an integer as 8
//! bytes with sign, least significant first; any other value of fixed width as its bytes in memory, least significant first.
//! The digest of a row is the sum, modulo 2^128, of the digests of its values that are not null. Each column has a seed of its own,
//! so that a value that moves to the next column changes the sum.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// The seed of the column in this place, from 0: xxh3 with 64 bits of the place (8 bytes, least significant first) under the run's seed.
#[must_use]
pub fn column_seed(seed: u64, place: u64) -> u64 {
    xxh3_64_with_seed(&place.to_le_bytes(), seed)
}

/// The digest of a value: xxh3 with 128 bits of its content under its column's seed; 0 for null.
#[inline]
#[must_use]
pub fn value_digest(content: Option<&[u8]>, column_seed: u64) -> u128 {
    content.map_or(0, |content| xxh3_128_with_seed(content, column_seed))
}

/// Add a value's digest to its row's.
#[inline]
pub fn add(row: &mut u128, value: u128) {
    *row = row.wrapping_add(value);
}

#[cfg(test)]
mod tests {
    use super::{add, column_seed, value_digest};

    fn digest(seed: u64, values: &[Option<&[u8]>]) -> u128 {
        let mut row = 0;
        for (place, value) in (0..).zip(values) {
            add(&mut row, value_digest(*value, column_seed(seed, place)));
        }
        row
    }

    /// A byte more in one value and a byte less in the next, or a value one column on, make another row.
    #[test]
    fn neighbours_do_not_run_into_each_other() {
        let rows: [&[Option<&[u8]>]; 6] = [
            &[Some(b"ab"), Some(b"")],
            &[Some(b"a"), Some(b"b")],
            &[Some(b"b"), Some(b"a")],
            &[Some(b"ab"), None],
            &[None, Some(b"ab")],
            &[None, None],
        ];
        for (place, row) in rows.iter().enumerate() {
            for other in &rows[place + 1..] {
                assert_ne!(digest(7, row), digest(7, other));
            }
        }
    }

    /// Another seed gives another digest, and two columns have two seeds.
    #[test]
    fn the_seed_counts() {
        assert_ne!(digest(1, &[Some(b"row")]), digest(2, &[Some(b"row")]));
        assert_ne!(column_seed(1, 0), column_seed(1, 1));
    }
}
