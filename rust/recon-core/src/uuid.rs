//! UUIDs as registers write them: text with or without hyphens, or 16 bytes.

/// The 16 bytes of a UUID in text, in either case: 36 characters with hyphens (RFC 9562, section 4), or 32 hexadecimal digits.
///
/// Blanks, braces and the `urn:uuid:` prefix are refused: an identifier that arrives in them was not written by the
/// register. Version and variant bits are not looked at, since registers mint identifiers without them.
// Every index is a constant below 36.
#[allow(clippy::indexing_slicing)]
#[inline]
#[must_use]
pub fn parse_text(text: &[u8]) -> Option<[u8; 16]> {
    if let Ok(text) = <&[u8; 36]>::try_from(text) {
        let four = |at: usize| u64::from(text[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four)));
        let hyphens = [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
        let digits =
            [four(0) | four(4) << 32, four(9) | four(14) << 32, four(19) | four(24) << 32, four(28) | four(32) << 32];
        let [a, b, c, d] = digits;
        return joined(a, b, c, d).filter(|_| hyphens);
    }
    let words = <&[u8; 32]>::try_from(text).ok()?.as_chunks::<8>().0;
    let [a, b, c, d] = words.first_chunk::<4>()?.map(u64::from_le_bytes);
    joined(a, b, c, d)
}

/// The 16 bytes of a UUID in a binary column: 16 raw bytes, or text as [`parse_text`] takes it.
#[must_use]
pub fn parse_bytes(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.try_into().ok().or_else(|| parse_text(bytes))
}

/// The bytes of 32 digits, eight in a word, or `None` when one of them is none.
#[inline]
fn joined(a: u64, b: u64, c: u64, d: u64) -> Option<[u8; 16]> {
    let ((a, bad_a), (b, bad_b)) = (four_bytes(a), four_bytes(b));
    let ((c, bad_c), (d, bad_d)) = (four_bytes(c), four_bytes(d));
    let number = u128::from(a | b << 32) | u128::from(c | d << 32) << 64;
    (bad_a | bad_b | bad_c | bad_d == 0).then_some(number.to_le_bytes())
}

/// Four bytes of eight digits, the first the least significant, and what is not zero when one of them is no digit.
///
/// All eight are worked at once in a word, without a branch: digits are random, and a branch that is guessed wrong costs more than all of this.
#[inline]
fn four_bytes(digits: u64) -> (u64, u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let letters = (digits >> 6) & ONES;
    let values = (digits & (ONES * 0x0f)) + letters * 9;
    // Back to lower-case digits: what does not come out as it went in was none.
    let over_nine = ((values + ONES * 118) >> 7) & ONES;
    let again = values + ONES * 0x30 + over_nine * 0x27;
    let bad = (again ^ (digits | letters << 5)) | (values & (ONES * 0xf0));
    let pairs = ((values << 4) | (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let pairs = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    ((pairs | pairs >> 16) & 0xffff_ffff, bad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{parse_bytes, parse_text};

    const BYTES: [u8; 16] =
        [0x80, 0xf0, 0x4f, 0x5c, 0x2d, 0xf5, 0xe0, 0x11, 0xae, 0xcb, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab];

    /// Every form a register writes gives the same bytes.
    #[test]
    fn forms_agree() {
        for text in [
            "80f04f5c-2df5-e011-aecb-0123456789ab",
            "80F04F5C-2DF5-E011-AECB-0123456789AB",
            "80f04f5c2df5e011aecb0123456789aB",
        ] {
            assert_eq!(parse_text(text.as_bytes()), Some(BYTES), "{text}");
            assert_eq!(parse_bytes(text.as_bytes()), Some(BYTES), "{text}");
        }
        assert_eq!(parse_bytes(&BYTES), Some(BYTES));
    }

    /// Whatever is not exactly a UUID is none.
    #[test]
    fn others_are_refused() {
        for text in [
            "",
            "0123456789abcdef",
            " 80f04f5c-2df5-e011-aecb-0123456789ab",
            "{80f04f5c-2df5-e011-aecb-0123456789a}",
            "80f04f5c-2df5-e011-aecb-0123456789ag",
            "80f04f5c2-df5-e011-aecb-0123456789ab",
            "80f04f5c-2df5-e011-aecb0123456789ab1",
            "--------------------------------",
            "80f04f5c2df5e011aecb0123456789a\u{e9}",
        ] {
            assert_eq!(parse_text(text.as_bytes()), None, "{text}");
        }
    }

    /// In every place exactly the digits of both cases are taken, each for its value.
    #[test]
    fn every_byte_is_judged_in_every_place() {
        for place in 0..32 {
            for byte in 0..=255_u8 {
                let mut text = *b"00000000000000000000000000000000";
                text[place] = byte;
                let value = char::from(byte).to_digit(16).map(u128::from);
                let expected = value.map(|value| (value << (4 * (31 - place))).to_be_bytes());
                assert_eq!(parse_text(&text), expected, "{byte} at {place}");
            }
        }
    }

    proptest! {
        /// Printing and parsing gives the bytes back, with and without hyphens, in either case.
        #[test]
        fn printed_parses_back(bytes in any::<[u8; 16]>(), upper in any::<bool>()) {
            let lower = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            let digits = if upper { lower.to_uppercase() } else { lower };
            let hyphens = format!(
                "{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]
            );
            prop_assert_eq!(parse_text(digits.as_bytes()), Some(bytes));
            prop_assert_eq!(parse_text(hyphens.as_bytes()), Some(bytes));
        }

        /// Arbitrary bytes never panic, and text that is accepted has the right length.
        #[test]
        fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if parse_text(&bytes).is_some() {
                prop_assert!(bytes.len() == 32 || bytes.len() == 36);
            }
        }
    }
}
