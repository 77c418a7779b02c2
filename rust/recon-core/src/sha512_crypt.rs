//! Password hashes `$6$rounds=N$salt$hash`, as glibc's crypt(3) makes them and the Directory API takes them.
//!
//! Source of the rule: Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", version 0.6 (public domain). The step
//! numbers below are his. Rounds are always written, also where they are the default, so that a hash says what it cost.

use pulp::{Arch, Scalar, Simd, WithSimd};
use sha2::block_api::compress512;

use crate::sha512_lanes::{Block, INITIAL, State, compress};
use crate::vector::{Single, Vector};

/// Fewest and most rounds of the specification, which silently moves others to these; here they are refused.
pub const ROUNDS: std::ops::RangeInclusive<u32> = 1_000..=999_999_999;
/// Longest salt; the specification cuts longer ones, here they are refused.
pub const SALT_BYTES_MAX: usize = 16;
/// Longest secret. The specification has no bound; the cost of a longer one grows with its square.
pub const SECRET_BYTES_MAX: usize = 1_024;

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const DIGEST_BYTES: usize = 64;
const BLOCK_BYTES: usize = 128;
/// After this many rounds the pattern of what a round hashes repeats: 2 times 3 times 7.
const PERIOD: usize = 42;

/// Why no hash was made. It never holds the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptError {
    /// Rounds outside the specification's bounds.
    #[error("rounds must be from 1000 to 999999999: {0}")]
    Rounds(u32),
    /// A salt that is empty, too long, or has characters that would end it.
    #[error("salt must be 1 to 16 letters, digits, dots and slashes, not this many bytes: {0}")]
    Salt(usize),
    /// A secret that is too long, or has a zero byte, at which C ends a string.
    #[error("secret must be at most 1024 bytes without a zero byte, not this many: {0}")]
    Secret(usize),
}

type Digest = [u8; DIGEST_BYTES];

/// A secret and the salt it is hashed under.
#[derive(Clone, Copy)]
pub struct Salted<'a> {
    /// The secret's bytes.
    pub secret: &'a [u8],
    /// The salt's letters.
    pub salt: &'a str,
}

