//! Registry of the extension module `belajarid_recon._core`: it lists names and holds no logic.
//!
//! Signatures and documentation for callers are in `python/belajarid_recon/_core.pyi`.

mod account_keys;
mod allocate_user_ids;
mod candidate_digits;
mod candidate_user_id;
mod columns;
mod diff;
mod errors;
mod interruptible;
mod markers;
mod parse_uuids;
mod plain_names;
mod row_digests;
mod rows;
mod seal;
mod sha512_crypt;
mod shuffle;
mod tables;
mod user_id_bases;

use pyo3::prelude::*;

/// The module `belajarid_recon._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("__build__", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    module.add("TableError", module.py().get_type::<errors::PyTableError>())?;
    module.add_class::<allocate_user_ids::UserIds>()?;
    module.add_function(wrap_pyfunction!(account_keys::account_keys, module)?)?;
    module.add_function(wrap_pyfunction!(allocate_user_ids::allocate_user_ids, module)?)?;
    module.add_function(wrap_pyfunction!(candidate_digits::candidate_digits, module)?)?;
    module.add_function(wrap_pyfunction!(candidate_user_id::candidate_user_id, module)?)?;
    module.add_class::<diff::Diff>()?;
    module.add_function(wrap_pyfunction!(diff::diff, module)?)?;
    module.add_function(wrap_pyfunction!(markers::markers, module)?)?;
    module.add_function(wrap_pyfunction!(parse_uuids::parse_uuids, module)?)?;
    module.add_function(wrap_pyfunction!(plain_names::plain_names, module)?)?;
    module.add_function(wrap_pyfunction!(row_digests::row_digests, module)?)?;
    module.add_function(wrap_pyfunction!(seal::seal, module)?)?;
    module.add_function(wrap_pyfunction!(sha512_crypt::sha512_crypt, module)?)?;
    module.add_function(wrap_pyfunction!(shuffle::shuffle, module)?)?;
    module.add_function(wrap_pyfunction!(user_id_bases::user_id_bases, module)?)?;
    Ok(())
}
