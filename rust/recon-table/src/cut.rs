//! Cutting a table into parts: readers decode and route, writers encode, and rows keep the order of files and rows.
//!
//! Reader r takes row groups r, r + R, r + 2R, … and sends what it routed to every writer; writer w owns parts w, w + W, … and
//! takes row groups in their order, each from the reader that has it. So the rows of a part have one order whatever the threads. It
//! cannot stand still: the writers that have not finished the first unfinished row group all wait for its reader, which
//! therefore can always send.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::take::take;

use crate::TableError;
use crate::part_file::{PartFile, Purpose};
use crate::source::{Source, Unit};
use crate::threads::joined;

/// Memory of all row groups under construction together, in bytes.
const WRITERS_BYTES: usize = 256 << 20;
/// Least memory of one row group under construction, in bytes.
const ROW_GROUP_BYTES_MIN: usize = 1 << 20;
/// Routed batches that may wait between one reader and one writer.
const WAITING_BATCHES: usize = 2;
/// How many rows went where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Rows read from the files.
    pub read: usize,
    /// Rows set aside because they have no usable key.
    pub aside: usize,
    /// Rows of each part.
    pub parts: Vec<usize>,
}

/// A batch with columns added and the destination of each row: a part, or the count of parts for those set aside.
pub(crate) struct Addressed {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) destinations: Vec<usize>,
}

/// What happens to each batch: `(position of the file, row of its first row, columns as in the source)`.
pub(crate) type Address<'a> = dyn Fn(usize, usize, Vec<ArrayRef>) -> Result<Addressed, TableError> + Sync + 'a;

/// One set of destination files: where they are and which of the routed columns they hold.
pub(crate) struct Destinations {
    /// The files of the parts in order, then the file of rows set aside.
    pub(crate) places: Vec<PathBuf>,
    /// Name and type of every routed column.
    pub(crate) routed: SchemaRef,
    /// Positions of the routed columns that go into parts.
    pub(crate) in_parts: Vec<usize>,
    /// Positions of the routed columns that go to rows set aside.
    pub(crate) aside: Vec<usize>,
    /// Columns whose values do not repeat.
    pub(crate) unrepeated: Vec<String>,
    /// How long the files are to stay.
    pub(crate) purpose: Purpose,
}

/// Rows ordered by destination; destination d has the rows from `starts[d]` to `starts[d + 1]`.
struct Routed {
    rows: RecordBatch,
    starts: Vec<usize>,
}

/// What a reader sends: rows of the row group in hand, or that it has no more.
enum Message {
    Rows(Arc<Routed>),
    EndOfUnit,
}

/// Why a thread ended early: its own error at a row group, or that another thread had one.
enum Stop {
    Failed(usize, TableError),
    Others,
}

/// Cut `source` into files that are finished but not yet published. With one thread all work is on the caller's.
pub(crate) fn cut(
    source: &Source,
    address: &Address<'_>,
    destinations: &Destinations,
    threads: usize,
) -> Result<(Vec<PartFile>, Counts), TableError> {
    let mut files = create_files(destinations)?;
    if threads == 1 {
        cut_alone(source, address, destinations, &mut files)?;
    } else {
        let readers = threads / 2;
        let lanes = deal(files, threads - readers);
        files = cut_together(source, address, destinations, readers, lanes)?;
    }
    let rows = files.iter_mut().map(PartFile::finish).collect::<Result<Vec<_>, _>>()?;
    let counts = counted(source, rows)?;
    Ok((files, counts))
}

fn counted(source: &Source, mut rows: Vec<usize>) -> Result<Counts, TableError> {
    let aside = rows.pop().unwrap_or(0);
    let read = source.rows();
    if aside + rows.iter().sum::<usize>() == read {
        return Ok(Counts { read, aside, parts: rows });
    }
    Err(TableError::Argument { problem: "rows written differ from rows read", value: read.to_string() })
}

fn create_files(destinations: &Destinations) -> Result<Vec<PartFile>, TableError> {
    let (count, in_parts) = (destinations.places.len() - 1, destinations.schema(&destinations.in_parts)?);
    let aside = destinations.schema(&destinations.aside)?;
    let row_group_bytes = (WRITERS_BYTES / count).max(ROW_GROUP_BYTES_MIN);
    let unrepeated = destinations.unrepeated.iter().map(String::as_str).collect::<Vec<_>>();
    let create = |(number, place): (usize, &PathBuf)| {
        let schema = if number < count { &in_parts } else { &aside };
        PartFile::create(place.clone(), schema, &unrepeated, row_group_bytes, destinations.purpose)
    };
    destinations.places.iter().enumerate().map(create).collect()
}

impl Destinations {
    fn schema(&self, columns: &[usize]) -> Result<SchemaRef, TableError> {
        Ok(Arc::new(self.routed.project(columns)?))
    }

    fn columns_of(&self, destination: usize) -> &[usize] {
        if destination + 1 == self.places.len() { &self.aside } else { &self.in_parts }
    }

    /// Order a batch's rows by destination, keeping their order within one.
    fn route(&self, batch: &Addressed) -> Result<Routed, TableError> {
        let mut starts = vec![0_usize; self.places.len() + 1];
        for destination in &batch.destinations {
            starts[destination + 1] += 1;
        }
        for destination in 0..self.places.len() {
            starts[destination + 1] += starts[destination];
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; batch.destinations.len()];
        for (row, &destination) in (0_u32..).zip(&batch.destinations) {
            order[next[destination]] = row;
            next[destination] += 1;
        }
        let order = UInt32Array::from(order);
        let columns = batch.columns.iter().map(|column| take(column, &order, None)).collect::<Result<Vec<_>, _>>()?;
        Ok(Routed { rows: RecordBatch::try_new(Arc::clone(&self.routed), columns)?, starts })
    }

