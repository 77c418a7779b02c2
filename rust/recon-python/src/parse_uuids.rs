//! `parse_uuids`.

use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;
use pyo3_arrow::input::AnyArray;

use crate::columns::{column, computed};

#[pyfunction]
pub(crate) fn parse_uuids(py: Python<'_>, values: AnyArray) -> PyResult<PyChunkedArray> {
    let values = column(py, values)?;
    computed(py, "uuid", move || recon_table::identifiers::parse_uuids(&values))
}
