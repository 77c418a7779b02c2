//! User IDs: the local part of an account's address, made of a person's name and digits.
//!
//! The rule (`docs/decisions/0001-spine.md`, "User IDs"). The **base** is the first and the last word of the name, folded to the letters a
//! to z and joined by a dot. The **candidate** of an attempt is the base and digits that follow from the account key alone, so
//! that a person's candidates are the same in every run. People with one base in one jenjang take, in the order of
//! their account keys, their first candidate that is neither taken by somebody else nor given to a lower key.
//!
//! Bases hold no digits, so two bases never meet in one user ID, and each base of a jenjang can be settled by itself.

use any_ascii::any_ascii;
use unicode_normalization::UnicodeNormalization;

use crate::HashKey;
use crate::marker::{ACCOUNT_KEY_BYTES, AccountKey};

/// Most letters of a word in a base: with two words, a dot and six digits, 55 of the 64 characters that Google allows.
pub const WORD_LETTERS_MAX: usize = 24;
/// Candidates of a person.
pub const ATTEMPTS: u32 = 64;
/// The base of a name without a letter: Indonesian for account.
pub const NAMELESS: &str = "akun";

/// Most letters and dots of a base.
pub const BASE_BYTES_MAX: usize = 2 * WORD_LETTERS_MAX + 1;

/// The base of a name.
///
/// The name is normalised (NFKC), transliterated to ASCII (`any_ascii`) and lower-cased. Then blanks, hyphens, dots, commas and
/// slashes part its words; of a word the letters a to z stay, 24 at most, and a word without any is none.
#[must_use]
pub fn base(name: &str) -> String {
    let mut base = String::with_capacity(BASE_BYTES_MAX);
    push_base(&mut base, name);
    base
}

/// Append the base of a name.
pub fn push_base(to: &mut String, name: &str) {
    if name.is_ascii() {
        return push_joined(to, name.as_bytes());
    }
    // White space first: some of it has no transliteration, and would join the words it stands between.
    let spaced = name.nfkc().map(|letter| if letter.is_whitespace() { ' ' } else { letter });
    push_joined(to, any_ascii(&spaced.collect::<String>()).as_bytes());
}

/// Append the first and the last word of an ASCII name.
///
/// The last word is looked for from the end, so that a long name is not read whole.
fn push_joined(to: &mut String, name: &[u8]) {
    let Some(start) = name.iter().position(u8::is_ascii_alphabetic) else {
        return to.push_str(NAMELESS);
    };
    let (_, from_first) = name.split_at(start);
    let (first, others) =
        from_first.split_at(from_first.iter().position(|&letter| parts_words(letter)).unwrap_or(from_first.len()));
    push_letters(to, first);
    let Some(end) = others.iter().rposition(u8::is_ascii_alphabetic) else { return };
    let (others, _) = others.split_at(end + 1);
    let (_, last) = others.split_at(others.iter().rposition(|&letter| parts_words(letter)).map_or(0, |at| at + 1));
    to.push('.');
    push_letters(to, last);
}

fn parts_words(letter: u8) -> bool {
    matches!(letter, b'\t'..=b'\r' | b' ' | b'-' | b'.' | b',' | b'/')
}

fn push_letters(to: &mut String, word: &[u8]) {
    let letters = word.iter().filter(|letter| letter.is_ascii_alphabetic()).take(WORD_LETTERS_MAX);
    to.extend(letters.map(|letter| char::from(letter.to_ascii_lowercase())));
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
        let mut message = [0; ACCOUNT_KEY_BYTES + 4];
        for (to, from) in message.iter_mut().zip(account_key.iter().copied().chain(attempt.to_le_bytes())) {
            *to = from;
        }
        let digest = blake3::keyed_hash(naming_key.as_bytes(), &message);
        let drawn = digest.as_bytes().first_chunk().map_or(0, |front| u64::from_le_bytes(*front));
        Some(Self { width, number: u32::try_from(drawn % numbers).ok()? })
    }

    /// The base and digits of a user ID; `None` when it does not end in as many digits as a candidate has.
    #[must_use]
    pub fn split(user_id: &[u8]) -> Option<(&[u8], Self)> {
        let end = user_id.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
        let (base, digits) = user_id.split_at_checked(end)?;
        let width = u8::try_from(digits.len()).ok().filter(|width| (4..=6).contains(width))?;
        let number = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        Some((base, Self { width, number }))
    }

    /// The user ID of these digits after a base.
    #[must_use]
    pub fn after(self, base: &str) -> String {
        let mut user_id = String::with_capacity(base.len() + usize::from(self.width));
        user_id.push_str(base);
        self.push_to(&mut user_id);
        user_id
    }

    /// Append the digits.
    pub fn push_to(self, user_id: &mut String) {
        let mut place = self.numbers() / 10;
        while place > 0 {
            user_id.push(char::from_digit(self.number / place % 10, 10).unwrap_or('0'));
            place /= 10;
        }
    }

    /// The digits as one number below 2^21, different for all digits of all widths.
    #[must_use]
    pub fn code(self) -> u32 {
        self.number + Self::codes_before(self.width)
    }

    /// The digits of a code.
    #[must_use]
    pub fn of_code(code: u32) -> Option<Self> {
        let width = [6, 5, 4].into_iter().find(|&width| Self::codes_before(width) <= code)?;
        let digits = Self { width, number: code - Self::codes_before(width) };
        (digits.number < digits.numbers()).then_some(digits)
    }

    /// How many numbers the width has.
    fn numbers(self) -> u32 {
        10_u32.pow(u32::from(self.width))
    }

    /// How many codes the smaller widths have.
    fn codes_before(width: u8) -> u32 {
        match width {
            ..5 => 0,
            5 => 10_000,
            6.. => 110_000,
        }
    }
}

