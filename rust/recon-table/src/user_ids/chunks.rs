//! Lists that grow without moving: a list that doubles would hold its old half beside its new whole.

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 8_192;

/// Values in the order they came, in chunks.
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    const EACH: usize = CHUNK_BYTES / size_of::<T>();

    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < Self::EACH => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(Self::EACH);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }
}

impl<T> IntoIterator for Chunks<T> {
    type Item = Vec<T>;
    type IntoIter = std::vec::IntoIter<Vec<T>>;

    /// The chunks, so that each can go once it is read.
    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter()
    }
}
