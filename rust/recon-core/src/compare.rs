//! Comparing two sides by key: what only one of them has, and what differs.

use std::cmp::Ordering;

/// One side, its rows in order of their keys.
pub trait SortedRows {
    /// How many rows there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A number that is in the order of the keys; two keys may share one.
    fn rank(&self, at: usize) -> u64;
    /// The key in full.
    fn key(&self, at: usize) -> &[u8];
    /// The digest of the attributes, made alike on both sides.
    fn digest(&self, at: usize) -> u128;
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is in the source alone.
    Added,
    /// It is in the directory alone.
    Removed,
    /// Its rows differ.
    Changed,
    /// It stands more than once in the source.
    DuplicateSource,
    /// It stands more than once in the directory.
    DuplicateDirectory,
}

impl Kind {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] =
        [Self::Added, Self::Removed, Self::Changed, Self::DuplicateSource, Self::DuplicateDirectory];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::DuplicateSource => "duplicate-source",
            Self::DuplicateDirectory => "duplicate-directory",
        }
    }

    /// One byte for it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Added => 0,
            Self::Removed => 1,
            Self::Changed => 2,
            Self::DuplicateSource => 3,
            Self::DuplicateDirectory => 4,
        }
    }
}

/// One line of the result, and the rows it was made from by their places in key order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What became of the key.
    pub kind: Kind,
    /// Its row, or the first of its rows, in the source.
    pub source: Option<usize>,
    /// Its row, or the first of its rows, in the directory.
    pub directory: Option<usize>,
    /// How often a duplicate key stands on that side; else 1.
    pub count: u64,
}

/// Which pairs of rows are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Those whose digests differ.
    Differing,
    /// All of them, because values will be compared.
    All,
}

/// What a walk counts beside its findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Keys with one row on each side, which are equal and are not told.
    pub unchanged: u64,
    /// Keys that stand on both sides, however often.
    pub common: u64,
}

/// Compare two sides by walking both in key order; `tell` gets a finding for every key but those with one equal row on each side.
pub fn compare<S: SortedRows, D: SortedRows>(
    source: &S,
    directory: &D,
    pairs: Pairs,
    mut tell: impl FnMut(Finding),
) -> Walked {
    let (mut one, mut other, mut walked) = (0, 0, Walked::default());
    while one < source.len() || other < directory.len() {
        let order = match (one < source.len(), other < directory.len()) {
            (true, false) => Ordering::Less,
            (false, _) => Ordering::Greater,
            (true, true) => {
                (source.rank(one).cmp(&directory.rank(other))).then_with(|| source.key(one).cmp(directory.key(other)))
            }
        };
        let ones = if order == Ordering::Greater { 0 } else { times(source, one) };
        let others = if order == Ordering::Less { 0 } else { times(directory, other) };
        walked.common += u64::from(ones > 0 && others > 0);
        match (ones, others) {
            (1, 1) if pairs == Pairs::Differing && source.digest(one) == directory.digest(other) => {
                walked.unchanged += 1;
            }
            (1, 1) => tell(Finding { kind: Kind::Changed, source: Some(one), directory: Some(other), count: 1 }),
            (1, 0) => tell(Finding { kind: Kind::Added, source: Some(one), directory: None, count: 1 }),
            (0, 1) => tell(Finding { kind: Kind::Removed, source: None, directory: Some(other), count: 1 }),
            _ => {
                if ones > 1 {
                    let kind = Kind::DuplicateSource;
                    tell(Finding { kind, source: Some(one), directory: None, count: ones as u64 });
                }
                if others > 1 {
                    let kind = Kind::DuplicateDirectory;
                    tell(Finding { kind, source: None, directory: Some(other), count: others as u64 });
                }
            }
        }
        one += ones;
        other += others;
    }
    walked
}

