//! Digests of rows: one canonical form of a row's values, whatever layout they came in, and xxh3 over it.
//!
//! A digest tells rows apart within one run; it never guards integrity, and its seed is drawn anew for each run, so that no
//! two values can be chosen to meet. Two differing rows meet with a chance of 2^-128 a pair.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// No value. It differs from every value and equals itself.
    Null,
    /// Text in UTF-8, or bytes.
    Bytes(&'a [u8]),
    /// True or false.
    Boolean(bool),
    /// An integer.
    Integer(i64),
}

/// Appends the canonical form of a value to a row: `0` for null; else `1`, the length of the content as 8 bytes, least significant
/// first, and the content: the bytes; one byte `0` or `1`; the integer as 8 bytes, least significant first.
pub fn append(row: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Null => row.push(0),
        Value::Bytes(bytes) => append_content(row, bytes),
        Value::Boolean(flag) => append_content(row, &[u8::from(flag)]),
        Value::Integer(number) => append_content(row, &number.to_le_bytes()),
    }
}

fn append_content(row: &mut Vec<u8>, content: &[u8]) {
    row.push(1);
    row.extend_from_slice(&(content.len() as u64).to_le_bytes());
    row.extend_from_slice(content);
}

/// The digest of a row in canonical form.
#[must_use]
pub fn digest(row: &[u8], seed: u64) -> u128 {
    xxh3_128_with_seed(row, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(values: &[Value<'_>]) -> Vec<u8> {
        let mut row = Vec::new();
        for value in values {
            append(&mut row, *value);
        }
        row
    }

    /// A byte more in one value and a byte less in the next make another row.
    #[test]
    fn neighbours_do_not_run_into_each_other() {
        let rows = [
            canonical(&[Value::Bytes(b"ab"), Value::Bytes(b"")]),
            canonical(&[Value::Bytes(b"a"), Value::Bytes(b"b")]),
            canonical(&[Value::Bytes(b"ab"), Value::Null]),
            canonical(&[Value::Null, Value::Bytes(b"ab")]),
        ];
        for (place, row) in rows.iter().enumerate() {
            for other in rows.iter().skip(place + 1) {
                assert_ne!(row, other);
                assert_ne!(digest(row, 7), digest(other, 7));
            }
        }
    }

    /// The canonical form is what is written down for those who recompute it.
    #[test]
    fn the_form_is_the_documented_one() {
        let row = canonical(&[Value::Null, Value::Bytes(b"x"), Value::Boolean(true), Value::Integer(-1)]);
        let mut expected =
            vec![0, 1, 1, 0, 0, 0, 0, 0, 0, 0, b'x', 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 8, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([0xff; 8]);
        assert_eq!(row, expected);
    }

    /// Another seed gives another digest.
    #[test]
    fn the_seed_counts() {
        assert_ne!(digest(b"row", 1), digest(b"row", 2));
    }
}
