//! `shuffle`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use recon_table::{KeyKind, Shuffle};

use crate::errors::{hash_key, parts_of, raised};

// The arguments are the verb's; callers name each of them.
#[allow(clippy::too_many_arguments)]
#[pyfunction]
#[pyo3(signature = (files, *, key_column, key, columns, parts, marker_key, out_folder, table, threads, uuid_columns=Vec::new()))]
pub(crate) fn shuffle<'py>(
    py: Python<'py>,
    files: Vec<String>,
    key_column: String,
    key: &str,
    columns: Vec<String>,
    parts: u32,
    marker_key: Option<&[u8]>,
    out_folder: String,
    table: String,
    threads: usize,
    uuid_columns: Vec<String>,
) -> PyResult<Bound<'py, PyDict>> {
    let key = match (key, marker_key) {
        ("person", Some(bytes)) => KeyKind::Person(hash_key("marker_key", bytes)?),
        ("account", None) => KeyKind::Account,
        ("person", None) => return Err(PyValueError::new_err("key person needs a marker_key: None")),
        ("account", Some(_)) => return Err(PyValueError::new_err("key account takes no marker_key: bytes")),
        (other, _) => return Err(PyValueError::new_err(format!("key must be person or account: {other}"))),
    };
    let parts = parts_of(parts)?;
    let out_folder = out_folder.into();
    let order = Shuffle { files, key_column, key, columns, uuid_columns, parts, out_folder, table, threads };
    let counts = py.detach(|| recon_table::shuffle(&order)).map_err(raised)?;
    let result = PyDict::new(py);
    result.set_item("read", counts.read)?;
    result.set_item("unkeyed", counts.aside)?;
    result.set_item("parts", counts.parts)?;
    Ok(result)
}
