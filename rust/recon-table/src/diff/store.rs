//! Records in slots: in memory while the budget lasts, after that in one temporary file that has no name.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::TableError;

/// How much memory records may take, shared by all stores of a call.
pub(crate) struct Budget {
    bytes_max: usize,
    taken: AtomicUsize,
    spilled: AtomicU64,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, taken: AtomicUsize::new(0), spilled: AtomicU64::new(0) }
    }

    /// Bytes that went to temporary files.
    pub(crate) fn spilled(&self) -> u64 {
        self.spilled.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let after = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if after <= self.bytes_max {
            return true;
        }
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Chunks of records by slot. Chunks of a slot have no order among them.
pub(crate) struct Store {
    budget: Arc<Budget>,
    folder: PathBuf,
    slots: Vec<Mutex<Vec<Chunk>>>,
    file: OnceLock<File>,
    opening: Mutex<()>,
    file_end: AtomicU64,
}

pub(crate) enum Chunk {
    Memory(Vec<u8>),
    File { offset: u64, len: usize },
}

impl Chunk {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File { len, .. } => *len,
        }
    }
}

impl Store {
    pub(crate) fn new(slots: usize, budget: &Arc<Budget>, folder: &Path) -> Self {
        let slots = (0..slots).map(|_| Mutex::default()).collect();
        let (budget, folder) = (Arc::clone(budget), folder.to_owned());
        Self { budget, folder, slots, file: OnceLock::new(), opening: Mutex::default(), file_end: AtomicU64::new(0) }
    }

    /// An empty store with the same budget and folder.
    pub(crate) fn beside(&self, slots: usize) -> Self {
        Self::new(slots, &self.budget, &self.folder)
    }

    /// How many slots there are.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of a slot.
    pub(crate) fn len(&self, slot: usize) -> usize {
        lock(&self.slots[slot]).iter().map(Chunk::len).sum()
    }

    /// Keep these bytes in a slot and leave `bytes` empty.
    fn put(&self, slot: usize, bytes: &mut Vec<u8>) -> Result<(), TableError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let chunk = if self.budget.take(bytes.capacity()) {
            let capacity = bytes.capacity();
            Chunk::Memory(std::mem::replace(bytes, Vec::with_capacity(capacity)))
        } else {
            self.spill(bytes)?
        };
        lock(&self.slots[slot]).push(chunk);
        Ok(())
    }

    /// Keep these bytes outside of the slots.
    pub(crate) fn keep(&self, mut bytes: Vec<u8>) -> Result<Chunk, TableError> {
        bytes.shrink_to_fit();
        if self.budget.take(bytes.capacity()) { Ok(Chunk::Memory(bytes)) } else { self.spill(&mut bytes) }
    }

    /// The bytes of a chunk, which is forgotten.
    pub(crate) fn take(&self, chunk: Chunk) -> Result<Vec<u8>, TableError> {
        match chunk {
            Chunk::Memory(bytes) => {
                self.budget.give_back(bytes.capacity());
                Ok(bytes)
            }
            Chunk::File { offset, len } => {
                let mut bytes = Vec::new();
                self.read(offset, len, &mut bytes)?;
                Ok(bytes)
            }
        }
    }

    fn spill(&self, bytes: &mut Vec<u8>) -> Result<Chunk, TableError> {
        let len = bytes.len();
        let offset = self.file_end.fetch_add(len as u64, Ordering::Relaxed);
        self.file()?.write_all_at(bytes, offset).map_err(|error| spill_failed(&self.folder, &error))?;
        self.budget.spilled.fetch_add(len as u64, Ordering::Relaxed);
        bytes.clear();
        Ok(Chunk::File { offset, len })
    }

    fn file(&self) -> Result<&File, TableError> {
        if self.file.get().is_none() {
            let _one = lock(&self.opening);
            if self.file.get().is_none() {
                // Without a name from the start, so that no way of ending leaves it behind.
                let file = tempfile::tempfile_in(&self.folder).map_err(|error| spill_failed(&self.folder, &error))?;
                let _ = self.file.set(file);
            }
        }
        self.file.get().ok_or_else(|| spill_failed(&self.folder, &std::io::Error::other("not opened")))
    }

    /// Hand each chunk of a slot to `take`, and forget the slot.
    pub(crate) fn drain(
        &self,
        slot: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let chunks = std::mem::take(&mut *lock(&self.slots[slot]));
        let mut read = Vec::new();
        for chunk in chunks {
            match chunk {
                Chunk::Memory(bytes) => {
                    self.budget.give_back(bytes.capacity());
                    take(&bytes)?;
                }
                Chunk::File { offset, len } => {
                    self.read(offset, len, &mut read)?;
                    take(&read)?;
                }
            }
        }
        Ok(())
    }

    /// Hand each chunk of a slot to `take`, and keep the slot.
    pub(crate) fn scan(&self, slot: usize, mut take: impl FnMut(&[u8])) -> Result<(), TableError> {
        let mut read = Vec::new();
        for chunk in lock(&self.slots[slot]).iter() {
            match chunk {
                Chunk::Memory(bytes) => take(bytes),
                Chunk::File { offset, len } => {
                    self.read(*offset, *len, &mut read)?;
                    take(&read);
                }
            }
        }
        Ok(())
    }

    /// All records of a slot after one another, into `into`; the slot is forgotten.
    pub(crate) fn gather(&self, slot: usize, into: &mut Vec<u8>) -> Result<(), TableError> {
        into.clear();
        into.reserve(self.len(slot));
        self.drain(slot, |bytes| {
            into.extend_from_slice(bytes);
            Ok(())
        })
    }

    fn read(&self, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<(), TableError> {
        into.resize(len, 0);
        self.file()?.read_exact_at(into, offset).map_err(|error| spill_failed(&self.folder, &error))
    }
}

