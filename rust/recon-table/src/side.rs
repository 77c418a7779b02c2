//! A table in memory.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, SchemaRef};

use crate::TableError;
use crate::columns::gathered;

/// One of the tables of a call.
#[derive(Debug)]
pub struct Side {
    /// Its columns; those that the call does not name are not looked at.
    pub schema: SchemaRef,
    /// Its rows.
    pub batches: Vec<RecordBatch>,
}

impl Side {
    /// A column's field. `side` is what the table is called where the column is missing.
    pub(crate) fn field(&self, side: &str, column: &str) -> Result<&Field, TableError> {
        self.schema.field_with_name(column).map_err(|_| TableError::Column {
            problem: format!("the {side} table has no such column"),
            column: column.to_owned(),
        })
    }

    /// A column as one array.
    pub(crate) fn column(&self, side: &str, column: &str) -> Result<ArrayRef, TableError> {
        let field = self.field(side, column)?;
        let chunks = self.batches.iter().filter_map(|batch| batch.column_by_name(column));
        gathered(chunks.map(|chunk| Ok(Arc::clone(chunk))), field.data_type())
    }
}
