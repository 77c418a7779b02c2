//! User IDs: the local part of an account's address, made of a person's name and digits.
//!
//! The rule (`docs/decisions/0001-spine.md`, "User IDs"). The **base** is the first and the last word of the name, folded to the letters a
//! to z and joined by a dot. The **candidate** of an attempt is the base and digits that follow from the account key alone, so
//! that a person's candidates are the same in every run. People with one base in one jenjang take, in the order of
//! their account keys, their first candidate that is neither taken by somebody else nor given to a lower key.
//!
//! Bases hold no digits, so two bases never meet in one user ID, and each base of a jenjang can be settled by itself.

use std::collections::BTreeSet;

use any_ascii::any_ascii;
use unicode_normalization::UnicodeNormalization;

use crate::HashKey;
use crate::marker::AccountKey;

/// Most letters of a word in a base: with two words, a dot and six digits, 55 of the 64 characters that Google allows.
pub const WORD_LETTERS_MAX: usize = 24;
/// Candidates of a person.
pub const ATTEMPTS: u32 = 64;
/// The base of a name without a letter: Indonesian for account.
pub const NAMELESS: &str = "akun";

/// The base of a name.
///
/// The name is normalised (NFKC), transliterated to ASCII (`any_ascii`) and lower-cased. Then blanks, hyphens, dots, commas and
/// slashes part its words; of a word the letters a to z stay, 24 at most, and a word without any is none.
#[must_use]
pub fn base(name: &str) -> String {
    if name.is_ascii() {
        return joined(name);
    }
    // White space first: some of it has no transliteration, and would join the words it stands between.
    let spaced = name.nfkc().map(|letter| if letter.is_whitespace() { ' ' } else { letter });
    joined(&any_ascii(&spaced.collect::<String>()))
}

/// The first and the last word of an ASCII name.
fn joined(name: &str) -> String {
    let is_between = |letter: char| letter.is_ascii_whitespace() || matches!(letter, '\u{b}' | '-' | '.' | ',' | '/');
    let mut words = name.split(is_between).filter(|word| word.contains(|letter: char| letter.is_ascii_alphabetic()));
    let mut base = String::with_capacity(2 * WORD_LETTERS_MAX + 1);
    match words.next() {
        None => base.push_str(NAMELESS),
        Some(first) => push_letters(&mut base, first),
    }
    if let Some(last) = words.next_back() {
        base.push('.');
        push_letters(&mut base, last);
    }
    base
}

fn push_letters(base: &mut String, word: &str) {
    let letters = word.chars().filter(char::is_ascii_alphabetic).take(WORD_LETTERS_MAX);
    base.extend(letters.map(|letter| letter.to_ascii_lowercase()));
}

/// The digits of a candidate: how many, and what number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digits {
    width: u8,
    number: u32,
}

impl Digits {
    /// The digits of a person's candidate, or `None` for an attempt that nobody has.
    ///
    /// The BLAKE3 keyed hash of the account key and the attempt (4 bytes, least significant first); of it the first 8 bytes, least
    /// significant first, modulo 10, 100 thousand or a million. A number can be likelier than another by less than 10^6 / 2^64.
    #[must_use]
    pub fn of(naming_key: &HashKey, account_key: &AccountKey, attempt: u32) -> Option<Self> {
        let (width, numbers) = match attempt {
            0..4 => (4, 10_000),
            4..8 => (5, 100_000),
            8..ATTEMPTS => (6, 1_000_000),
            _ => return None,
        };
        let mut hasher = blake3::Hasher::new_keyed(naming_key.as_bytes());
        let digest = hasher.update(account_key).update(&attempt.to_le_bytes()).finalize();
        let drawn = digest.as_bytes().first_chunk().map_or(0, |front| u64::from_le_bytes(*front));
        Some(Self { width, number: u32::try_from(drawn % numbers).ok()? })
    }

    /// The base and digits of a user ID in lower case; `None` when it does not end in as many digits as a candidate has.
    #[must_use]
    pub fn split(user_id: &str) -> Option<(&str, Self)> {
        let base = user_id.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let digits = user_id.get(base.len()..)?;
        let width = u8::try_from(digits.len()).ok().filter(|width| (4..=6).contains(width))?;
        Some((base, Self { width, number: digits.parse().ok()? }))
    }

