//! UUIDs as registers write them: text with or without hyphens, or 16 bytes.

/// Where the hyphens stand in the 36-character form (RFC 9562, section 4).
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// The 16 bytes of a UUID in text, in either case: 36 characters with hyphens, or 32 hexadecimal digits.
///
/// Blanks, braces and the `urn:uuid:` prefix are refused: an identifier that arrives in them was not written by the
/// register. Version and variant bits are not looked at, since registers mint identifiers without them.
#[must_use]
pub fn parse_text(text: &[u8]) -> Option<[u8; 16]> {
    let mut digits = [0_u8; 32];
    match text.len() {
        32 => digits.copy_from_slice(text),
        36 => {
            let mut kept = digits.iter_mut();
            for (position, &byte) in text.iter().enumerate() {
                if HYPHENS.contains(&position) {
                    if byte != b'-' {
                        return None;
                    }
                } else {
                    *kept.next()? = byte;
                }
            }
        }
        _ => return None,
    }
    parse_digits(&digits)
}

/// The 16 bytes of a UUID in a binary column: 16 raw bytes, or text as [`parse_text`] takes it.
#[must_use]
pub fn parse_bytes(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.try_into().ok().or_else(|| parse_text(bytes))
}

fn parse_digits(digits: &[u8; 32]) -> Option<[u8; 16]> {
    let mut uuid = [0_u8; 16];
    let mut refused = 0_u8;
    for (byte, pair) in uuid.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(digit_value);
        refused |= high | low;
        *byte = (high << 4) | (low & 0x0f);
    }
    (refused & 0xf0 == 0).then_some(uuid)
}

/// The value of a hexadecimal digit, or a number over 15.
fn digit_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0xff,
    }
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
