//! User IDs for columns of people: bases, and their allocation.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, LargeStringBuilder};
use arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch};
use arrow_schema::{Field, Schema};
use arrow_select::concat::concat;
use recon_core::HashKey;
use recon_core::marker::AccountKey;
use recon_core::user_id::{Digits, Given, Taken, allocate, base};

use crate::bytes_column::{BytesColumn, is_text};
use crate::identifiers::{fixed_size_binary, fixed_values, jenjang_codes_of};
use crate::threads::{checked_threads, in_ranges};
use crate::{Side, TableError};

/// Most people of one call: positions are numbers of 32 bits.
const PEOPLE_MAX: usize = u32::MAX as usize;

/// The base of each name; a null name has no words.
///
/// # Errors
/// When the column holds no strings.
pub fn user_id_bases(names: &ArrayRef) -> Result<LargeStringArray, TableError> {
    bases_of(&text_column(names, "names")?, 1)
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

/// Give each of `people` a user ID that nobody else among them or in `taken` has; the result's columns are in `_core.pyi`.
///
/// # Errors
/// When a column is missing, of another type or null where it must not be, or an account key stands twice.
pub fn allocate_user_ids(
    people: &Side,
    taken: &Side,
    naming_key: &HashKey,
    threads: usize,
) -> Result<RecordBatch, TableError> {
    let threads = checked_threads(threads)?;
    let people = People::of(people, threads)?;
    let groups = Groups::of(&people);
    let taken = taken_of(taken, &people, &groups, threads)?;
    let given = in_ranges(groups.starts.len(), threads, |range| {
        let mut given = Vec::new();
        for group in range {
            let members = groups.members(group).iter().map(|&at| (people.keys[at as usize], at)).collect::<Vec<_>>();
            let blocked = blocked_of(&taken, group);
            given.extend(members.iter().map(|(_, at)| *at).zip(allocate(naming_key, &members, &blocked)));
        }
        given
    });
    let mut by_person = vec![None; people.keys.len()];
    for (at, given) in given.into_iter().flatten() {
        by_person[at as usize] = given;
    }
    table_of(&people, &by_person)
}

/// The people in order of their account keys; a position is a place in this order.
struct People {
    keys: Vec<AccountKey>,
    bases: LargeStringArray,
}

impl People {
    fn of(table: &Side, threads: usize) -> Result<Self, TableError> {
        let keys = present(fixed_values(&table.column("people", "account_key")?, "account_key")?, "account_key")?;
        if keys.len() > PEOPLE_MAX {
            return Err(TableError::Argument { problem: "too many people", value: keys.len().to_string() });
        }
        let names = text_column(&table.column("people", "name")?, "name")?;
        let mut rows = (0_u32..).zip(&keys).map(|(row, key)| (*key, row)).collect::<Vec<_>>();
        rows.sort_unstable();
        if rows.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(TableError::Column {
                problem: "an account key stands twice".to_owned(),
                column: "account_key".to_owned(),
            });
        }
        let bases = bases_of(&Reordered { names: &names, rows: &rows }, threads)?;
        Ok(Self { keys: rows.into_iter().map(|(key, _)| key).collect(), bases })
    }

    /// The namespace of a person's user ID: the jenjang's code at the end of the key, and the base.
    fn space(&self, at: u32) -> (u8, &str) {
        (self.keys[at as usize][16], self.bases.value(at as usize))
    }
}

/// People of one jenjang and base, next to each other.
struct Groups<'a> {
    /// Positions in order of jenjang, base and key.
    order: Vec<u32>,
    /// Where in `order` each group starts.
    starts: Vec<usize>,
    numbers: HashMap<(u8, &'a str), u32>,
}

impl<'a> Groups<'a> {
    fn of(people: &'a People) -> Self {
        let mut fronts = (0_u32..).take(people.keys.len()).map(|at| (front(people.space(at)), at)).collect::<Vec<_>>();
        let by_space = |one: &(u128, u32), other: &(u128, u32)| match one.0.cmp(&other.0) {
            Ordering::Equal => people.space(one.1).cmp(&people.space(other.1)).then(one.1.cmp(&other.1)),
            differing => differing,
        };
        fronts.sort_unstable_by(by_space);
        let order = fronts.into_iter().map(|(_, at)| at).collect::<Vec<_>>();
        let (mut starts, mut numbers) = (Vec::new(), HashMap::new());
        for (place, group) in
            order.chunk_by(|one, other| people.space(*one) == people.space(*other)).scan(0, |at, group| {
                *at += group.len();
                Some((*at - group.len(), group))
            })
        {
            numbers.insert(people.space(group[0]), u32::try_from(starts.len()).unwrap_or(u32::MAX));
            starts.push(place);
        }
        Self { order, starts, numbers }
    }

    fn members(&self, group: usize) -> &[u32] {
        let end = self.starts.get(group + 1).copied().unwrap_or(self.order.len());
        &self.order[self.starts[group]..end]
    }
}

