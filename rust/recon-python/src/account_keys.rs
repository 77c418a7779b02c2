//! `account_keys`.

use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;
use pyo3_arrow::input::AnyArray;

use crate::columns::{column, computed};

#[pyfunction]
pub(crate) fn account_keys(py: Python<'_>, markers: AnyArray, jenjang_codes: AnyArray) -> PyResult<PyChunkedArray> {
    let markers = column(py, markers)?;
    let jenjang_codes = column(py, jenjang_codes)?;
    computed(py, "account_key", move || recon_table::identifiers::account_keys(&markers, &jenjang_codes))
}
