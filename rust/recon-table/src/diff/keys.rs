//! Keys as bytes whose order is the keys' order, and parts of that order.

use arrow_schema::DataType;
use recon_core::uuid::{parse_bytes, parse_text};

use crate::bytes_column::{is_binary, is_text};

/// Most bytes of a key.
pub(crate) const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// What keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// UUIDs: 16 bytes, or text in the forms of `recon_core::uuid`.
    Uuid,
    /// Text, told apart and ordered by its bytes.
    Text,
    /// Bytes.
    Binary,
    /// Integers of 64 bits with sign.
    Integer,
}

impl KeyForm {
    /// The name of a form.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Integer => "integer",
        }
    }

    /// The form of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Uuid, Self::Text, Self::Binary, Self::Integer].into_iter().find(|form| form.name() == name)
    }

    /// Whether a column of this type can hold keys of this form.
    pub(crate) fn takes(self, data_type: &DataType) -> bool {
        match self {
            Self::Uuid => is_text(data_type) || is_binary(data_type),
            Self::Text => is_text(data_type),
            Self::Binary => is_binary(data_type),
            Self::Integer => match data_type {
                DataType::Dictionary(_, values) => values.is_integer(),
                other => other.is_integer(),
            },
        }
    }
}

/// How the contents of one column become keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyReading {
    UuidText,
    UuidBytes,
    Plain,
    Integer,
}

impl KeyReading {
    pub(crate) fn of(form: KeyForm, data_type: &DataType) -> Self {
        match form {
            KeyForm::Uuid if is_text(data_type) => Self::UuidText,
            KeyForm::Uuid => Self::UuidBytes,
            KeyForm::Text | KeyForm::Binary => Self::Plain,
            KeyForm::Integer => Self::Integer,
        }
    }

    /// The key of a content, handed to `take`; `None` when it is none of this form.
    #[inline]
    pub(crate) fn with<R>(self, content: &[u8], take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match self {
            Self::UuidText => parse_text(content).map(|key| take(&key)),
            Self::UuidBytes => parse_bytes(content).map(|key| take(&key)),
            Self::Plain => (content.len() <= KEY_BYTES_MAX).then(|| take(content)),
            Self::Integer => content.try_into().ok().map(|bytes| take(&ordered(i64::from_le_bytes(bytes)))),
        }
    }
}

