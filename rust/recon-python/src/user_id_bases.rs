//! `user_id_bases`.

use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;
use pyo3_arrow::input::AnyArray;

use crate::columns::{column, computed};

#[pyfunction]
pub(crate) fn user_id_bases(py: Python<'_>, names: AnyArray) -> PyResult<PyChunkedArray> {
    let names = column(py, names)?;
    computed(py, "base", move || recon_table::user_id_bases(&names))
}
