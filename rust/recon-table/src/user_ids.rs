//! User IDs for columns of people: bases, and their allocation.
//!
//! An allocation reads the people into groups (`groups`, `people`), streams what is taken past the groups (`taken`), settles one
//! partition of groups after the other (`settle`), and hands out what everybody got in the order of their keys (`given`).

mod chunks;
mod given;
mod groups;
mod kept;
mod people;
mod settle;
mod taken;

use std::sync::atomic::AtomicBool;

use arrow_array::builder::LargeStringBuilder;
use arrow_array::{Array, ArrayRef, LargeStringArray};
use arrow_schema::DataType;
use recon_core::HashKey;
use recon_core::user_id::{ATTEMPTS, Digits, base};

pub use self::given::UserIds;
use self::kept::Kept;
use self::people::{People, Reading};
use self::taken::{Taken, TakenColumns};
use crate::bytes_column::{BytesColumn, is_text};
use crate::threads::checked_threads;
use crate::{Rows, TableError};

/// The base of each name; a null name has no words.
///
/// # Errors
/// When the column holds no strings.
pub fn user_id_bases(names: &ArrayRef) -> Result<LargeStringArray, TableError> {
    let names = text_column(names, "names")?;
    let mut bases = LargeStringBuilder::with_capacity(names.len(), names.len() * 14);
    for at in 0..names.len() {
        bases.append_value(base(names.text(at).unwrap_or_default()));
    }
    Ok(bases.finish())
}

/// The user ID of one candidate.
///
/// # Errors
/// When the account key has not 17 bytes, there is no such attempt, or the base is none.
pub fn candidate_user_id(
    base: &str,
    account_key: &[u8],
    attempt: u32,
    naming_key: &HashKey,
) -> Result<String, TableError> {
    if base.is_empty() || !base.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'.') {
        return Err(TableError::Argument { problem: "base must be letters a to z and dots", value: String::new() });
    }
    let account_key = account_key.try_into().map_err(|_| TableError::Argument {
        problem: "account_key must be 17 bytes, not this many",
        value: account_key.len().to_string(),
    })?;
    let digits = Digits::of(naming_key, &account_key, attempt)
        .ok_or_else(|| TableError::Argument { problem: "attempt must be from 0 to 63", value: attempt.to_string() })?;
    Ok(digits.after(base))
}

/// The digits of one candidate of each account key, null where the key is.
///
/// # Errors
/// When the column is not binary, a key has not 17 bytes, or there is no such attempt.
pub fn candidate_digits(
    account_keys: &ArrayRef,
    attempt: u32,
    naming_key: &HashKey,
) -> Result<LargeStringArray, TableError> {
    if attempt >= ATTEMPTS {
        return Err(TableError::Argument { problem: "attempt must be from 0 to 63", value: attempt.to_string() });
    }
    let keys = fixed_column::<17>(account_keys, "account_keys")?;
    let mut digits = LargeStringBuilder::with_capacity(keys.len(), keys.len() * 6);
    for row in 0..keys.len() {
        let key = keys.get(row)?;
        digits.append_option(key.and_then(|key| Digits::of(naming_key, key, attempt)).map(|digits| digits.after("")));
    }
    Ok(digits.finish())
}

/// What an allocation reads, and by which key.
pub struct Allocation {
    /// People: account key and name.
    pub people: Rows,
    /// Columns of `people`: account key, name.
    pub people_columns: [String; 2],
    /// User IDs in sight or ever given.
    pub taken: Rows,
    /// Columns of `taken`: jenjang, user ID.
    pub taken_columns: [String; 2],
    /// Column of `taken` with the account key of whom a row does not block, if there is one.
    pub owner_column: Option<String>,
    /// Names of the jenjang in the order of their codes, for a jenjang column of strings.
    pub jenjang_names: Vec<String>,
    /// User IDs that people have and keep.
    pub kept: Rows,
    /// Columns of `kept`: account key, user ID.
    pub kept_columns: [String; 2],
    /// The key of the candidates' digits.
    pub naming_key: HashKey,
    /// Most threads at work.
    pub threads: usize,
}

/// Give each of the people a user ID that nobody else among them has, and nobody in `taken`.
///
/// # Errors
/// When a column is missing, of another type or null where it must not be, or an account key stands twice; when a file is damaged;
/// `Cancelled` soon after `cancel` is set.
pub fn allocate_user_ids(order: Allocation, cancel: &AtomicBool) -> Result<UserIds, TableError> {
    let threads = checked_threads(order.threads)?;
    let reading = Reading { naming_key: &order.naming_key, threads, cancel };
    let kept = Kept::read(order.kept, both(&order.kept_columns), threads, cancel)?;
    let people = People::read(order.people, both(&order.people_columns), &kept, &reading)?;
    let columns = TakenColumns {
        jenjang: &order.taken_columns[0],
        user_id: &order.taken_columns[1],
        owner: order.owner_column.as_deref(),
        jenjang_names: &order.jenjang_names,
    };
    let taken = Taken::read(order.taken, columns, &people, &kept, &reading)?;
    settle::settle(&people, taken, &reading)?;
    Ok(UserIds::new(people, kept))
}

fn both(columns: &[String; 2]) -> [&str; 2] {
    [&columns[0], &columns[1]]
}

/// A binary column whose values all have `N` bytes.
struct FixedColumn<const N: usize> {
    values: BytesColumn,
    name: String,
}

impl<const N: usize> FixedColumn<N> {
    fn len(&self) -> usize {
        self.values.len()
    }

    #[inline]
    fn get(&self, row: usize) -> Result<Option<&[u8; N]>, TableError> {
        let Some(value) = self.values.get(row) else { return Ok(None) };
        value.try_into().ok().map(Some).ok_or_else(|| TableError::Column {
            problem: format!("values of {N} bytes expected, not {}", value.len()),
            column: self.name.clone(),
        })
    }
}

fn fixed_column<const N: usize>(array: &ArrayRef, name: &str) -> Result<FixedColumn<N>, TableError> {
    let values = BytesColumn::of(array)
        .filter(|_| !is_text(array.data_type()))
        .ok_or_else(|| TableError::wrong_type(name, &format!("binary of {N} bytes"), array.data_type()))?;
    Ok(FixedColumn { values, name: name.to_owned() })
}

fn text_column(array: &ArrayRef, name: &str) -> Result<BytesColumn, TableError> {
    BytesColumn::of(array)
        .filter(|_| is_text(array.data_type()) || *array.data_type() == DataType::Null)
        .ok_or_else(|| TableError::wrong_type(name, "strings", array.data_type()))
}

fn null_in(column: &str) -> TableError {
    TableError::Column { problem: "a value is null".to_owned(), column: column.to_owned() }
}
