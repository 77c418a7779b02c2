//! Rows that are read once, a batch at a time and by several threads: from Parquet files or from a stream.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

use crate::TableError;
use crate::source::Source;
use crate::threads::in_ranges;

/// Most rows handed on at once: a stream may hold a whole table in one batch.
const SLICE_ROWS: usize = 32_768;

/// Where the rows of a table come from.
pub enum Rows {
    /// Parquet files of one table.
    Files(Vec<String>),
    /// A stream of batches.
    Stream(Box<dyn RecordBatchReader + Send>),
}

/// The wanted columns of a table, on their way.
pub(crate) struct Feed {
    from: From,
}

enum From {
    Nothing,
    Files(Source),
    Stream(Mutex<Stream>),
}

struct Stream {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
    places: Vec<usize>,
    rest: Option<RecordBatch>,
}

impl Feed {
    /// Open files or a stream and check that the columns are there. `table` is what it is called where one is missing.
    ///
    /// No files at all are a table without rows.
    pub(crate) fn open(table: &str, rows: Rows, wanted: &[&str]) -> Result<Self, TableError> {
        let reader = match rows {
            Rows::Files(files) if files.is_empty() => return Ok(Self { from: From::Nothing }),
            Rows::Files(files) => {
                let wanted = wanted.iter().map(|&column| column.to_owned()).collect::<Vec<_>>();
                return Ok(Self { from: From::Files(Source::open_views(&files, &wanted)?) });
            }
            Rows::Stream(reader) => reader,
        };
        let schema = reader.schema();
        let places = wanted.iter().map(|column| place_of(&schema, table, column)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { from: From::Stream(Mutex::new(Stream { batches: reader, places, rest: None })) })
    }

    /// Hand every row's wanted columns to `take`, with the state that `start` made for the thread; returns the states.
    ///
    /// Which thread gets which rows, and in what order, follows from chance. Ends with the first error, or soon after `cancel` is set.
    pub(crate) fn drain<S: Send>(
        &self,
        threads: usize,
        cancel: &AtomicBool,
        start: impl Fn() -> S + Sync,
        take: impl Fn(&mut S, &[ArrayRef]) -> Result<(), TableError> + Sync,
    ) -> Result<Vec<S>, TableError> {
        let failed = AtomicBool::new(false);
        let go_on = || {
            if cancel.load(Ordering::Relaxed) {
                Err(TableError::Cancelled)
            } else {
                Ok(!failed.load(Ordering::Relaxed))
            }
        };
        let units = match &self.from {
            From::Files(source) => source.units(),
            _ => Vec::new(),
        };
        let next = AtomicUsize::new(0);
        let states = in_ranges(threads, threads, |_| {
            let mut state = start();
            let mut work = || match &self.from {
                From::Nothing => Ok(()),
                From::Stream(stream) => {
                    while go_on()? {
                        let Some(columns) = next_of(stream)? else { break };
                        take(&mut state, &columns)?;
                    }
                    Ok(())
                }
                From::Files(source) => {
                    while let Some(&unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let take = |_: usize, columns: Vec<ArrayRef>| {
                            if go_on()? { take(&mut state, &columns) } else { Err(TableError::Cancelled) }
                        };
                        source.read(unit, take).map_err(|error| error.in_file(source.path(unit.file)))?;
                    }
                    Ok(())
                }
            };
            work().map(|()| state).inspect_err(|_| failed.store(true, Ordering::Relaxed))
        });
        first_error(states)
    }
}

/// All results, or the first error that says more than that another thread failed.
fn first_error<S>(states: Vec<Result<S, TableError>>) -> Result<Vec<S>, TableError> {
    let (mut fine, mut failed) = (Vec::with_capacity(states.len()), None);
    for state in states {
        match state {
            Ok(state) => fine.push(state),
            Err(error) if matches!(failed, None | Some(TableError::Cancelled)) => failed = Some(error),
            Err(_) => {}
        }
    }
    failed.map_or(Ok(fine), Err)
}

/// The wanted columns of the next rows of a stream.
fn next_of(stream: &Mutex<Stream>) -> Result<Option<Vec<ArrayRef>>, TableError> {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    let batch = loop {
        match stream.rest.take().map_or_else(|| stream.batches.next().transpose(), |rest| Ok(Some(rest)))? {
            None => return Ok(None),
            Some(batch) if batch.num_rows() == 0 => {}
            Some(batch) => break batch,
        }
    };
    let rows = batch.num_rows().min(SLICE_ROWS);
    if rows < batch.num_rows() {
        stream.rest = Some(batch.slice(rows, batch.num_rows() - rows));
    }
    Ok(Some(stream.places.iter().map(|&place| batch.column(place).slice(0, rows)).collect()))
}

fn place_of(schema: &SchemaRef, table: &str, column: &str) -> Result<usize, TableError> {
    schema.index_of(column).map_err(|_| TableError::Column {
        problem: format!("the {table} table has no such column"),
        column: column.to_owned(),
    })
}
