//! Pure kernels: identifiers, markers, digests, comparing, name folding, user IDs, password hashes.
//!
//! What a kernel returns follows from its arguments: it asks for no clock, file, network, thread or random number, and it
//! does not panic. `clippy.toml` beside this crate and the lints in its manifest say so to the compiler.

pub mod compare;
pub mod marker;
pub mod normalise;
pub mod plain_name;
pub mod row_digest;
pub mod sha512_crypt;
mod sha512_lanes;
pub mod user_id;
pub mod uuid;
mod vector;

/// 32 bytes under which identifiers are hashed. It prints masked.
#[derive(Clone, PartialEq, Eq)]
pub struct HashKey([u8; 32]);

impl HashKey {
    /// The key of these bytes, or `None` when they are not 32.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for hashing only.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HashKey(masked)")
    }
}

#[cfg(test)]
mod tests {
    use super::HashKey;

    /// A key never shows in a debug print.
    #[test]
    fn key_prints_masked() {
        let key = HashKey::from_bytes(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "HashKey(masked)");
    }

    /// A key of any other length is refused.
    #[test]
    fn key_has_32_bytes() {
        assert!(HashKey::from_bytes(&[7; 31]).is_none());
        assert!(HashKey::from_bytes(&[7; 33]).is_none());
    }
}
