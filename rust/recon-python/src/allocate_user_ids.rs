//! `allocate_user_ids` and its result, `UserIds`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::RecordBatchIterator;
use arrow_schema::ArrowError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use recon_table::{Allocation, Rows};

use crate::errors::hash_key;
use crate::interruptible::run;
use crate::rows::RowsArgument;
use crate::tables::stream;

// The arguments are the verb's; callers name most of them.
#[allow(clippy::too_many_arguments)]
#[pyfunction]
#[pyo3(signature = (
    people, taken, *, naming_key, kept = None, people_columns, taken_columns, owner_column, jenjang_names, kept_columns, threads
))]
pub(crate) fn allocate_user_ids(
    py: Python<'_>,
    people: RowsArgument,
    taken: RowsArgument,
    naming_key: &[u8],
    kept: Option<RowsArgument>,
    people_columns: [String; 2],
    taken_columns: [String; 2],
    owner_column: Option<String>,
    jenjang_names: Vec<String>,
    kept_columns: [String; 2],
    threads: usize,
) -> PyResult<UserIds> {
    let order = Allocation {
        people: people.rows()?,
        people_columns,
        taken: taken.rows()?,
        taken_columns,
        owner_column,
        jenjang_names,
        kept: kept.map_or_else(|| Ok(Rows::Files(Vec::new())), RowsArgument::rows)?,
        kept_columns,
        naming_key: hash_key("naming_key", naming_key)?,
        threads,
    };
    let cancel = AtomicBool::new(false);
    let work = || recon_table::allocate_user_ids(order, &cancel);
    Ok(UserIds(Arc::new(run(py, &cancel, work, |_| Ok(()))?)))
}

/// What everybody got: a table whose batches are made when they are asked for.
#[pyclass(frozen, module = "belajarid_recon._core")]
pub(crate) struct UserIds(Arc<recon_table::UserIds>);

#[pymethods]
impl UserIds {
    fn __len__(&self) -> usize {
        self.0.rows()
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let given = Arc::clone(&self.0);
        let (batches, schema) = (given.batches(), given.schema());
        let batch = move |number| given.batch(number).map_err(|error| ArrowError::ExternalError(Box::new(error)));
        stream(py, RecordBatchIterator::new((0..batches).map(batch), schema), requested_schema)
    }

    // The interpreter hands a path over.
    #[allow(clippy::needless_pass_by_value)]
    #[pyo3(signature = (path, *, threads = 1))]
    fn write_parquet(&self, py: Python<'_>, path: PathBuf, threads: usize) -> PyResult<usize> {
        let cancel = AtomicBool::new(false);
        run(py, &cancel, || self.0.write(&path, threads, &cancel), |_| Ok(()))
    }
}