    /// The user ID of these digits after a base.
    #[must_use]
    pub fn after(self, base: &str) -> String {
        format!("{base}{:0width$}", self.number, width = usize::from(self.width))
    }
}

/// Digits that are taken: whose they are, as a position among the people, or nobody's among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taken {
    /// The digits.
    pub digits: Digits,
    /// The position of the one person whom they do not block.
    pub owner: Option<u32>,
}

/// What a person got: the attempt and its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The number of the candidate.
    pub attempt: u32,
    /// Its digits.
    pub digits: Digits,
}

/// Give user IDs to the people of one base in one jenjang: each, in the order of their keys, takes the first candidate that is free.
///
/// `people` are account keys with positions, in ascending order of keys; `taken` is in ascending order. `None`: no candidate is free.
#[must_use]
pub fn allocate(naming_key: &HashKey, people: &[(AccountKey, u32)], taken: &[Taken]) -> Vec<Option<Given>> {
    let mut given = BTreeSet::new();
    let first_free = |&(key, position): &(AccountKey, u32)| {
        let candidate = |attempt| Digits::of(naming_key, &key, attempt).map(|digits| Given { attempt, digits });
        let is_free =
            |candidate: &Given| !given.contains(&candidate.digits) && !is_blocked(taken, candidate.digits, position);
        let found = (0..ATTEMPTS).filter_map(candidate).find(is_free)?;
        given.insert(found.digits);
        Some(found)
    };
    people.iter().map(first_free).collect()
}

