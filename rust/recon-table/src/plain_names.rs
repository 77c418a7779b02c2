//! `plain_names`: given and family names of a column of plain names.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use recon_core::plain_name::plain_name;

use crate::TableError;
use crate::bytes_column::{BytesColumn, is_text};

/// `given_name` and `family_name` of each plain name, null where the full rules must look.
///
/// # Errors
/// When the column holds no strings.
pub fn plain_names(names: &ArrayRef, not_names: &[String]) -> Result<RecordBatch, TableError> {
    let wrong = || TableError::wrong_type("names", "strings", names.data_type());
    let column = BytesColumn::of(names).filter(|_| is_text(names.data_type())).ok_or_else(wrong)?;
    let rows = column.len();
    // Views, because most names are short enough to stand in them, and polars takes them as they are.
    let (mut given, mut family) = (StringViewBuilder::with_capacity(rows), StringViewBuilder::with_capacity(rows));
    for row in 0..rows {
        let split = column.text(row).and_then(|name| plain_name(name, not_names));
        given.append_option(split.as_ref().map(|(given, _)| given.as_ref()));
        family.append_option(split.as_ref().map(|(_, family)| family.as_ref()));
    }
    let columns = [("given_name", given), ("family_name", family)];
    let columns = columns.map(|(name, mut built)| (name, Arc::new(built.finish()) as ArrayRef, true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}
