//! User IDs that people have and keep.

use std::sync::atomic::AtomicBool;

use arrow_array::ArrayRef;
use recon_core::marker::AccountKey;

use super::{fixed_column, null_in, text_column};
use crate::TableError;
use crate::feed::{Feed, Rows};

/// Kept user IDs by account key. All are held: some 80 bytes each.
#[derive(Default)]
pub(crate) struct Kept {
    rows: Vec<(AccountKey, Box<str>)>,
}

impl Kept {
    /// Read account keys and user IDs.
    pub(crate) fn read(
        rows: Rows,
        columns: [&str; 2],
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Self, TableError> {
        let feed = Feed::open("kept", rows, &columns)?;
        let lanes = feed.drain(threads, cancel, Vec::new, |kept, batch| add(kept, batch, columns))?;
        let mut rows = lanes.concat();
        rows.sort_unstable();
        if rows.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(refused("an account key stands twice among the kept", columns[0]));
        }
        let mut by_user_id = rows.iter().map(|(key, id)| (key[16], id.to_ascii_lowercase())).collect::<Vec<_>>();
        by_user_id.sort_unstable();
        if by_user_id.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(refused("two people of a jenjang keep one user ID", columns[1]));
        }
        Ok(Self { rows })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What the person of a key keeps.
    pub(crate) fn user_id(&self, key: &AccountKey) -> Option<&str> {
        let at = self.rows.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        Some(&self.rows[at].1)
    }

    /// Each jenjang and user ID.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.rows.iter().map(|(key, user_id)| (key[16], user_id.as_bytes()))
    }
}

fn add(kept: &mut Vec<(AccountKey, Box<str>)>, batch: &[ArrayRef], columns: [&str; 2]) -> Result<(), TableError> {
    let [keys, user_ids] = batch else { return Ok(()) };
    let keys = fixed_column::<17>(keys, columns[0])?;
    let user_ids = text_column(user_ids, columns[1])?;
    for row in 0..keys.len() {
        let key = keys.get(row)?.ok_or_else(|| null_in(columns[0]))?;
        let user_id = user_ids.text(row).ok_or_else(|| null_in(columns[1]))?;
        kept.push((*key, user_id.into()));
    }
    Ok(())
}

fn refused(problem: &str, column: &str) -> TableError {
    TableError::Column { problem: problem.to_owned(), column: column.to_owned() }
}
