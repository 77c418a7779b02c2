//! `row_digests`.

use arrow_array::builder::FixedSizeBinaryBuilder;
use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;
use pyo3_arrow::input::AnyRecordBatch;

use crate::columns::computed;
use crate::tables::side;

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
