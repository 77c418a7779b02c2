//! `seal`.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use recon_table::Seal;

use crate::errors::{parts_of, raised};

// The arguments are the verb's; callers name each of them.
#[allow(clippy::too_many_arguments)]
#[pyfunction]
#[pyo3(signature = (files, *, key_column, columns, parts, out_folder, table, threads))]
pub(crate) fn seal(
    py: Python<'_>,
    files: Vec<String>,
    key_column: String,
    columns: Vec<String>,
    parts: u32,
    out_folder: String,
    table: String,
    threads: usize,
) -> PyResult<Bound<'_, PyDict>> {
    let parts = parts_of(parts)?;
    let order = Seal { files, key_column, columns, parts, out_folder: out_folder.into(), table, threads };
    let counts = py.detach(|| recon_table::seal(&order)).map_err(raised)?;
    let result = PyDict::new(py);
    result.set_item("read", counts.read)?;
    result.set_item("unmarked", counts.aside)?;
    result.set_item("parts", counts.parts)?;
    Ok(result)
}
