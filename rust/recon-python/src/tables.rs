//! Tables in and out of the interpreter.

use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use pyo3_arrow::input::AnyRecordBatch;
use recon_table::{Side, TableError};

use arrow_array::RecordBatch;

use crate::errors::raised;

/// All of a table, read without holding the interpreter.
pub(crate) fn side(py: Python<'_>, table: AnyRecordBatch) -> PyResult<Side> {
    let reader = table.into_reader()?;
    let schema = reader.schema();
    let batches = py.detach(move || reader.collect::<Result<Vec<_>, _>>()).map_err(TableError::from).map_err(raised)?;
    Ok(Side { schema, batches })
}

/// A batch as an object with `__arrow_c_stream__`.
pub(crate) fn table(batch: RecordBatch) -> PyResult<PyTable> {
    let schema = batch.schema();
    PyTable::try_new(vec![batch], schema)
}