/// The hashes of secrets under their salts, as text, in order. Those of one length are made side by side.
///
/// # Errors
/// When rounds, a salt or a secret are out of bounds.
pub fn sha512_crypt(salted: &[Salted<'_>], rounds: u32) -> Result<Vec<String>, CryptError> {
    salted.iter().try_for_each(|one| check(one.secret, one.salt, rounds))?;
    let mut order = (0..salted.len()).collect::<Vec<_>>();
    order.sort_by_key(|&place| salted.get(place).map(|one| (one.secret.len(), one.salt.len())));
    let ordered = order.iter().filter_map(|&place| salted.get(place).copied()).collect::<Vec<_>>();
    let mut hashes = vec![String::new(); salted.len()];
    let mut places = order.into_iter();
    for alike in ordered.chunk_by(|a, b| a.secret.len() == b.secret.len() && a.salt.len() == b.salt.len()) {
        for (one, digest) in alike.iter().zip(digests(alike, rounds)) {
            if let Some(hash) = places.next().and_then(|place| hashes.get_mut(place)) {
                *hash = format!("$6$rounds={rounds}${}${}", one.salt, encoded(&digest));
            }
        }
    }
    Ok(hashes)
}

fn check(secret: &[u8], salt: &str, rounds: u32) -> Result<(), CryptError> {
    if !ROUNDS.contains(&rounds) {
        return Err(CryptError::Rounds(rounds));
    }
    if salt.is_empty() || salt.len() > SALT_BYTES_MAX || !salt.bytes().all(|letter| ALPHABET.contains(&letter)) {
        return Err(CryptError::Salt(salt.len()));
    }
    if secret.len() > SECRET_BYTES_MAX || secret.contains(&0) {
        return Err(CryptError::Secret(secret.len()));
    }
    Ok(())
}

/// What the rounds start from.
struct Start {
    /// Digest A of steps 9 to 12.
    digest: Digest,
    /// P of step 16: as long as the secret.
    secret: Vec<u8>,
    /// S of step 20: as long as the salt.
    salt: Vec<u8>,
}

impl Start {
    fn of(secret: &[u8], salt: &[u8]) -> Self {
        // Steps 4 to 8.
        let alternate = hash([secret, salt, secret]);
        // Steps 1 to 3 and 9 to 12.
        let mut message = [secret, salt].concat();
        message.extend(repeated(&alternate, secret.len()));
        let mut bits = secret.len();
        while bits > 0 {
            message.extend_from_slice(if bits & 1 == 1 { &alternate } else { secret });
            bits >>= 1;
        }
        let digest = hash([message.as_slice()]);
        // Steps 13 to 16.
        let secrets = secret.repeat(secret.len());
        // Steps 17 to 20.
        let salts = salt.repeat(16 + usize::from(digest.first().copied().unwrap_or(0)));
        Self {
            digest,
            secret: repeated(&hash([secrets.as_slice()]), secret.len()).collect(),
            salt: repeated(&hash([salts.as_slice()]), salt.len()).collect(),
        }
    }
}

fn repeated(digest: &Digest, len: usize) -> impl Iterator<Item = u8> {
    digest.iter().copied().cycle().take(len)
}

fn hash<const N: usize>(pieces: [&[u8]; N]) -> Digest {
    let mut message = pieces.concat();
    pad(&mut message);
    compressed(&message)
}

/// SHA-512's padding (FIPS 180-4, section 5.1.2).
fn pad(message: &mut Vec<u8>) {
    let bits = message.len() as u128 * 8;
    message.push(0x80);
    let padded = (message.len() + 16).next_multiple_of(BLOCK_BYTES);
    message.resize(padded - 16, 0);
    message.extend_from_slice(&bits.to_be_bytes());
}

fn compressed(padded: &[u8]) -> Digest {
    let mut state = INITIAL;
    compress512(&mut state, padded.as_chunks().0);
    digest_of(&state)
}

fn digest_of(state: &[u64; 8]) -> Digest {
    let mut digest = [0; DIGEST_BYTES];
    for (to, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    digest
}

/// The digests of secrets of one length and salts of one length, as many at a time as the machine's vectors hold.
fn digests(alike: &[Salted<'_>], rounds: u32) -> Vec<Digest> {
    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => chunked(simd, alike, rounds, |work| Simd::vectorize(simd, work)),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => chunked(simd, alike, rounds, |work| Simd::vectorize(simd, work)),
        _ => chunked(Single, alike, rounds, |work| work.with_simd(Scalar)),
    }
}

fn chunked<V: Vector>(
    vector: V,
    alike: &[Salted<'_>],
    rounds: u32,
    run: impl Fn(Rounds<V>) -> State<V>,
) -> Vec<Digest> {
    let mut digests = Vec::with_capacity(alike.len());
    for chunk in alike.chunks(V::LANES) {
        let starts = chunk.iter().map(|one| Start::of(one.secret, one.salt.as_bytes())).collect::<Vec<_>>();
        let state = run(Rounds::of(vector, &starts, rounds));
        digests.extend((0..chunk.len()).map(|lane| digest_of(&state.map(|words| vector.lane(words, lane)))));
    }
    digests
}

/// Step 21 for one secret a lane; lanes left over hash zeros.
struct Rounds<V: Vector> {
    vector: V,
    digest: State<V>,
    templates: Vec<Template<V>>,
    /// The template of each round of a period.
    order: [usize; PERIOD],
    count: usize,
}

/// The message of a round, padded once: each round writes the last digest into its place and hashes.
struct Template<V: Vector> {
    blocks: Vec<Block<V>>,
    /// The word in which the digest begins, and how many bits into it.
    word: usize,
    bits: u32,
    /// What else is in the first and last of the words that the digest touches.
    edges: [V::Words; 2],
}

impl<V: Vector> Rounds<V> {
    fn of(vector: V, starts: &[Start], rounds: u32) -> Self {
        let template =
            |pattern: usize| Template::of(vector, starts, pattern & 1 != 0, pattern & 2 != 0, pattern & 4 != 0);
        let mut order = [0; PERIOD];
        for (round, pattern) in order.iter_mut().enumerate() {
            *pattern = round & 1 | usize::from(round % 3 != 0) << 1 | usize::from(round % 7 != 0) << 2;
        }
        let digest_word = |word| vector.gather(|lane| starts.get(lane).map_or(0, |start| word_of(&start.digest, word)));
        let digest = std::array::from_fn(digest_word);
        Self { vector, digest, templates: (0..8).map(template).collect(), order, count: rounds as usize }
    }
}

impl<V: Vector> WithSimd for Rounds<V> {
    type Output = State<V>;

    // Inlined as everything it calls, so that all of it is compiled for the machine's vectors.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _simd: S) -> State<V> {
        for &pattern in self.order.iter().cycle().take(self.count) {
            if let Some(template) = self.templates.get_mut(pattern) {
                template.hash(self.vector, &mut self.digest);
            }
        }
        self.digest
    }
}

impl<V: Vector> Template<V> {
    /// Sub-steps a to h of step 21.
    fn of(vector: V, starts: &[Start], odd: bool, salted: bool, secret_again: bool) -> Self {
        let mut digest_at = 0;
        let messages = starts.iter().map(|start| {
            let (digest, secret) = ([0; DIGEST_BYTES], start.secret.as_slice());
            let mut message = if odd { secret.to_vec() } else { digest.to_vec() };
            message.extend_from_slice(if salted { &start.salt } else { &[] });
            message.extend_from_slice(if secret_again { secret } else { &[] });
            digest_at = if odd { message.len() } else { 0 };
            message.extend_from_slice(if odd { &digest } else { secret });
            pad(&mut message);
            message
        });
        let messages = messages.collect::<Vec<_>>();
        let count = messages.first().map_or(0, |message| message.len() / BLOCK_BYTES);
        let words = |word| vector.gather(|lane| messages.get(lane).map_or(0, |message| word_of(message, word)));
        let blocks = (0..count).map(|block| std::array::from_fn(|word| words(block * 16 + word))).collect();
        let word = digest_at / 8;
        Self {
            blocks,
            word,
            bits: 8 * u32::from(digest_at.to_le_bytes()[0] % 8),
            edges: [words(word), words(word + 8)],
        }
    }

    /// Replace the digest by that of the message with it.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn hash(&mut self, vector: V, digest: &mut State<V>) {
        let [mut carried, last] = self.edges;
        let place = self.blocks.as_flattened_mut().get_mut(self.word..).and_then(<[_]>::first_chunk_mut::<9>);
        if let Some([front @ .., end]) = place {
            for (to, &words) in front.iter_mut().zip(digest.iter()) {
                *to = vector.or(carried, vector.shift_right(words, self.bits));
                carried = vector.shift_left(words, 64 - self.bits);
            }
            *end = vector.or(carried, last);
        }
        *digest = INITIAL.map(|word| vector.splat(word));
        for block in &self.blocks {
            compress(vector, digest, block);
        }
    }
}

/// The big-endian word at a position counted in words.
fn word_of(bytes: &[u8], word: usize) -> u64 {
    bytes.as_chunks().0.get(word).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Step 22: the digest in crypt's own base 64, bytes in the specification's order.
fn encoded(digest: &Digest) -> String {
    let byte = |place: usize| u32::from(digest.get(place).copied().unwrap_or(0));
    let mut text = String::with_capacity(86);
    let mut places = [0, 21, 42];
    for _ in 0..21 {
        let [high, middle, low] = places;
        push(&mut text, byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
        // Each triple is the one before turned and moved on by one: (0, 21, 42), (22, 43, 1), (44, 2, 23), …
        places = [middle + 1, low + 1, high + 1];
    }
    push(&mut text, byte(63), 2);
    text
}

fn push(text: &mut String, mut value: u32, letters: usize) {
    for _ in 0..letters {
        text.push(char::from(ALPHABET.get((value & 63) as usize).copied().unwrap_or(b'.')));
        value >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::{CryptError, Salted, hash, sha512_crypt};

    /// The test vectors of the specification; its over-long salts are cut and its too few rounds raised, as it prescribes.
    const VECTORS: [(u32, &str, &str, &str); 6] = [
        (
            5_000,
            "saltstring",
            "Hello world!",
            "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
        (
            10_000,
            "saltstringsaltst",
            "Hello world!",
            "OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
        ),
        (
            5_000,
            "toolongsaltstrin",
            "This is just a test",
            "lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0",
        ),
        (
            1_400,
            "anotherlongsalts",
            "a very much longer text to encrypt.  This one even stretches over morethan one line.",
            "POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1",
        ),
        (
            77_777,
            "short",
            "we have a short salt string but not a short password",
            "WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0",
        ),
        (
            1_000,
            "roundstoolow",
            "the minimum number is still observed",
            "kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX.",
        ),
    ];

    fn one(secret: &[u8], salt: &str, rounds: u32) -> Result<String, CryptError> {
        Ok(sha512_crypt(&[Salted { secret, salt }], rounds)?.concat())
    }

    /// Hashes are those of the specification, one by one and all lengths mixed.
    #[test]
    fn hashes_equal_the_specification() {
        for (rounds, salt, secret, expected) in VECTORS {
            let hash = one(secret.as_bytes(), salt, rounds).unwrap();
            assert_eq!(hash, format!("$6$rounds={rounds}${salt}${expected}"));
        }
    }

    /// Side by side, in whatever order and number, secrets hash to what they hash to alone.
    #[test]
    fn company_does_not_matter() {
        let secrets =
            (0..200_usize).map(|number| vec![b"abcdefghijklm"[number % 13]; number * 7 % 190]).collect::<Vec<_>>();
        let salts = (0..200_usize).map(|number| "./09AZaz./09AZaz"[number % 16..].to_owned()).collect::<Vec<_>>();
        let salted = secrets.iter().zip(&salts).map(|(secret, salt)| Salted { secret, salt }).collect::<Vec<_>>();
        let together = sha512_crypt(&salted, 1_000).unwrap();
        for (number, hash) in together.iter().enumerate().step_by(9) {
            assert_eq!(*hash, one(&secrets[number], &salts[number], 1_000).unwrap());
        }
    }

    /// What is out of bounds is refused, without the secret in the message.
    #[test]
    fn bounds_are_checked() {
        assert_eq!(one(b"x", "salt", 999), Err(CryptError::Rounds(999)));
        assert_eq!(one(b"x", "salt", 1_000_000_000), Err(CryptError::Rounds(1_000_000_000)));
        for salt in ["", "seventeen.letters", "a$b", "a:b", "a\nb", "\u{e9}"] {
            assert_eq!(one(b"x", salt, 1_000), Err(CryptError::Salt(salt.len())));
        }
        let error = one(b"geheim\0", "salt", 1_000).unwrap_err();
        assert!(!error.to_string().contains("geheim"));
        assert_eq!(one(&[1; 1_025], "salt", 1_000), Err(CryptError::Secret(1_025)));
    }

    proptest! {
        /// Our padding over the raw compression function gives SHA-512.
        #[test]
        fn padding_is_sha_512s(message in prop::collection::vec(any::<u8>(), 0..400)) {
            let expected = sha2::Sha512::digest(&message);
            prop_assert_eq!(&hash([message.as_slice()])[..], &expected[..]);
        }
    }
}