/// Jenjang and front of the base as a number in the order of both; most comparisons end there.
fn front((jenjang, base): (u8, &str)) -> u128 {
    let mut bytes = [0_u8; 16];
    bytes[0] = jenjang;
    for (to, from) in bytes[1..].iter_mut().zip(base.as_bytes()) {
        *to = *from;
    }
    u128::from_be_bytes(bytes)
}

/// The taken user IDs that could meet a candidate, with the number of their group, in order.
fn taken_of(
    table: &Side,
    people: &People,
    groups: &Groups<'_>,
    threads: usize,
) -> Result<Vec<(u32, Taken)>, TableError> {
    let codes = present(jenjang_codes_of(&table.column("taken", "jenjang_code")?, "jenjang_code")?, "jenjang_code")?;
    let user_ids = text_column(&table.column("taken", "user_id")?, "user_id")?;
    let owners = fixed_values::<17>(&table.column("taken", "owner")?, "owner")?;
    let found = in_ranges(codes.len(), threads, |range| {
        range
            .filter_map(|row| {
                let user_id = match user_ids.text(row) {
                    None => return Some(Err(null_in("user_id"))),
                    Some(text) => text.to_ascii_lowercase(),
                };
                let (base, digits) = Digits::split(&user_id)?;
                let group = *groups.numbers.get(&(codes[row], base))?;
                let position = |key: AccountKey| people.keys.binary_search(&key).ok();
                let owner = owners[row].and_then(position).and_then(|at| u32::try_from(at).ok());
                Some(Ok((group, Taken { digits, owner })))
            })
            .collect::<Result<Vec<_>, _>>()
    });
    let mut taken = found.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    taken.sort_unstable();
    Ok(taken)
}

fn blocked_of(taken: &[(u32, Taken)], group: usize) -> Vec<Taken> {
    let start = taken.partition_point(|(number, _)| (*number as usize) < group);
    taken[start..].iter().take_while(|(number, _)| *number as usize == group).map(|(_, taken)| *taken).collect()
}

fn table_of(people: &People, given: &[Option<Given>]) -> Result<RecordBatch, TableError> {
    let (mut user_ids, mut attempts) = (LargeStringBuilder::new(), Int32Builder::new());
    for (at, given) in given.iter().enumerate() {
        user_ids.append_option(given.map(|given| given.digits.after(people.bases.value(at))));
        attempts.append_option(given.and_then(|given| i32::try_from(given.attempt).ok()));
    }
    let keys = fixed_size_binary(people.keys.iter().map(|key| Some(*key)))?;
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("account_key", Arc::new(keys), false),
        ("user_id", Arc::new(user_ids.finish()), true),
        ("attempt", Arc::new(attempts.finish()), true),
        ("base", Arc::new(people.bases.clone()), false),
    ];
    let field =
        |(name, array, nullable): &(&str, ArrayRef, bool)| Field::new(*name, array.data_type().clone(), *nullable);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    Ok(RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array, _)| array).collect())?)
}

/// Names by position.
trait Names: Sync {
    fn len(&self) -> usize;
    fn name(&self, at: usize) -> Option<&str>;
}

impl Names for BytesColumn {
    fn len(&self) -> usize {
        BytesColumn::len(self)
    }

    fn name(&self, at: usize) -> Option<&str> {
        self.text(at)
    }
}

/// Names in the order of the people's keys.
struct Reordered<'a> {
    names: &'a BytesColumn,
    rows: &'a [(AccountKey, u32)],
}

impl Names for Reordered<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn name(&self, at: usize) -> Option<&str> {
        self.names.text(self.rows[at].1 as usize)
    }
}

fn bases_of(names: &dyn Names, threads: usize) -> Result<LargeStringArray, TableError> {
    let pieces = in_ranges(names.len(), threads, |range| {
        let mut bases = LargeStringBuilder::with_capacity(range.len(), range.len() * 14);
        for at in range {
            bases.append_value(base(names.name(at).unwrap_or_default()));
        }
        bases.finish()
    });
    let pieces = pieces.iter().map(|piece| piece as &dyn Array).collect::<Vec<_>>();
    let whole = concat(&pieces)?;
    Ok(arrow_array::cast::AsArray::as_string::<i64>(&whole).clone())
}

fn text_column(array: &ArrayRef, name: &str) -> Result<BytesColumn, TableError> {
    BytesColumn::of(array)
        .filter(|column| is_text(array.data_type()) || matches!(column, BytesColumn::Null(_)))
        .ok_or_else(|| TableError::wrong_type(name, "strings", array.data_type()))
}

fn present<T>(values: Vec<Option<T>>, column: &str) -> Result<Vec<T>, TableError> {
    values.into_iter().collect::<Option<_>>().ok_or_else(|| null_in(column))
}

fn null_in(column: &str) -> TableError {
    TableError::Column { problem: "a value is null".to_owned(), column: column.to_owned() }
}
