//! `candidate_user_id`.

use pyo3::prelude::*;

use crate::errors::{hash_key, raised};

#[pyfunction]
#[pyo3(signature = (base, account_key, attempt, *, naming_key))]
pub(crate) fn candidate_user_id(base: &str, account_key: &[u8], attempt: u32, naming_key: &[u8]) -> PyResult<String> {
    let naming_key = hash_key("naming_key", naming_key)?;
    recon_table::candidate_user_id(base, account_key, attempt, &naming_key).map_err(raised)
}
