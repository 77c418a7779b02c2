//! `allocate_user_ids`.

use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use pyo3_arrow::input::AnyRecordBatch;

use crate::errors::{hash_key, raised};
use crate::tables::{side, table};

#[pyfunction]
#[pyo3(signature = (people, taken, *, naming_key, threads = 1))]
pub(crate) fn allocate_user_ids(
    py: Python<'_>,
    people: AnyRecordBatch,
    taken: AnyRecordBatch,
    naming_key: &[u8],
    threads: usize,
) -> PyResult<PyTable> {
    let naming_key = hash_key("naming_key", naming_key)?;
    let (people, taken) = (side(py, people)?, side(py, taken)?);
    table(py.detach(|| recon_table::allocate_user_ids(&people, &taken, &naming_key, threads)).map_err(raised)?)
}
