//! `sha512_crypt`: password hashes on several threads.

use recon_core::sha512_crypt::{Salted, sha512_crypt as hashed};

use crate::TableError;
use crate::threads::{checked_threads, in_ranges};

/// The hash of each secret under its salt, in order.
///
/// # Errors
/// When secrets and salts differ in number, or an argument is out of bounds.
pub fn sha512_crypt<S: AsRef<[u8]> + Sync, T: AsRef<str> + Sync>(
    secrets: &[S],
    salts: &[T],
    rounds: u32,
    threads: usize,
) -> Result<Vec<String>, TableError> {
    let threads = checked_threads(threads)?;
    if secrets.len() != salts.len() {
        return Err(TableError::Argument {
            problem: "secrets and salts must be as many as each other",
            value: format!("{} and {}", secrets.len(), salts.len()),
        });
    }
    let work = |range: std::ops::Range<usize>| {
        let secrets = secrets[range.clone()].iter().map(AsRef::as_ref);
        let salts = salts[range].iter().map(AsRef::as_ref);
        hashed(&secrets.zip(salts).map(|(secret, salt)| Salted { secret, salt }).collect::<Vec<_>>(), rounds)
    };
    let hashes = in_ranges(secrets.len(), threads, work).into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(hashes.into_iter().flatten().collect())
}
