//! Columns of identifiers: person ids, markers and account keys.

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray};
use recon_core::HashKey;
use recon_core::marker::{ACCOUNT_KEY_BYTES, MARKER_BYTES, account_key, marker};
use recon_core::uuid::{parse_bytes, parse_text};

use crate::TableError;
use crate::bytes_column::{BytesColumn, is_text};
use crate::columns::integers;

/// The 16 bytes of each UUID, null where the text or bytes are none.
///
/// # Errors
/// When the column is neither strings nor bytes.
pub fn parse_uuids(values: &ArrayRef) -> Result<FixedSizeBinaryArray, TableError> {
    let column = BytesColumn::of(values)
        .ok_or_else(|| TableError::wrong_type("values", "strings or bytes", values.data_type()))?;
    let parse = if is_text(values.data_type()) { parse_text } else { parse_bytes };
    fixed_size_binary(column.iter().map(|value| value.and_then(parse)))
}

/// The marker of each person id, null where the id is.
///
/// # Errors
/// When the column is not binary or a person id is not 16 bytes long.
pub fn markers(person_ids: &ArrayRef, key: &HashKey) -> Result<FixedSizeBinaryArray, TableError> {
    let ids = fixed_values::<MARKER_BYTES>(person_ids, "person_ids")?;
    fixed_size_binary(ids.into_iter().map(|id| id.map(|id| marker(key, &id))))
}

/// The account key of each marker and jenjang code, null where either is.
///
/// # Errors
/// When the columns differ in length, a marker is not 16 bytes long, or a code is no integer from 0 to 255.
pub fn account_keys(markers: &ArrayRef, jenjang_codes: &ArrayRef) -> Result<FixedSizeBinaryArray, TableError> {
    let markers = fixed_values::<MARKER_BYTES>(markers, "markers")?;
    let codes = jenjang_codes_of(jenjang_codes, "jenjang_codes")?;
    if markers.len() != codes.len() {
        return Err(TableError::Argument {
            problem: "markers and jenjang_codes must have as many rows as each other",
            value: format!("{} and {}", markers.len(), codes.len()),
        });
    }
    let pairs = markers.into_iter().zip(codes);
    fixed_size_binary(pairs.map(|(marker, code)| Some(account_key(&marker?, code?))))
}

/// A binary column whose values all have `N` bytes.
pub(crate) fn fixed_values<const N: usize>(array: &ArrayRef, name: &str) -> Result<Vec<Option<[u8; N]>>, TableError> {
    let column = BytesColumn::of(array)
        .filter(|_| !is_text(array.data_type()))
        .ok_or_else(|| TableError::wrong_type(name, &format!("binary of {N} bytes"), array.data_type()))?;
    column
        .iter()
        .map(|value| {
            value
                .map(|bytes| {
                    bytes.try_into().map_err(|_| TableError::Column {
                        problem: format!("values of {N} bytes expected, not {}", bytes.len()),
                        column: name.to_owned(),
                    })
                })
                .transpose()
        })
        .collect()
}

/// A column of jenjang codes, in any integer type.
pub(crate) fn jenjang_codes_of(array: &ArrayRef, name: &str) -> Result<Vec<Option<u8>>, TableError> {
    let out_of_bounds =
        || TableError::Column { problem: "jenjang code outside 0 to 255".to_owned(), column: name.to_owned() };
    let codes = integers(array).ok_or_else(|| TableError::wrong_type(name, "integer", array.data_type()))?;
    let codes = codes.map_err(|_| out_of_bounds())?;
    codes.iter().map(|code| code.map(|code| u8::try_from(code).map_err(|_| out_of_bounds())).transpose()).collect()
}

/// A column of `N` bytes a row.
pub(crate) fn fixed_size_binary<const N: usize>(
    values: impl ExactSizeIterator<Item = Option<[u8; N]>>,
) -> Result<FixedSizeBinaryArray, TableError> {
    let width = i32::try_from(N).unwrap_or(i32::MAX);
    let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), width);
    for value in values {
        match value {
            Some(bytes) => builder.append_value(bytes)?,
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

const _: () = assert!(ACCOUNT_KEY_BYTES == MARKER_BYTES + 1);