fn spill_failed(folder: &Path, error: &std::io::Error) -> TableError {
    TableError::Spill { problem: error.to_string(), folder: PathBuf::from(folder).display().to_string() }
}

/// A lock that a panic elsewhere cannot make useless: the panic goes on by itself.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One thread's way into a store: records gather in a chunk a slot before the store sees them.
pub(crate) struct Scatter<'a> {
    store: &'a Store,
    chunks: Vec<Vec<u8>>,
    chunk_bytes: usize,
}

impl<'a> Scatter<'a> {
    pub(crate) fn new(store: &'a Store, chunk_bytes: usize) -> Self {
        Self { store, chunks: vec![Vec::new(); store.slots.len()], chunk_bytes }
    }

    /// The slot's open chunk, with room for a record of `len` bytes. Records may be longer than chunks.
    #[inline]
    pub(crate) fn room(&mut self, slot: usize, len: usize) -> Result<&mut Vec<u8>, TableError> {
        let chunk = &mut self.chunks[slot];
        if chunk.capacity() - chunk.len() < len {
            if chunk.capacity() == 0 {
                chunk.reserve_exact(self.chunk_bytes.max(len));
            } else {
                self.store.put(slot, chunk)?;
                chunk.reserve(len);
            }
        }
        Ok(chunk)
    }

    /// Hand everything over.
    pub(crate) fn finish(mut self) -> Result<(), TableError> {
        for (slot, chunk) in self.chunks.iter_mut().enumerate() {
            // What is left is often far less than a chunk.
            chunk.shrink_to_fit();
            self.store.put(slot, chunk)?;
            *chunk = Vec::new();
        }
        Ok(())
    }
}

/// The size of open chunks: an eighth of the budget over all of them, within reason.
pub(crate) fn chunk_bytes(budget_bytes: usize, threads: usize, slots: usize) -> usize {
    (budget_bytes / 8 / (threads * slots).max(1)).clamp(1 << 10, 32 << 10)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Budget, Scatter, Store};

    fn stored(budget: usize) -> Vec<Vec<Vec<u8>>> {
        let folder = std::env::temp_dir();
        let budget = Arc::new(Budget::new(budget));
        let store = Store::new(3, &budget, &folder);
        let mut scatter = Scatter::new(&store, 16);
        for number in 0..100_u8 {
            scatter.room(usize::from(number % 3), 2).unwrap().extend([number, number]);
        }
        scatter.room(1, 40).unwrap().extend([200; 40]);
        scatter.finish().unwrap();
        let mut slots = Vec::new();
        for slot in 0..3 {
            let mut all = Vec::new();
            assert_eq!(store.len(slot), if slot == 0 { 68 } else { 66 + 40 * usize::from(slot == 1) });
            store.gather(slot, &mut all).unwrap();
            let mut records = all.chunks(2).map(<[u8]>::to_vec).collect::<Vec<_>>();
            records.sort_unstable();
            slots.push(records);
            assert_eq!(store.len(slot), 0);
        }
        slots
    }

    /// Records come back from their slots, wherever they were kept.
    #[test]
    fn memory_and_file_hold_the_same() {
        let in_memory = stored(usize::MAX);
        assert_eq!(in_memory[0][..2], [vec![0, 0], vec![3, 3]]);
        assert_eq!(stored(0), in_memory);
        assert_eq!(stored(64), in_memory);
    }
}
