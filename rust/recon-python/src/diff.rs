//! `diff` and what it returns.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};
use recon_core::normalise::Normalisation;
use recon_table::TableError;
use recon_table::diff::{Comparison, Control, DiffCounts, Findings, KeyForm};

use crate::errors::PyTableError;
use crate::interruptible;
use crate::rows::RowsArgument;
use crate::tables::stream;

/// The result: counts, and the findings where they were not written to a file.
#[pyclass(frozen, module = "belajarid_recon._core")]
pub(crate) struct Diff {
    findings: Mutex<Option<Findings>>,
    counts: Counted,
}

enum Counted {
    Final(DiffCounts),
    /// With values compared, what is equal is known only when all was handed out.
    Growing(Arc<Mutex<DiffCounts>>),
}

#[pymethods]
impl Diff {
    #[getter]
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = match &self.counts {
            Counted::Final(counts) => counts.clone(),
            Counted::Growing(counts) => counts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let told = PyDict::new(py);
        told.set_item("source_rows", counts.source_rows)?;
        told.set_item("directory_rows", counts.directory_rows)?;
        told.set_item("common", counts.common)?;
        told.set_item("unchanged", counts.unchanged)?;
        told.set_item("added", counts.added)?;
        told.set_item("removed", counts.removed)?;
        told.set_item("changed", counts.changed)?;
        told.set_item("duplicate_source", counts.duplicate_source)?;
        told.set_item("duplicate_directory", counts.duplicate_directory)?;
        told.set_item("lines", counts.lines)?;
        told.set_item("spilled_bytes", counts.spilled_bytes)?;
        Ok(told)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner).take();
        let findings = findings.ok_or_else(|| {
            PyTableError::new_err("the findings can be taken once, and only when they were not written to a file")
        })?;
        stream(py, findings, requested_schema)
    }
}

// The arguments are the verb's; callers name each of them.
#[allow(clippy::too_many_arguments)]
#[pyfunction]
#[pyo3(signature = (
    source, directory, *, key, attributes, key_form, exact, normalise, seed, memory_limit, threads, temporary_folder, out, progress,
    allow_disjoint = true
))]
pub(crate) fn diff(
    py: Python<'_>,
    source: RowsArgument,
    directory: RowsArgument,
    key: String,
    attributes: Vec<String>,
    key_form: &str,
    exact: bool,
    normalise: BTreeMap<String, Vec<String>>,
    seed: u64,
    memory_limit: usize,
    threads: usize,
    temporary_folder: PathBuf,
    out: Option<PathBuf>,
    progress: Option<&Bound<'_, PyAny>>,
    allow_disjoint: bool,
) -> PyResult<Diff> {
    let order = Comparison {
        key,
        key_form: form_of(key_form)?,
        attributes,
        exact,
        normalise: ways_of(normalise)?,
        seed,
        memory_limit,
        threads,
        folder: temporary_folder,
        allow_disjoint,
    };
    let (source, directory) = (source.rows()?, directory.rows()?);
    let control = Arc::new(Control::default());
    let work = || -> Result<Diff, TableError> {
        let findings = recon_table::diff::diff(source, directory, order, &control)?;
        Ok(match out {
            Some(place) => Diff { findings: Mutex::new(None), counts: Counted::Final(findings.write(place)?) },
            None => Diff { counts: Counted::Growing(findings.growing_counts()), findings: Mutex::new(Some(findings)) },
        })
    };
    interruptible::run(py, control.cancel(), work, |_| match progress {
        Some(progress) => progress.call1(control.progress()).map(|_| ()),
        None => Ok(()),
    })
}

fn form_of(name: &str) -> PyResult<Option<KeyForm>> {
    match KeyForm::named(name) {
        None if name != "auto" => {
            Err(PyValueError::new_err(format!("key_form must be auto, uuid, text, binary or integer: {name}")))
        }
        form => Ok(form),
    }
}

fn ways_of(named: BTreeMap<String, Vec<String>>) -> PyResult<BTreeMap<String, Vec<Normalisation>>> {
    let way = |name: String| {
        Normalisation::named(&name).ok_or_else(|| {
            let known = Normalisation::ALL.map(Normalisation::name).join(", ");
            PyValueError::new_err(format!("a normalisation must be one of {known}: {name}"))
        })
    };
    let ways = |names: Vec<String>| names.into_iter().map(way).collect::<PyResult<Vec<_>>>();
    named.into_iter().map(|(column, names)| Ok((column, ways(names)?))).collect()
}
