//! Lists that grow without moving: a list that doubles would hold its old half beside its new whole.

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 8_192;

/// Values in the order they came, in chunks.
pub(crate) struct Chunks<T> {
    full: Vec<Vec<T>>,
    last: Vec<T>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { full: Vec::new(), last: Vec::new() }
    }
}

impl<T> Chunks<T> {
    const EACH: usize = CHUNK_BYTES / size_of::<T>();

    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        if self.last.len() == self.last.capacity() {
            self.make_room();
        }
        self.last.push(value);
    }

    #[cold]
    fn make_room(&mut self) {
        let fresh = Vec::with_capacity(Self::EACH);
        let full = std::mem::replace(&mut self.last, fresh);
        if !full.is_empty() {
            self.full.push(full);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.full.iter().map(Vec::len).sum::<usize>() + self.last.len()
    }
}

impl<T> IntoIterator for Chunks<T> {
    type Item = Vec<T>;
    type IntoIter = std::iter::Chain<std::vec::IntoIter<Vec<T>>, std::iter::Once<Vec<T>>>;

    /// The chunks, so that each can go once it is read.
    fn into_iter(self) -> Self::IntoIter {
        self.full.into_iter().chain(std::iter::once(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::Chunks;

    /// Whatever their number, values come back in order.
    #[test]
    fn chunks_keep_everything() {
        for count in [0, 1, 2_047, 2_048, 2_049, 10_000] {
            let mut chunks = Chunks::<u32>::default();
            (0..count).for_each(|value| chunks.push(value));
            assert_eq!(chunks.len(), count as usize);
            assert!(chunks.into_iter().flatten().eq(0..count));
        }
    }
}
