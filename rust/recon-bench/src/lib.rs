//! What the benchmarks of the kernels work on: synthetic keys, rows and names, the same at every run.

use recon_core::compare::SortedRows;

/// Rows of a batch.
pub const ROWS: u32 = 10_000;

/// Attributes of a row.
pub const ATTRIBUTES: usize = 7;

/// A multiplier that scatters row numbers (Knuth, "The Art of Computer Programming", 6.4).
#[must_use]
pub fn scattered(number: u32) -> u64 {
    u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A UUID as 36 characters for each row.
#[must_use]
pub fn uuid_texts() -> Vec<String> {
    (0..ROWS).map(|number| uuid_text(scattered(number), scattered(number ^ 0xFFFF))).collect()
}

fn uuid_text(high: u64, low: u64) -> String {
    let (first, second, third) = (high >> 32, high >> 16 & 0xFFFF, high & 0xFFF);
    format!("{first:08x}-{second:04x}-4{third:03x}-a{:03x}-{:012x}", low >> 52, low & 0xFFFF_FFFF_FFFF)
}

/// A row as a pupil's, about 60 bytes of text.
#[must_use]
pub fn row(number: u32) -> [String; ATTRIBUTES] {
    [
        format!("Budi Santoso {}", number % 997),
        format!("{:010}", scattered(number) % 10_000_000_000),
        format!("{}", 20_000_000 + number % 83),
        "L".to_owned(),
        "smp".to_owned(),
        format!("{:06}", number % 514),
        "2011-05-17".to_owned(),
    ]
}

/// Names as they are written, in ASCII and beyond.
#[must_use]
pub fn names() -> Vec<String> {
    (0..ROWS)
        .map(|number| match number % 3 {
            0 => format!("Siti Nurhaliza Binti {}", scattered(number) % 1_000),
            1 => "Muhammad Rizky Pratama".to_owned(),
            _ => "Dé Rànnìé S'aputra".to_owned(),
        })
        .collect()
}

/// One side of a comparison, in key order. A fiftieth of its rows has a digest that follows from `edition`.
pub struct Side {
    keys: Vec<[u8; 16]>,
    edition: u128,
}

impl Side {
    /// The side with all rows; sides of two editions differ in a fiftieth.
    #[must_use]
    pub fn new(edition: u32) -> Self {
        let mut keys: Vec<_> = (0..ROWS).map(|number| (u128::from(scattered(number)) << 64).to_be_bytes()).collect();
        keys.sort_unstable();
        Self { keys, edition: u128::from(edition) << 64 }
    }
}

impl SortedRows for Side {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn rank(&self, at: usize) -> u64 {
        self.keys[at].first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    fn key(&self, at: usize) -> &[u8] {
        &self.keys[at]
    }

    fn digest(&self, at: usize) -> u128 {
        at as u128 + if at.is_multiple_of(50) { self.edition } else { 0 }
    }
}