/// How many rows from here on have the key of the row here.
#[inline]
fn times<R: SortedRows>(side: &R, at: usize) -> usize {
    let same = |next: usize| side.rank(next) == side.rank(at) && side.key(next) == side.key(at);
    let mut next = at + 1;
    while next < side.len() && same(next) {
        next += 1;
    }
    next - at
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Finding, Kind, Pairs, SortedRows, Walked, compare};

    /// Rows of a key of two bytes and a digest; the rank is the key's front.
    struct Side(Vec<([u8; 2], u128)>);

    impl Side {
        fn of(rows: &[(u8, u128)]) -> Self {
            let mut rows = rows.iter().map(|(key, digest)| ([key / 2, *key], *digest)).collect::<Vec<_>>();
            rows.sort_unstable();
            Self(rows)
        }
    }

    impl SortedRows for Side {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn rank(&self, at: usize) -> u64 {
            u64::from(self.0[at].0[0])
        }

        fn key(&self, at: usize) -> &[u8] {
            &self.0[at].0
        }

        fn digest(&self, at: usize) -> u128 {
            self.0[at].1
        }
    }

    fn told(one: &Side, other: &Side, pairs: Pairs) -> (Vec<Finding>, Walked) {
        let mut findings = Vec::new();
        let walked = compare(one, other, pairs, |finding| findings.push(finding));
        (findings, walked)
    }

    /// One key of each kind comes out as that kind, in key order.
    #[test]
    fn each_kind_is_told() {
        let source = Side::of(&[(5, 0), (1, 0), (2, 1), (4, 0), (4, 0)]);
        let directory = Side::of(&[(6, 0), (3, 0), (3, 1), (2, 0), (5, 0)]);
        let line = |kind, source, directory, count| Finding { kind, source, directory, count };
        let expected = [
            line(Kind::Added, Some(0), None, 1),
            line(Kind::Changed, Some(1), Some(0), 1),
            line(Kind::DuplicateDirectory, None, Some(1), 2),
            line(Kind::DuplicateSource, Some(2), None, 2),
            line(Kind::Removed, None, Some(4), 1),
        ];
        let walked = Walked { unchanged: 1, common: 2 };
        assert_eq!(told(&source, &directory, Pairs::Differing), (expected.to_vec(), walked));
        let (all, walked) = told(&source, &directory, Pairs::All);
        assert_eq!((all.len(), walked), (6, Walked { unchanged: 0, common: 2 }));
        assert_eq!(all[4], line(Kind::Changed, Some(4), Some(3), 1));
    }

    /// Codes and names belong together.
    #[test]
    fn kinds_have_their_codes() {
        for (code, kind) in (0..).zip(Kind::ALL) {
            assert_eq!(kind.code(), code);
        }
    }

    fn rows() -> impl Strategy<Value = Vec<(u8, u128)>> {
        prop::collection::vec((0_u8..20, 0_u128..2), 0..30)
    }

    proptest! {
        /// Every key of either side is in exactly one place, and the rows of both sides add up.
        #[test]
        fn rows_add_up(one in rows(), other in rows()) {
            let (findings, walked) = told(&Side::of(&one), &Side::of(&other), Pairs::Differing);
            let mut keys = BTreeMap::<u8, (u64, u64)>::new();
            for (key, _) in &one {
                keys.entry(*key).or_default().0 += 1;
            }
            for (key, _) in &other {
                keys.entry(*key).or_default().1 += 1;
            }
            let single = keys.values().filter(|(one, other)| *one <= 1 && *other <= 1).count() as u64;
            let doubled = keys.values().map(|(one, other)| u64::from(*one > 1) + u64::from(*other > 1)).sum::<u64>();
            prop_assert_eq!(findings.len() as u64, single - walked.unchanged + doubled);
            prop_assert_eq!(walked.common, keys.values().filter(|(one, other)| *one > 0 && *other > 0).count() as u64);
            let counted = |kind| findings.iter().filter(|line| line.kind == kind).map(|line| line.count).sum::<u64>();
            let rows_doubled = keys.values().map(|(one, _)| if *one > 1 { *one } else { 0 }).sum::<u64>();
            prop_assert_eq!(counted(Kind::DuplicateSource), rows_doubled);
        }
    }
}
