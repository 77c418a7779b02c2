//! Columns gathered from streams.

use arrow_array::{ArrayRef, new_empty_array};
use arrow_schema::{ArrowError, DataType};
use arrow_select::concat::concat;

use crate::TableError;

/// All chunks of a column as one array; a single chunk is not copied.
///
/// # Errors
/// When the stream fails, or the chunks together exceed what one array's offsets can address.
pub fn gathered(
    chunks: impl Iterator<Item = Result<ArrayRef, ArrowError>>,
    data_type: &DataType,
) -> Result<ArrayRef, TableError> {
    let mut chunks = chunks.collect::<Result<Vec<_>, _>>()?;
    match chunks.len() {
        0 => Ok(new_empty_array(data_type)),
        1 => Ok(chunks.swap_remove(0)),
        _ => {
            let borrowed = chunks.iter().map(AsRef::as_ref).collect::<Vec<_>>();
            Ok(concat(&borrowed)?)
        }
    }
}
