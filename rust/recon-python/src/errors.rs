//! What callers catch: `_core.TableError`, a `ValueError`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use recon_core::HashKey;
use recon_core::marker::{PARTS_MAX, Parts};
use recon_table::TableError;

mod exception {
    // The macro writes public items without documentation.
    #![allow(missing_docs)]
    pyo3::create_exception!(
        belajarid_recon._core,
        TableError,
        pyo3::exceptions::PyValueError,
        "A table, column, file or argument that cannot be used; the message says which."
    );
}

pub(crate) use exception::TableError as PyTableError;

/// A table error as the exception that callers catch.
pub(crate) fn raised(error: TableError) -> PyErr {
    match error {
        // An error of the caller's own stream, such as a keyboard interrupt, goes back as it came.
        TableError::Arrow(arrow_schema::ArrowError::ExternalError(source)) if source.is::<PyErr>() => {
            source.downcast::<PyErr>().map_or_else(|source| PyTableError::new_err(source.to_string()), |error| *error)
        }
        error => PyTableError::new_err(error.to_string()),
    }
}

/// The key in an argument of 32 bytes. The message gives the length and never the bytes.
pub(crate) fn hash_key(argument: &str, bytes: &[u8]) -> PyResult<HashKey> {
    HashKey::from_bytes(bytes)
        .ok_or_else(|| PyValueError::new_err(format!("{argument} must be 32 bytes, not this many: {}", bytes.len())))
}

/// The count of parts in an argument.
pub(crate) fn parts_of(count: u32) -> PyResult<Parts> {
    Parts::new(count)
        .ok_or_else(|| PyValueError::new_err(format!("parts must be a power of two from 1 to {PARTS_MAX}: {count}")))
}
