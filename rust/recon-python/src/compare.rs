//! `compare` and `row_digests`.

use arrow_array::builder::FixedSizeBinaryBuilder;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_arrow::input::AnyRecordBatch;
use pyo3_arrow::{PyChunkedArray, PyTable};
use recon_table::Comparison;

use crate::columns::computed;
use crate::errors::raised;
use crate::tables::{side, table as returned};

// The arguments are the verb's; callers name each of them.
#[allow(clippy::too_many_arguments)]
#[pyfunction]
#[pyo3(signature = (desired, observed, *, key, attributes, seed, threads = 1))]
pub(crate) fn compare(
    py: Python<'_>,
    desired: AnyRecordBatch,
    observed: AnyRecordBatch,
    key: String,
    attributes: Vec<String>,
    seed: u64,
    threads: usize,
) -> PyResult<(PyTable, Bound<'_, PyDict>)> {
    let order = Comparison { key, attributes, seed, threads };
    let (desired, observed) = (side(py, desired)?, side(py, observed)?);
    let (batch, counts) = py.detach(|| recon_table::compare(&desired, &observed, &order)).map_err(raised)?;
    let told = PyDict::new(py);
    told.set_item("unchanged", counts.unchanged)?;
    told.set_item("added", counts.added)?;
    told.set_item("removed", counts.removed)?;
    told.set_item("changed", counts.changed)?;
    told.set_item("duplicate", counts.duplicate)?;
    Ok((returned(batch)?, told))
}

#[pyfunction]
#[pyo3(signature = (table, *, attributes, seed))]
pub(crate) fn row_digests(
    py: Python<'_>,
    table: AnyRecordBatch,
    attributes: Vec<String>,
    seed: u64,
) -> PyResult<PyChunkedArray> {
    let table = side(py, table)?;
    computed(py, "digest", move || {
        let digests = recon_table::row_digests(&table, &attributes, seed)?;
        let mut built = FixedSizeBinaryBuilder::with_capacity(digests.len(), 16);
        for digest in digests {
            built.append_value(digest)?;
        }
        Ok(built.finish())
    })
}
