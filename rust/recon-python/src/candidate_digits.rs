//! `candidate_digits`.

use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;
use pyo3_arrow::input::AnyArray;

use crate::columns::{column, computed};
use crate::errors::hash_key;

#[pyfunction]
#[pyo3(signature = (account_keys, attempt, *, naming_key))]
pub(crate) fn candidate_digits(
    py: Python<'_>,
    account_keys: AnyArray,
    attempt: u32,
    naming_key: &[u8],
) -> PyResult<PyChunkedArray> {
    let naming_key = hash_key("naming_key", naming_key)?;
    let keys = column(py, account_keys)?;
    computed(py, "digits", || recon_table::candidate_digits(&keys, attempt, &naming_key))
}
