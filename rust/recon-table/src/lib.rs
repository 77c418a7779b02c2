//! Arrow and Parquet around the pure kernels of `recon-core`: columns of any layout, shuffle, seal, threads.

mod attribute;
mod bytes_column;
pub mod columns;
mod cut;
pub mod diff;
mod error;
pub mod identifiers;
mod part_file;
mod row_digests;
mod seal;
mod sha512_crypt;
mod shuffle;
mod side;
mod source;
mod threads;
mod user_ids;

pub use cut::Counts;
pub use error::TableError;
pub use row_digests::row_digests;
pub use seal::{Seal, seal};
pub use sha512_crypt::sha512_crypt;
pub use shuffle::{KeyKind, Shuffle, shuffle};
pub use side::Side;
pub use user_ids::{allocate_user_ids, candidate_user_id, user_id_bases};