/// An integer as bytes in the order of the numbers.
fn ordered(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The integer of such bytes.
pub(crate) fn integer_of(key: &[u8]) -> i64 {
    let bytes = key.try_into().unwrap_or_default();
    (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()
}

/// Records of keys and what goes with them: `key`, digest (16 bytes), unit and row (4 bytes each).
pub(crate) trait Layout: Sync {
    /// Bytes of the record of a key.
    fn len(key: &[u8]) -> usize;
    /// Append a record.
    fn push(records: &mut Vec<u8>, key: &[u8], tail: Tail);
    /// The key of the record at an offset, and where the rest of the record begins.
    fn key(records: &[u8], offset: usize) -> (&[u8], usize);
}

/// Bytes of a record beside its key.
pub(crate) const TAIL: usize = 24;

/// What stands beside a key.
#[derive(Clone, Copy)]
pub(crate) struct Tail {
    pub(crate) digest: u128,
    pub(crate) unit: u32,
    pub(crate) row: u32,
}

impl Tail {
    /// The record's words go out one by one. As one piece it would be read back wider than it was just written, and such a read waits until all earlier
    /// writes are done, of which those into other parts' chunks miss the cache.
    #[inline]
    fn push(self, records: &mut Vec<u8>) {
        let [digest, place] = [self.digest, u128::from(self.unit) | u128::from(self.row) << 32];
        for word in [digest, digest >> 64, place] {
            records.extend_from_slice(&low(word).to_le_bytes());
        }
    }
}

/// The low half of a number.
#[allow(clippy::cast_possible_truncation)] // what is above is pushed by itself
fn low(number: u128) -> u64 {
    number as u64
}

/// Keys of so many bytes each, whole words.
pub(crate) struct FixedKeys<const N: usize>;

impl<const N: usize> Layout for FixedKeys<N> {
    #[inline]
    fn len(_: &[u8]) -> usize {
        N + TAIL
    }

    #[inline]
    fn push(records: &mut Vec<u8>, key: &[u8], tail: Tail) {
        for word in key[..N].as_chunks::<8>().0 {
            records.extend_from_slice(word);
        }
        tail.push(records);
    }

    #[inline]
    fn key(records: &[u8], offset: usize) -> (&[u8], usize) {
        (&records[offset..offset + N], offset + N)
    }
}

/// Keys of any length, after their length in 2 bytes.
pub(crate) struct AnyKeys;

impl Layout for AnyKeys {
    #[inline]
    fn len(key: &[u8]) -> usize {
        2 + key.len() + TAIL
    }

    #[inline]
    fn push(records: &mut Vec<u8>, key: &[u8], tail: Tail) {
        // Longer ones were refused when they were read.
        let len = u16::try_from(key.len()).unwrap_or(u16::MAX);
        records.extend_from_slice(&len.to_le_bytes());
        records.extend_from_slice(&key[..usize::from(len)]);
        tail.push(records);
    }

    #[inline]
    fn key(records: &[u8], offset: usize) -> (&[u8], usize) {
        let len = usize::from(u16::from_le_bytes([records[offset], records[offset + 1]]));
        (&records[offset + 2..offset + 2 + len], offset + 2 + len)
    }
}

/// A number in the order of the keys: the 8 bytes after what the keys have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranking {
    common: Vec<u8>,
}

impl Ranking {
    /// By what lies between two keys.
    pub(crate) fn between(lowest: &[u8], highest: &[u8]) -> Self {
        let common = lowest.iter().zip(highest).take_while(|(one, other)| one == other).count();
        Self { common: lowest[..common].to_vec() }
    }

    #[inline]
    pub(crate) fn rank(&self, key: &[u8]) -> u64 {
        if self.common.is_empty() { front(key) } else { self.rank_after_common(key) }
    }

    /// A key of this rank.
    pub(crate) fn key_of(&self, rank: u64) -> Vec<u8> {
        [&self.common[..], &rank.to_be_bytes()].concat()
    }

    fn rank_after_common(&self, key: &[u8]) -> u64 {
        let shown = key.len().min(self.common.len());
        match key[..shown].cmp(&self.common[..shown]) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => u64::MAX,
            std::cmp::Ordering::Equal => front(&key[shown..]),
        }
    }
}

