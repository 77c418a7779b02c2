//! What the benchmarks of the kernels work on: synthetic keys, rows and names, the same at every run.

use recon_core::compare::Rows;
use recon_core::row_digest::Value;

/// Rows of a batch.
pub const ROWS: u32 = 10_000;

/// A row as a pupil's, about 70 bytes of text; `values` adds a number.
pub type Texts = [String; 7];

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

/// The texts of a row.
#[must_use]
pub fn texts(number: u32) -> Texts {
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

/// The eight values of a row.
pub fn values(texts: &Texts) -> impl Iterator<Item = Value<'_>> {
    texts.iter().map(|text| Value::Bytes(text.as_bytes())).chain(std::iter::once(Value::Integer(9)))
}

/// Names as they are written, in ASCII and beyond.
#[must_use]
pub fn names() -> Vec<String> {
    (0..ROWS)
        .map(|number| match number % 3 {
            0 => format!("Siti Nurhaliza Binti {}", texts(number)[1]),
            1 => "Muhammad Rizky Pratama".to_owned(),
            _ => "Dé Rànnìé S'aputra".to_owned(),
        })
        .collect()
}

/// One side of a comparison. A fiftieth of its rows has a digest that follows from `edition`.
pub struct Side {
    order: Vec<u32>,
    keys: Vec<[u8; 16]>,
    texts: Vec<Texts>,
    edition: u128,
}

impl Side {
    /// The side with all rows; sides of two editions differ in a fiftieth.
    #[must_use]
    pub fn new(edition: u32) -> Self {
        let keys: Vec<_> = (0..ROWS).map(|number| (u128::from(scattered(number)) << 64).to_be_bytes()).collect();
        let mut order: Vec<u32> = (0..ROWS).collect();
        order.sort_unstable_by_key(|&row| keys[row as usize]);
        Self { order, keys, texts: (0..ROWS).map(texts).collect(), edition: u128::from(edition) << 64 }
    }
}

impl Rows for Side {
    fn order(&self) -> &[u32] {
        &self.order
    }

    fn key(&self, row: u32) -> &[u8] {
        &self.keys[row as usize]
    }

    fn digest(&self, row: u32) -> u128 {
        u128::from(row) + if row.is_multiple_of(50) { self.edition } else { 0 }
    }

    fn values(&self, row: u32) -> impl Iterator<Item = Value<'_>> {
        values(&self.texts[row as usize])
    }
}