    /// Write the rows of one destination.
    fn write(&self, routed: &Routed, destination: usize, file: &mut PartFile) -> Result<(), TableError> {
        let (start, end) = (routed.starts[destination], routed.starts[destination + 1]);
        if start == end {
            return Ok(());
        }
        file.write(&routed.rows.slice(start, end - start).project(self.columns_of(destination))?)
    }
}

fn cut_alone(
    source: &Source,
    address: &Address<'_>,
    destinations: &Destinations,
    files: &mut [PartFile],
) -> Result<(), TableError> {
    for unit in source.units() {
        source.read(unit, |first_row, columns| {
            let routed = destinations.route(&address(unit.file, first_row, columns)?)?;
            files.iter_mut().enumerate().try_for_each(|(number, file)| destinations.write(&routed, number, file))
        })?;
    }
    Ok(())
}

/// The files of one writer with their positions among all files.
type Lane = Vec<(usize, PartFile)>;

fn deal(files: Vec<PartFile>, lanes: usize) -> Vec<Lane> {
    let mut dealt = (0..lanes).map(|_| Lane::new()).collect::<Vec<_>>();
    for (number, file) in files.into_iter().enumerate() {
        dealt[number % lanes].push((number, file));
    }
    dealt
}

fn cut_together(
    source: &Source,
    address: &Address<'_>,
    destinations: &Destinations,
    readers: usize,
    lanes: Vec<Lane>,
) -> Result<Vec<PartFile>, TableError> {
    let units = source.units();
    let mut senders = (0..readers).map(|_| Vec::new()).collect::<Vec<_>>();
    let mut receivers = (0..lanes.len()).map(|_| Vec::new()).collect::<Vec<_>>();
    for from in &mut senders {
        for to in &mut receivers {
            let (sender, receiver) = sync_channel(WAITING_BATCHES);
            from.push(sender);
            to.push(receiver);
        }
    }
    let units = units.as_slice();
    thread::scope(|scope| {
        let reading = senders.into_iter().enumerate().map(|(reader, to)| {
            let own = units.iter().enumerate().skip(reader).step_by(readers);
            scope.spawn(move || read_units(source, address, destinations, own, &to))
        });
        let reading = reading.collect::<Vec<_>>();
        let writing = lanes
            .into_iter()
            .zip(receivers)
            .map(|(lane, from)| scope.spawn(move || write_units(destinations, units.len(), lane, &from)));
        let writing = writing.collect::<Vec<_>>();
        let read = reading.into_iter().map(|thread| joined(thread.join())).collect::<Vec<_>>();
        let written = writing.into_iter().map(|thread| joined(thread.join())).collect::<Vec<_>>();
        settled(read, written)
    })
}

fn read_units<'u>(
    source: &Source,
    address: &Address<'_>,
    destinations: &Destinations,
    units: impl Iterator<Item = (usize, &'u Unit)>,
    to: &[SyncSender<Message>],
) -> Result<(), Stop> {
    for (number, &unit) in units {
        let mut unheard = false;
        let read = source.read(unit, |first_row, columns| {
            let routed = Arc::new(destinations.route(&address(unit.file, first_row, columns)?)?);
            unheard |= to.iter().any(|writer| writer.send(Message::Rows(Arc::clone(&routed))).is_err());
            // Any error ends the reading; this one is never shown, because `unheard` says that another came first.
            if unheard { Err(TableError::Argument { problem: "no writer", value: String::new() }) } else { Ok(()) }
        });
        if unheard || (read.is_ok() && to.iter().any(|writer| writer.send(Message::EndOfUnit).is_err())) {
            return Err(Stop::Others);
        }
        read.map_err(|error| Stop::Failed(number, error))?;
    }
    Ok(())
}

fn write_units(
    destinations: &Destinations,
    units: usize,
    mut lane: Lane,
    from: &[Receiver<Message>],
) -> Result<Lane, Stop> {
    for number in 0..units {
        loop {
            match from[number % from.len()].recv() {
                Ok(Message::Rows(routed)) => {
                    for (destination, file) in &mut lane {
                        destinations.write(&routed, *destination, file).map_err(|error| Stop::Failed(number, error))?;
                    }
                }
                Ok(Message::EndOfUnit) => break,
                Err(_) => return Err(Stop::Others),
            }
        }
    }
    // Finishing compresses the last row groups, so it belongs on this thread.
    for (_, file) in &mut lane {
        file.finish().map_err(|error| Stop::Failed(units, error))?;
    }
    Ok(lane)
}

/// The files in order, or the error at the first row group that had one: the same whatever the timing.
fn settled(read: Vec<Result<(), Stop>>, written: Vec<Result<Lane, Stop>>) -> Result<Vec<PartFile>, TableError> {
    let (mut files, mut stops) = (Lane::new(), Vec::new());
    stops.extend(read.into_iter().filter_map(Result::err));
    for lane in written {
        match lane {
            Ok(lane) => files.extend(lane),
            Err(stop) => stops.push(stop),
        }
    }
    let failures = stops.into_iter().filter_map(|stop| match stop {
        Stop::Failed(number, error) => Some((number, error)),
        Stop::Others => None,
    });
    if let Some((_, error)) = failures.min_by_key(|(number, _)| *number) {
        return Err(error);
    }
    files.sort_by_key(|(number, _)| *number);
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

/// The schema of routed columns, in which everything may be null.
pub(crate) fn routed_schema(fields: Vec<arrow_schema::FieldRef>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}
