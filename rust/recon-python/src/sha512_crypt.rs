//! `sha512_crypt`.

use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};

use crate::errors::raised;

/// A secret as the caller has it.
#[derive(FromPyObject)]
pub(crate) enum Secret {
    Bytes(PyBackedBytes),
    Text(PyBackedStr),
}

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

// The lists are made for this call.
#[allow(clippy::needless_pass_by_value)]
#[pyfunction]
#[pyo3(signature = (secrets, salts, *, rounds, threads = 1))]
pub(crate) fn sha512_crypt(
    py: Python<'_>,
    secrets: Vec<Secret>,
    salts: Vec<PyBackedStr>,
    rounds: u32,
    threads: usize,
) -> PyResult<Vec<String>> {
    py.detach(|| recon_table::sha512_crypt(&secrets, &salts, rounds, threads)).map_err(raised)
}
