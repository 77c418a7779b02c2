//! Tables that are read once: a list of Parquet files, or anything with an Arrow stream.

use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;
use recon_table::Rows;

/// What a caller may give as a table.
#[derive(FromPyObject)]
pub(crate) enum RowsArgument {
    /// Paths of Parquet files of one table.
    Files(Vec<String>),
    /// A table, or a stream of batches.
    Stream(AnyRecordBatch),
}

impl RowsArgument {
    pub(crate) fn rows(self) -> PyResult<Rows> {
        Ok(match self {
            Self::Files(files) => Rows::Files(files),
            Self::Stream(table) => Rows::Stream(table.into_reader()?),
        })
    }
}
