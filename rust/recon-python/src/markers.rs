//! `markers`.

use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;
use pyo3_arrow::input::AnyArray;

use crate::columns::{column, computed};
use crate::errors::hash_key;

#[pyfunction]
#[pyo3(signature = (person_ids, *, key))]
pub(crate) fn markers(py: Python<'_>, person_ids: AnyArray, key: &[u8]) -> PyResult<PyChunkedArray> {
    let key = hash_key("key", key)?;
    let person_ids = column(py, person_ids)?;
    computed(py, "marker", move || recon_table::identifiers::markers(&person_ids, &key))
}
