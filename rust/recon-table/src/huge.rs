//! A large table in huge pages, where the machine gives them.
//!
//! A table over which searches are scattered needs the address of a page for nearly each of them: with pages of 2 MiB they are at
//! hand, with pages of 4 KiB each is looked up first.

use memmap2::MmapMut;

use crate::TableError;

/// Memory for values, all zero at first.
pub(crate) struct Huge {
    map: MmapMut,
}

impl Huge {
    /// So many bytes, at least one.
    pub(crate) fn zeroed(bytes: usize) -> Result<Self, TableError> {
        let map = MmapMut::map_anon(bytes.max(1)).map_err(|_| TableError::Argument {
            problem: "the machine has no memory for a table of this many bytes",
            value: bytes.to_string(),
        })?;
        // Advice only: pages of the usual size do as well, more slowly.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map })
    }

    /// As many whole values as there are.
    pub(crate) fn values<T: bytemuck::Pod>(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[..self.map.len() / size_of::<T>() * size_of::<T>()])
    }

    /// As many whole values as there are, to be written.
    pub(crate) fn values_mut<T: bytemuck::Pod>(&mut self) -> &mut [T] {
        let whole = self.map.len() / size_of::<T>() * size_of::<T>();
        bytemuck::cast_slice_mut(&mut self.map[..whole])
    }
}

#[cfg(test)]
mod tests {
    use super::Huge;

    /// There are as many values as fit, zero until they are written.
    #[test]
    fn values_are_kept() {
        let mut table = Huge::zeroed(100).unwrap();
        assert_eq!(table.values::<u64>(), [0; 12]);
        table.values_mut::<[u64; 4]>()[2] = [1, 2, 3, 4];
        assert_eq!(table.values::<u64>()[8..], [1, 2, 3, 4]);
        assert!(Huge::zeroed(0).unwrap().values::<u64>().is_empty());
    }
}
