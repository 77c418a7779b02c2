//! Registry of the extension module `belajarid_recon._core`: it lists names and holds no logic.
use pyo3::prelude::*;

/// The module `belajarid_recon._core`.
#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))
}
