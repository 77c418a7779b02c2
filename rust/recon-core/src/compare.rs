//! Comparing two sides by key: what only one of them has, and what differs.

use std::cmp::Ordering;

use crate::row_digest::Value;

/// Most attributes of a comparison: each is a bit of the mask.
pub const ATTRIBUTES_MAX: usize = 64;

/// One side, its rows by number.
pub trait Rows {
    /// The numbers of all rows in order of their keys, rows of one key in order of their numbers.
    fn order(&self) -> &[u32];
    /// The key of a row.
    fn key(&self, row: u32) -> &[u8];
    /// The digest of a row's attributes, made alike on both sides.
    fn digest(&self, row: u32) -> u128;
    /// A row's attributes, in the order of the mask's bits.
    fn values(&self, row: u32) -> impl Iterator<Item = Value<'_>>;
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is on the desired side alone.
    Added,
    /// It is on the observed side alone.
    Removed,
    /// Its rows differ.
    Changed,
    /// It stands more than once on the desired side.
    DuplicateDesired,
    /// It stands more than once on the observed side.
    DuplicateObserved,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::DuplicateDesired => "duplicate-desired",
            Self::DuplicateObserved => "duplicate-observed",
        }
    }
}

/// One line of the result: the rows it was made from, and the attributes that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What became of the key.
    pub kind: Kind,
    /// Its row, or the first of its rows, on the desired side.
    pub desired: Option<u32>,
    /// Its row, or the first of its rows, on the observed side.
    pub observed: Option<u32>,
    /// Bit i: attribute i differs. Zero unless changed.
    pub mask: u64,
    /// How often a duplicate key stands on that side; else 1.
    pub count: u32,
}

/// How many keys came out as what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompareCounts {
    /// Keys with equal rows on both sides.
    pub unchanged: u64,
    /// Keys of the desired side alone.
    pub added: u64,
    /// Keys of the observed side alone.
    pub removed: u64,
    /// Keys whose rows differ.
    pub changed: u64,
    /// Keys that stand more than once on a side, counted for each such side.
    pub duplicate: u64,
}

/// Lines in key order, and counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Every key but the unchanged ones.
    pub findings: Vec<Finding>,
    /// All keys.
    pub counts: CompareCounts,
}

/// Compare two sides by walking both in key order.
///
/// Rows are told apart by their digests, and where these differ the attributes by their values.
pub fn compare<D: Rows, O: Rows>(desired: &D, observed: &O) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut wanted_left, mut seen_left) = (desired.order(), observed.order());
    loop {
        let (wanted, seen) = (group(desired, wanted_left), group(observed, seen_left));
        let order = match (wanted.first(), seen.first()) {
            (None, None) => return outcome,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => desired.key(*one).cmp(observed.key(*other)),
        };
        let (wanted, seen) = match order {
            Ordering::Less => (wanted, &[][..]),
            Ordering::Equal => (wanted, seen),
            Ordering::Greater => (&[][..], seen),
        };
        wanted_left = wanted_left.get(wanted.len()..).unwrap_or_default();
        seen_left = seen_left.get(seen.len()..).unwrap_or_default();
        match (wanted, seen) {
            ([one], [other]) => outcome.judge_pair(desired, *one, observed, *other),
            ([one], []) => outcome.tell(Kind::Added, wanted, Some(*one), None),
            ([], [other]) => outcome.tell(Kind::Removed, seen, None, Some(*other)),
            _ => {
                if let [first, _, ..] = wanted {
                    outcome.tell(Kind::DuplicateDesired, wanted, Some(*first), None);
                }
                if let [first, _, ..] = seen {
                    outcome.tell(Kind::DuplicateObserved, seen, None, Some(*first));
                }
            }
        }
    }
}

/// The rows at the front that have one key.
fn group<'a, R: Rows>(side: &R, rows: &'a [u32]) -> &'a [u32] {
    let Some(first) = rows.first() else { return &[] };
    let key = side.key(*first);
    let others = rows.iter().skip(1).take_while(|row| side.key(**row) == key).count();
    rows.get(..=others).unwrap_or_default()
}

impl Outcome {
    fn judge_pair<D: Rows, O: Rows>(&mut self, desired: &D, one: u32, observed: &O, other: u32) {
        if desired.digest(one) == observed.digest(other) {
            self.counts.unchanged += 1;
            return;
        }
        let pairs = desired.values(one).zip(observed.values(other));
        let bits = pairs.zip(0_u32..64).map(|((wanted, seen), bit)| u64::from(wanted != seen) << bit);
        let mask = bits.fold(0, |mask, bit| mask | bit);
        self.counts.changed += 1;
        let (desired, observed) = (Some(one), Some(other));
        self.findings.push(Finding { kind: Kind::Changed, desired, observed, mask, count: 1 });
    }

