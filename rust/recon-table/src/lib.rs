//! Arrow and Parquet around the pure kernels of `recon-core`: columns of any layout, shuffle, seal, threads.

mod bytes_column;
pub mod columns;
mod cut;
mod error;
pub mod identifiers;
mod part_file;
mod shuffle;
mod source;

pub use cut::Counts;
pub use error::TableError;
pub use shuffle::{KeyKind, Shuffle, shuffle};