/// What a person got: the attempt and its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The number of the candidate.
    pub attempt: u32,
    /// Its digits.
    pub digits: Digits,
}

/// The first of a person's candidates that `is_free` says yes to, from the attempt `from` on; it is asked about one after the other.
///
/// Asking for the people of one base in one jenjang in the order of their keys, and taking out what each got, gives the rule's answer.
pub fn first_free(
    naming_key: &HashKey,
    account_key: &AccountKey,
    from: u32,
    mut is_free: impl FnMut(Digits) -> bool,
) -> Option<Given> {
    (from..ATTEMPTS)
        .filter_map(|attempt| Digits::of(naming_key, account_key, attempt).map(|digits| Given { attempt, digits }))
        .find(|given| is_free(given.digits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    use super::{ATTEMPTS, Digits, Given, base, first_free};
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
        assert_eq!(Digits::split(digits.after("budi.santoso").as_bytes()), Some((b"budi.santoso".as_slice(), digits)));
        for other in ["budi.santoso", "budi123", "budi1234567", "", "\u{e9}"] {
            assert_eq!(Digits::split(other.as_bytes()), None, "{other}");
        }
        assert_eq!(
            Digits::split(b"0012").map(|(base, digits)| (base.len(), digits.after(""))),
            Some((0, "0012".into()))
        );
        assert_ne!(Digits::split(b"budi00012"), Digits::split(b"budi000012"));
    }

    /// Digits of all widths have codes of their own, next to each other from zero, and are read back from them.
    #[test]
    fn codes_are_dense() {
        for (text, code) in [
            ("0000", 0),
            ("9999", 9_999),
            ("00000", 10_000),
            ("99999", 109_999),
            ("000000", 110_000),
            ("999999", 1_109_999),
        ] {
            let (_, digits) = Digits::split(text.as_bytes()).unwrap();
            assert_eq!(digits.code(), code);
            assert_eq!(Digits::of_code(code).unwrap().after(""), text);
        }
        assert_eq!(Digits::of_code(1_110_000), None);
    }

    /// The candidates are asked about in order, from the attempt asked, and the first that is free is taken; with none free there is none.
    #[test]
    fn first_free_candidate_is_taken() {
        let candidate = |attempt| Digits::of(&naming_key(), &account_key(7), attempt).unwrap();
        let mut asked = Vec::new();
        let given = first_free(&naming_key(), &account_key(7), 1, |digits| {
            asked.push(digits);
            digits == candidate(6)
        });
        assert_eq!(asked, (1..=6).map(candidate).collect::<Vec<_>>());
        assert_eq!(given, Some(Given { attempt: 6, digits: candidate(6) }));
        assert_eq!(first_free(&naming_key(), &account_key(7), 0, |_| false), None);
    }

    /// The rule for words, said another way: part, drop words without a letter, take the first and the last.
    fn obvious(name: &str) -> String {
        let spaced = name.nfkc().map(|letter| if letter.is_whitespace() { ' ' } else { letter }).collect::<String>();
        let plain = if name.is_ascii() { name.to_owned() } else { any_ascii::any_ascii(&spaced) };
        let letters = |word: &str| {
            word.chars().filter(char::is_ascii_alphabetic).take(24).collect::<String>().to_ascii_lowercase()
        };
        let between = |letter: char| letter.is_ascii_whitespace() || "\u{b}-.,/".contains(letter);
        let words = plain.split(between).map(letters).filter(|word| !word.is_empty()).collect::<Vec<_>>();
        match words.as_slice() {
            [] => "akun".to_owned(),
            [word] => word.clone(),
            [first, .., last] => format!("{first}.{last}"),
        }
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

        /// A base is what the rule for words says.
        #[test]
        fn bases_are_the_obvious_ones(name in "[a-cX-Z1' .,/\\-\t\u{b}\u{e9}\u{3000}]{0,40}") {
            prop_assert_eq!(base(&name), obvious(&name));
        }
    }
}
