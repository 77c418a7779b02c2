//! `plain_names`.

use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use pyo3_arrow::input::AnyArray;

use crate::columns::column;
use crate::errors::raised;
use crate::tables::table;

#[pyfunction]
#[pyo3(signature = (names, *, not_names))]
pub(crate) fn plain_names(py: Python<'_>, names: AnyArray, not_names: Vec<String>) -> PyResult<PyTable> {
    let names = column(py, names)?;
    table(py.detach(move || recon_table::plain_names(&names, &not_names)).map_err(raised)?)
}
