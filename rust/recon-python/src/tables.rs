//! Tables in and out of the interpreter.

use arrow_array::{RecordBatch, RecordBatchReader};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3_arrow::input::AnyRecordBatch;
use pyo3_arrow::{PyRecordBatchReader, PyTable};
use recon_table::{Side, TableError};

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

/// Batches on their way out, as the capsule of an Arrow stream.
pub(crate) fn stream<'py>(
    py: Python<'py>,
    batches: impl RecordBatchReader + Send + 'static,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyAny>> {
    let reader = Bound::new(py, PyRecordBatchReader::new(Box::new(batches)))?;
    reader.call_method1(intern!(py, "__arrow_c_stream__"), (requested_schema,))
}