    fn tell(&mut self, kind: Kind, rows: &[u32], desired: Option<u32>, observed: Option<u32>) {
        match kind {
            Kind::Added => self.counts.added += 1,
            Kind::Removed => self.counts.removed += 1,
            Kind::Changed => self.counts.changed += 1,
            Kind::DuplicateDesired | Kind::DuplicateObserved => self.counts.duplicate += 1,
        }
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        self.findings.push(Finding { kind, desired, observed, mask: 0, count });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{CompareCounts, Finding, Kind, Outcome, Rows, compare};
    use crate::row_digest::{Value, append, digest};

    /// Rows of a key of one byte and two attributes.
    struct Side {
        rows: Vec<(u8, Option<i64>, bool)>,
        order: Vec<u32>,
    }

    impl Side {
        fn of(rows: &[(u8, Option<i64>, bool)]) -> Self {
            let mut order = (0_u32..).take(rows.len()).collect::<Vec<_>>();
            order.sort_by_key(|&row| rows[row as usize].0);
            Self { rows: rows.to_vec(), order }
        }
    }

    impl Rows for Side {
        fn order(&self) -> &[u32] {
            &self.order
        }

        fn key(&self, row: u32) -> &[u8] {
            std::slice::from_ref(&self.rows[row as usize].0)
        }

        fn digest(&self, row: u32) -> u128 {
            let mut canonical = Vec::new();
            self.values(row).for_each(|value| append(&mut canonical, value));
            digest(&canonical, 1)
        }

        fn values(&self, row: u32) -> impl Iterator<Item = Value<'_>> {
            let (_, number, flag) = self.rows[row as usize];
            [number.map_or(Value::Null, Value::Integer), Value::Boolean(flag)].into_iter()
        }
    }

    /// One key of each kind comes out as that kind, in key order.
    #[test]
    fn each_kind_is_told() {
        let desired =
            Side::of(&[(5, None, true), (1, None, true), (2, Some(1), true), (4, None, true), (4, None, true)]);
        let observed =
            Side::of(&[(6, None, true), (3, None, true), (3, None, false), (2, None, true), (5, None, true)]);
        let Outcome { findings, counts } = compare(&desired, &observed);
        let line = |kind, desired, observed, mask, count| Finding { kind, desired, observed, mask, count };
        assert_eq!(
            findings,
            [
                line(Kind::Added, Some(1), None, 0, 1),
                line(Kind::Changed, Some(2), Some(3), 1, 1),
                line(Kind::DuplicateObserved, None, Some(1), 0, 2),
                line(Kind::DuplicateDesired, Some(3), None, 0, 2),
                line(Kind::Removed, None, Some(0), 0, 1),
            ]
        );
        assert_eq!(counts, CompareCounts { unchanged: 1, added: 1, removed: 1, changed: 1, duplicate: 2 });
    }

    fn rows() -> impl Strategy<Value = Vec<(u8, Option<i64>, bool)>> {
        prop::collection::vec((0_u8..20, prop::option::of(0_i64..2), any::<bool>()), 0..30)
    }

    proptest! {
        /// Every key of either side is in exactly one place, and the rows of both sides add up.
        #[test]
        fn rows_add_up(one in rows(), other in rows()) {
            let Outcome { findings, counts } = compare(&Side::of(&one), &Side::of(&other));
            let mut keys = BTreeMap::<u8, (usize, usize)>::new();
            for (key, _, _) in &one {
                keys.entry(*key).or_default().0 += 1;
            }
            for (key, _, _) in &other {
                keys.entry(*key).or_default().1 += 1;
            }
            let doubled = keys.values().filter(|(one, other)| *one > 1 || *other > 1);
            let listed = doubled.map(|(one, other)| u64::from(*one > 1) + u64::from(*other > 1)).sum::<u64>();
            prop_assert_eq!(counts.duplicate, listed);
            let single = keys.values().filter(|(one, other)| *one <= 1 && *other <= 1).count() as u64;
            prop_assert_eq!(counts.unchanged + counts.added + counts.removed + counts.changed, single);
            prop_assert_eq!(findings.len() as u64, single - counts.unchanged + listed);
            prop_assert!(findings.iter().all(|line| (line.mask != 0) == (line.kind == Kind::Changed)));
        }
    }
}
