//! Arrow and Parquet around the pure kernels of `recon-core`: columns of any layout, shuffle, seal, threads.

mod bytes_column;
pub mod columns;
mod error;
pub mod identifiers;

pub use error::TableError;