/// The first 8 bytes as a number, most significant first, padded with zeros.
#[inline]
fn front(key: &[u8]) -> u64 {
    if let Some(first) = key.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let mut first = [0_u8; 8];
    first[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(first)
}

/// Ranges of ranks: part p holds the ranks from its bound up to the next one's.
pub(crate) struct Parts {
    ranking: Ranking,
    /// The lowest rank of each part but the first.
    bounds: Vec<u64>,
    /// For each cell of equal width the bounds that lie in it.
    cells: Vec<(u32, u32)>,
    lowest: u64,
    shift: u32,
}

const CELLS: u64 = 4_096;

impl Parts {
    /// Parts of about as many of the sampled keys each, `parts` at most.
    pub(crate) fn of(mut sample: Vec<Vec<u8>>, parts: usize) -> Self {
        sample.sort_unstable();
        let ranking = match (sample.first(), sample.last()) {
            (Some(lowest), Some(highest)) => Ranking::between(lowest, highest),
            _ => Ranking::default(),
        };
        let ranks = sample.iter().map(|key| ranking.rank(key)).collect::<Vec<_>>();
        let mut bounds = (1..parts)
            .filter_map(|part| ranks.get(part * ranks.len() / parts).copied())
            // A rank that fills parts of its own is cut off behind it too.
            .flat_map(|rank| [rank, rank.saturating_add(1)])
            .collect::<Vec<_>>();
        bounds.sort_unstable();
        bounds.dedup();
        if parts < 2 {
            bounds.clear();
        }
        let bounds = thinned(&ranks, bounds);
        let lowest = ranks.first().copied().unwrap_or(0);
        let span = ranks.last().copied().unwrap_or(0) - lowest;
        let shift = (u64::BITS - span.leading_zeros()).saturating_sub(CELLS.ilog2());
        let cells = (0..CELLS).map(|cell| cell_bounds(&bounds, lowest, shift, cell)).collect();
        Self { ranking, bounds, cells, lowest, shift }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.bounds.len() + 1
    }

    /// The part of a key.
    #[inline]
    pub(crate) fn part(&self, key: &[u8]) -> usize {
        let rank = self.ranking.rank(key);
        let cell = (rank.saturating_sub(self.lowest) >> self.shift).min(CELLS - 1);
        // Below `CELLS` on every machine.
        let (low, high) = self.cells[usize::try_from(cell).unwrap_or(0)];
        let (low, high) = (low as usize, high as usize);
        low + self.bounds[low..high].partition_point(|bound| *bound <= rank)
    }
}

/// The bounds without those right behind another bound that only few of the sampled ranks have.
fn thinned(ranks: &[u64], bounds: Vec<u64>) -> Vec<u64> {
    let mut kept = Vec::<u64>::with_capacity(bounds.len());
    for bound in bounds {
        let follows = bound.checked_sub(1).is_some_and(|before| kept.last() == Some(&before));
        if follows {
            let before = bound - 1;
            let equal = ranks.partition_point(|rank| *rank < bound) - ranks.partition_point(|rank| *rank < before);
            if equal < 8 {
                continue;
            }
        }
        kept.push(bound);
    }
    kept
}

/// The bounds that a rank of this cell may lie on either side of.
fn cell_bounds(bounds: &[u64], lowest: u64, shift: u32, cell: u64) -> (u32, u32) {
    let start = lowest.saturating_add(cell << shift);
    // The first cell also takes what is lower than the sample, the last what is higher.
    let low = if cell == 0 { 0 } else { bounds.partition_point(|bound| *bound <= start) };
    let high = if cell == CELLS - 1 {
        bounds.len()
    } else {
        let end = lowest.saturating_add((cell + 1) << shift);
        bounds.partition_point(|bound| *bound < end)
    };
    let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
    (number(low.min(high)), number(high))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{KeyReading, Parts, Ranking, integer_of};

    /// Integers keep their order as keys, and come back.
    #[test]
    fn integers_are_ordered() {
        let numbers = [i64::MIN, -300, -1, 0, 1, 255, 256, i64::MAX];
        let keys = numbers.map(|number| KeyReading::Integer.with(&number.to_le_bytes(), <[u8]>::to_vec).unwrap());
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| integer_of(&key)), numbers);
    }

    /// One key that fills half of the sample has a part of its own.
    #[test]
    fn a_heavy_key_stands_alone() {
        let mut sample = (0..1_000_u32).map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>();
        sample.extend(vec![500_u32.to_be_bytes().to_vec(); 1_000]);
        let parts = Parts::of(sample, 16);
        let part = |number: u32| parts.part(&number.to_be_bytes());
        assert!(part(499) < part(500) && part(500) < part(501), "{} {} {}", part(499), part(500), part(501));
    }

    /// A sample of one key, or none, still makes parts.
    #[test]
    fn small_samples_are_enough() {
        for sample in [vec![], vec![b"a".to_vec()], vec![b"a".to_vec(); 9]] {
            let parts = Parts::of(sample, 8);
            assert!(parts.part(b"") <= parts.part(b"a") && parts.part(b"a") <= parts.part(b"zz"));
            assert!(parts.part(b"zz") < parts.count());
        }
    }

    fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let key = prop::collection::vec(prop::sample::select(vec![0, 1, b'a', b'b', 255]), 0..12);
        prop::collection::vec(key, 0..80)
    }

    proptest! {
        /// Ranks and parts are in the order of the keys, whatever was sampled.
        #[test]
        fn parts_keep_the_order(sample in keys(), mut all in keys(), parts in 1_usize..40) {
            let ranking = match (sample.iter().min(), sample.iter().max()) {
                (Some(lowest), Some(highest)) => Ranking::between(lowest, highest),
                _ => Ranking::default(),
            };
            all.extend(sample.iter().cloned());
            all.sort_unstable();
            let made = Parts::of(sample, parts);
            prop_assert!(all.iter().map(|key| ranking.rank(key)).is_sorted());
            let found = all.iter().map(|key| made.part(key)).collect::<Vec<_>>();
            prop_assert!(found.is_sorted());
            prop_assert!(found.iter().all(|part| *part < made.count()));
        }

        /// Every rank is in the part whose bounds are about it.
        #[test]
        fn cells_find_the_part(numbers in prop::collection::vec(any::<u64>(), 1..300), parts in 1_usize..64) {
            let keys = numbers.iter().map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>();
            let made = Parts::of(keys.clone(), parts);
            for key in &keys {
                let rank = made.ranking.rank(key);
                let expected = made.bounds.iter().filter(|bound| **bound <= rank).count();
                prop_assert_eq!(made.part(key), expected);
            }
        }
    }
}
