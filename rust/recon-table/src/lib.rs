//! Arrow and Parquet around the pure kernels of `recon-core`: columns of any layout, shuffle, seal, threads.

mod attribute;
mod bytes_column;
pub mod columns;
mod cut;
pub mod diff;
mod error;
mod feed;
mod huge;
pub mod identifiers;
mod part_file;
mod plain_names;
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
pub use feed::Rows;
pub use plain_names::plain_names;
pub use row_digests::row_digests;
pub use seal::{Seal, seal};
pub use sha512_crypt::sha512_crypt;
pub use shuffle::{KeyKind, Shuffle, shuffle};
pub use side::Side;
pub use user_ids::{Allocation, UserIds, allocate_user_ids, candidate_digits, candidate_user_id, user_id_bases};
