//! The digests by which rows are told apart, for those who recompute them.

use recon_core::row_digest::{add, column_seed, value_digest};

use crate::attribute::AttributeColumn;
use crate::{Side, TableError};

/// The digest of each row of a table over these attributes, as 16 bytes, most significant first.
///
/// # Errors
/// When an attribute is missing or of a type that is not compared.
pub fn row_digests(table: &Side, attributes: &[String], seed: u64) -> Result<Vec<[u8; 16]>, TableError> {
    let mut digests = vec![0; table.batches.iter().map(arrow_array::RecordBatch::num_rows).sum()];
    for (place, name) in (0..).zip(attributes) {
        let column = AttributeColumn::of(name, &table.column("given", name)?)?;
        let seed = column_seed(seed, place);
        column.each(0, column.len(), |row, content| add(&mut digests[row], value_digest(content, seed)));
    }
    Ok(digests.into_iter().map(u128::to_be_bytes).collect())
}
