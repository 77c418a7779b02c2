//! Columns in and out of the interpreter.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::Field;
use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;
use pyo3_arrow::input::AnyArray;
use recon_table::TableError;

use crate::errors::raised;

/// All of a column as one array, read without holding the interpreter.
pub(crate) fn column(py: Python<'_>, values: AnyArray) -> PyResult<ArrayRef> {
    let reader = values.into_reader()?;
    let field = reader.field();
    py.detach(move || recon_table::columns::gathered(reader, field.data_type())).map_err(raised)
}

/// An array as an object with `__arrow_c_stream__`.
pub(crate) fn chunked(name: &str, array: ArrayRef) -> PyResult<PyChunkedArray> {
    let field = Arc::new(Field::new(name, array.data_type().clone(), true));
    PyChunkedArray::try_new(vec![array], field)
}

/// An array computed without holding the interpreter.
pub(crate) fn computed<A: Array + Send + 'static>(
    py: Python<'_>,
    name: &str,
    work: impl FnOnce() -> Result<A, TableError> + Send,
) -> PyResult<PyChunkedArray> {
    chunked(name, Arc::new(py.detach(work).map_err(raised)?))
}
