//! The one error of this crate: what is wrong, and in which file and column. It never says whose row it was.

use arrow_schema::DataType;

/// A table or file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A file that is no whole Parquet file, or cannot be opened or written.
    #[error("{problem}: file {file}")]
    File {
        /// What is wrong with it.
        problem: String,
        /// Its path as the caller gave it.
        file: String,
    },
    /// A temporary folder that cannot hold what does not fit into memory.
    #[error("temporary file cannot be used ({problem}): folder {folder}")]
    Spill {
        /// What the system says.
        problem: String,
        /// The folder as the caller gave it.
        folder: String,
    },
    /// A column of a file.
    #[error("{problem}: file {file}, column {column}")]
    FileColumn {
        /// What is wrong with it.
        problem: String,
        /// The file's path as the caller gave it.
        file: String,
        /// The column's name.
        column: String,
    },
    /// A column of a table in memory.
    #[error("{problem}: column {column}")]
    Column {
        /// What is wrong with it.
        problem: String,
        /// The column's name.
        column: String,
    },
    /// An argument outside its bounds.
    #[error("{problem}: {value}")]
    Argument {
        /// Which argument, and its bounds.
        problem: &'static str,
        /// What was given.
        value: String,
    },
    /// A password hash was asked for out of bounds.
    #[error(transparent)]
    Crypt(#[from] recon_core::sha512_crypt::CryptError),
    /// The caller asked for the work to end before it was done.
    #[error("the work was cancelled")]
    Cancelled,
    /// Arrow refused an array or a stream.
    #[error("arrow data is not usable: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
}

impl TableError {
    /// A column in memory whose type is not one of those accepted.
    pub(crate) fn wrong_type(column: &str, accepted: &str, found: &DataType) -> Self {
        Self::Column { problem: format!("{accepted} expected, not {found}"), column: column.to_owned() }
    }

    /// A column's error with the file it was read from.
    pub(crate) fn in_file(self, file: &str) -> Self {
        match self {
            Self::Column { problem, column } => Self::FileColumn { problem, file: file.to_owned(), column },
            other => other,
        }
    }
}
