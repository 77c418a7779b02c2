//! 64-bit words side by side, in the vectors of the machine at hand.
//!
//! `pulp` hands out a value of each instruction set's type only where the machine has it, which is what makes the
//! intrinsics below safe to call without unsafe code of ours.

// Vector code needs every function here inside the one that `pulp` compiles for the machine.
#![allow(clippy::inline_always)]

/// An instruction set, with a vector of words.
pub(crate) trait Vector: Copy {
    /// One word in each lane.
    type Words: Copy;
    /// Lanes of a vector.
    const LANES: usize;

    /// The word that `of` gives for each lane.
    fn gather(self, of: impl Fn(usize) -> u64) -> Self::Words;
    /// The word in one lane; zero where there is no such lane.
    fn lane(self, words: Self::Words, lane: usize) -> u64;
    /// One word in every lane.
    fn splat(self, word: u64) -> Self::Words;
    /// The sum modulo 2^64.
    fn add(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Bitwise and.
    fn and(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Bitwise or.
    fn or(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Bitwise exclusive or.
    fn xor(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Left by so many bits; 64 give zero.
    fn shift_left(self, a: Self::Words, bits: u32) -> Self::Words;
    /// Right by so many bits; 64 give zero.
    fn shift_right(self, a: Self::Words, bits: u32) -> Self::Words;
}

/// No vectors: a lane is a register.
#[derive(Clone, Copy)]
pub(crate) struct Single;

impl Vector for Single {
    type Words = u64;
    const LANES: usize = 1;

    fn gather(self, of: impl Fn(usize) -> u64) -> u64 {
        of(0)
    }

    fn lane(self, words: u64, lane: usize) -> u64 {
        if lane == 0 { words } else { 0 }
    }

    #[inline(always)]
    fn splat(self, word: u64) -> u64 {
        word
    }

    #[inline(always)]
    fn add(self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    #[inline(always)]
    fn and(self, a: u64, b: u64) -> u64 {
        a & b
    }

    #[inline(always)]
    fn or(self, a: u64, b: u64) -> u64 {
        a | b
    }

    #[inline(always)]
    fn xor(self, a: u64, b: u64) -> u64 {
        a ^ b
    }

    #[inline(always)]
    fn shift_left(self, a: u64, bits: u32) -> u64 {
        a.checked_shl(bits).unwrap_or(0)
    }

    #[inline(always)]
    fn shift_right(self, a: u64, bits: u32) -> u64 {
        a.checked_shr(bits).unwrap_or(0)
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! x86_vector {
    ($set:ty, $words:ty, $lanes:literal, $feature:ident, $wide:ident:
        $set1:ident $add:ident $and:ident $or:ident $xor:ident $left:ident $right:ident) => {
        impl Vector for $set {
            type Words = $words;
            const LANES: usize = $lanes;

            fn gather(self, of: impl Fn(usize) -> u64) -> $words {
                bytemuck::cast(std::array::from_fn::<u64, $lanes, _>(of))
            }

            fn lane(self, words: $words, lane: usize) -> u64 {
                bytemuck::cast::<_, [u64; $lanes]>(words).get(lane).copied().unwrap_or(0)
            }

            #[inline(always)]
            fn splat(self, word: u64) -> $words {
                self.$wide.$set1(word.cast_signed())
            }

            #[inline(always)]
            fn add(self, a: $words, b: $words) -> $words {
                self.$feature.$add(a, b)
            }

            #[inline(always)]
            fn and(self, a: $words, b: $words) -> $words {
                self.$feature.$and(a, b)
            }

            #[inline(always)]
            fn or(self, a: $words, b: $words) -> $words {
                self.$feature.$or(a, b)
            }

            #[inline(always)]
            fn xor(self, a: $words, b: $words) -> $words {
                self.$feature.$xor(a, b)
            }

            #[inline(always)]
            fn shift_left(self, a: $words, bits: u32) -> $words {
                self.$feature.$left(a, bytemuck::cast([u64::from(bits), 0]))
            }

            #[inline(always)]
            fn shift_right(self, a: $words, bits: u32) -> $words {
                self.$feature.$right(a, bytemuck::cast([u64::from(bits), 0]))
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86_vector!(pulp::x86::V4, std::arch::x86_64::__m512i, 8, avx512f, avx512f:
    _mm512_set1_epi64 _mm512_add_epi64 _mm512_and_si512 _mm512_or_si512 _mm512_xor_si512 _mm512_sll_epi64 _mm512_srl_epi64);
#[cfg(target_arch = "x86_64")]
x86_vector!(pulp::x86::V3, std::arch::x86_64::__m256i, 4, avx2, avx:
    _mm256_set1_epi64x _mm256_add_epi64 _mm256_and_si256 _mm256_or_si256 _mm256_xor_si256 _mm256_sll_epi64 _mm256_srl_epi64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Single, Vector};

    fn agrees_with_words<V: Vector>(vector: V, a: [u64; 8], b: [u64; 8], bits: u32) {
        let (x, y) = (vector.gather(|lane| a[lane]), vector.gather(|lane| b[lane]));
        for lane in 0..V::LANES {
            let (a, b) = (a[lane], b[lane]);
            assert_eq!(vector.lane(vector.add(x, y), lane), a.wrapping_add(b));
            assert_eq!(vector.lane(vector.and(x, y), lane), a & b);
            assert_eq!(vector.lane(vector.or(x, y), lane), a | b);
            assert_eq!(vector.lane(vector.xor(x, y), lane), a ^ b);
            assert_eq!(vector.lane(vector.shift_left(x, bits), lane), a.checked_shl(bits).unwrap_or(0));
            assert_eq!(vector.lane(vector.shift_right(x, bits), lane), a.checked_shr(bits).unwrap_or(0));
            assert_eq!(vector.lane(vector.splat(b), lane), b);
        }
    }

    proptest! {
        /// Every instruction set that this machine has does to each lane what words do.
        #[test]
        fn lanes_are_words(a in any::<[u64; 8]>(), b in any::<[u64; 8]>(), bits in 0_u32..=64) {
            agrees_with_words(Single, a, b, bits);
            #[cfg(target_arch = "x86_64")]
            {
                if let Some(vector) = pulp::x86::V3::try_new() { agrees_with_words(vector, a, b, bits); }
                if let Some(vector) = pulp::x86::V4::try_new() { agrees_with_words(vector, a, b, bits); }
            }
        }
    }
}