/// Whether anybody but this person has the digits.
fn is_blocked(taken: &[Taken], digits: Digits, position: u32) -> bool {
    let start = taken.partition_point(|row| row.digits < digits);
    taken.iter().skip(start).take_while(|row| row.digits == digits).any(|row| row.owner != Some(position))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{ATTEMPTS, Digits, Taken, allocate, base};
    use crate::HashKey;
    use crate::marker::AccountKey;

    fn naming_key() -> HashKey {
        HashKey::from_bytes(&[9; 32]).unwrap()
    }

    fn account_key(number: u32) -> AccountKey {
        let mut key = [3; 17];
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// Names fold as the rule says.
    #[test]
    fn names_fold_to_their_first_and_last_word() {
        for (name, expected) in [
            ("BUDI SANTOSO", "budi.santoso"),
            ("Siti", "siti"),
            ("Siti Siti", "siti.siti"),
            ("Muhammad  Rizky\tAl-Fatih", "muhammad.fatih"),
            ("I GUSTI NGURAH", "i.ngurah"),
            ("Ma'ruf Nur'aini", "maruf.nuraini"),
            ("A.A. Gede/Putra, S.Pd", "a.pd"),
            ("Jos\u{e9} Mu\u{f1}oz", "jose.munoz"),
            ("Jose\u{301} Pe\u{f1}a", "jose.pena"),
            ("\u{ff22}\u{ff35}\u{ff24}\u{ff29}\u{3000}X", "budi.x"),
            ("budi\u{a0}santoso", "budi.santoso"),
            ("budi\u{2013}santoso", "budi.santoso"),
            ("budi\u{85}santoso", "budi.santoso"),
            ("\u{738b}\u{5c0f}\u{660e}", "wangxiaoming"),
            ("123 4-5", "akun"),
            ("", "akun"),
            (" ' ", "akun"),
            ("Budi 2 Santoso 3", "budi.santoso"),
            ("Abdurrahmanabdurrahmanabdurrahman Z", "abdurrahmanabdurrahmanab.z"),
        ] {
            assert_eq!(base(name), expected, "{name}");
        }
    }

    /// Four digits for attempts 0 to 3, five to 7, six to 63, none after.
    #[test]
    fn digits_widen_with_attempts() {
        let widths = (0..=ATTEMPTS)
            .map(|attempt| Digits::of(&naming_key(), &account_key(1), attempt).map(|digits| digits.after("").len()));
        let mut expected = vec![Some(4); 4];
        expected.extend([Some(5); 4]);
        expected.extend([Some(6); 56]);
        expected.push(None);
        assert_eq!(widths.collect::<Vec<_>>(), expected);
    }

    /// A candidate is the documented hash, zero-padded.
    #[test]
    fn digits_are_the_documented_hash() {
        let key = account_key(7);
        let mut message = key.to_vec();
        message.extend(5_u32.to_le_bytes());
        let digest = blake3::keyed_hash(&[9; 32], &message);
        let number = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap()) % 100_000;
        assert_eq!(Digits::of(&naming_key(), &key, 5).unwrap().after("siti"), format!("siti{number:05}"));
    }

    /// What a candidate's digits are is read back; other endings are no candidate's.
    #[test]
    fn user_ids_split_into_base_and_digits() {
        let digits = Digits::of(&naming_key(), &account_key(7), 0).unwrap();
        assert_eq!(Digits::split(&digits.after("budi.santoso")), Some(("budi.santoso", digits)));
        for other in ["budi.santoso", "budi123", "budi1234567", "", "\u{e9}"] {
            assert_eq!(Digits::split(other), None, "{other}");
        }
        assert_ne!(Digits::split("budi00012"), Digits::split("budi000012"));
    }

    /// One's own ledger row does not block; anybody else's does, also beside one's own.
    #[test]
    fn only_the_owner_keeps_an_id() {
        let digits = Digits::of(&naming_key(), &account_key(7), 0).unwrap();
        let attempt = |owners: &[Option<u32>]| {
            let taken = owners.iter().map(|&owner| Taken { digits, owner }).collect::<Vec<_>>();
            allocate(&naming_key(), &[(account_key(7), 0)], &taken)[0].unwrap().attempt
        };
        assert_eq!(attempt(&[]), 0);
        assert_eq!(attempt(&[Some(0)]), 0);
        assert_eq!(attempt(&[Some(0), Some(0)]), 0);
        assert_eq!(attempt(&[None]), 1);
        assert_eq!(attempt(&[Some(4)]), 1);
        assert_eq!(attempt(&[None, Some(0)]), 1);
    }

    /// Whoever has no free candidate gets none, and takes nobody's.
    #[test]
    fn nobody_takes_what_is_not_theirs() {
        let key = account_key(7);
        let mut taken = (0..ATTEMPTS)
            .map(|attempt| Taken { digits: Digits::of(&naming_key(), &key, attempt).unwrap(), owner: None })
            .collect::<Vec<_>>();
        taken.sort_unstable();
        let given = allocate(&naming_key(), &[(key, 0), (account_key(8), 1)], &taken);
        assert_eq!(given[0], None);
        assert!(given[1].is_some());
    }

    proptest! {
        /// A base is one or two words of 1 to 24 letters, whatever the name.
        #[test]
        fn bases_have_their_form(name in any::<String>()) {
            let base = base(&name);
            let words = base.split('.').collect::<Vec<_>>();
            prop_assert!(words.len() <= 2);
            for word in words {
                prop_assert!((1..=24).contains(&word.len()) && word.bytes().all(|letter| letter.is_ascii_lowercase()));
            }
        }

        /// Many people with one base: all get different IDs, each its first that no lower key has; lower keys are not
        /// touched by who comes after.
        #[test]
        fn lower_keys_choose_first(numbers in prop::collection::btree_set(0_u32..100_000, 1..400)) {
            let people = (0..).zip(&numbers).map(|(at, &number)| (account_key(number), at)).collect::<Vec<_>>();
            let given = allocate(&naming_key(), &people, &[]);
            let mut lower = BTreeSet::new();
            for ((key, _), given) in people.iter().zip(&given) {
                let given = given.unwrap();
                for attempt in 0..given.attempt {
                    prop_assert!(lower.contains(&Digits::of(&naming_key(), key, attempt).unwrap()));
                }
                prop_assert!(lower.insert(given.digits));
            }
            let half = people.len() / 2;
            prop_assert_eq!(&allocate(&naming_key(), &people[..half], &[])[..], &given[..half]);
        }
    }
}
