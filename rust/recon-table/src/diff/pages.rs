//! A column chunk of a Parquet file, read page by page without making Arrow arrays: values are looked at where the page was
//! decompressed, and what a dictionary holds is looked at once.
//!
//! It reads the encodings nearly all files have (plain, and dictionaries), of texts, bytes, integers, dates and floats in columns
//! that are not nested; `column.rs` hands everything else to the Arrow reader.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow_schema::DataType;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type as PhysicalType};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::column::{Dictionary, NULL, Run, Span};
use crate::attribute::AttributeKind;

/// A file read at positions, so that threads can share it.
#[derive(Clone)]
pub(crate) struct PositionedFile {
    file: Arc<File>,
    len: u64,
}

/// A position in a file, from which is read on.
pub(crate) struct Position {
    file: Arc<File>,
    at: u64,
}

impl PositionedFile {
    pub(crate) fn new(file: File) -> std::io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), len })
    }
}

impl Length for PositionedFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl Read for Position {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Page headers are some tens of bytes, or some hundreds with statistics.
const HEADER_BYTES: usize = 512;

impl ChunkReader for PositionedFile {
    type T = BufReader<Position>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(HEADER_BYTES, Position { file: Arc::clone(&self.file), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start.saturating_add(length as u64) > self.len {
            return Err(ParquetError::EOF("a page ends behind the file's end".to_owned()));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Most bytes of a page, decompressed.
const PAGE_BYTES_MAX: usize = 1 << 30;
/// Most rows of a page: a few bytes can claim any number of equal ones, and each takes memory.
const PAGE_ROWS_MAX: usize = 1 << 26;

/// What is wrong with a page.
pub(crate) type Damage = Box<dyn std::error::Error + Send + Sync>;

/// How a value stands in a plain page, and what its content is.
#[derive(Clone, Copy)]
enum Plain {
    /// 4 bytes of length, then the content.
    Prefixed,
    /// So many bytes, which are the content.
    Fixed(usize),
    /// 4 bytes with sign, widened to 8.
    Narrow,
    /// 4 bytes without sign, widened to 8.
    NarrowUnsigned,
    /// 8 bytes without sign, which must be in the bounds of 64 bits with sign.
    WideUnsigned,
}

impl Plain {
    /// How a chunk of this physical type holds values of this type; `None`: left to Arrow.
    fn of(physical: PhysicalType, width: i32, kind: &AttributeKind, data_type: &DataType) -> Option<Self> {
        let unsigned = data_type.is_unsigned_integer();
        match (physical, kind) {
            (PhysicalType::BYTE_ARRAY, AttributeKind::Text | AttributeKind::Binary) => Some(Self::Prefixed),
            (PhysicalType::FIXED_LEN_BYTE_ARRAY, AttributeKind::Binary) => {
                usize::try_from(width).ok().filter(|width| *width > 0).map(Self::Fixed)
            }
            (PhysicalType::INT32, AttributeKind::Integer) if unsigned => Some(Self::NarrowUnsigned),
            (PhysicalType::INT32, AttributeKind::Integer) => Some(Self::Narrow),
            (PhysicalType::INT64, AttributeKind::Integer) if *data_type == DataType::UInt64 => Some(Self::WideUnsigned),
            (PhysicalType::INT64, AttributeKind::Integer)
            | (PhysicalType::DOUBLE, AttributeKind::Fixed(DataType::Float64, _)) => Some(Self::Fixed(8)),
            (PhysicalType::INT32, AttributeKind::Fixed(DataType::Date32, _))
            | (PhysicalType::FLOAT, AttributeKind::Fixed(DataType::Float32, _)) => Some(Self::Fixed(4)),
            _ => None,
        }
    }

    /// Find `count` values in a page: spans of `bytes`, which is the page or is filled with what they widen to.
    fn read(self, page: &[u8], count: usize, spans: &mut Vec<Span>, widened: &mut Vec<u8>) -> Result<(), Damage> {
        spans.clear();
        widened.clear();
        match self {
            Self::Prefixed => prefixed(page, count, spans)?,
            Self::Fixed(width) => {
                whole(page, count, width)?;
                spans.extend((0..count).map(|at| Span::of(at * width, width)));
            }
            Self::Narrow => {
                for four in page[..whole(page, count, 4)?].as_chunks().0 {
                    widened.extend_from_slice(&i64::from(i32::from_le_bytes(*four)).to_le_bytes());
                }
                spans.extend((0..count).map(|at| Span::of(at * 8, 8)));
            }
            Self::NarrowUnsigned => {
                for four in page[..whole(page, count, 4)?].as_chunks().0 {
                    widened.extend_from_slice(&i64::from(u32::from_le_bytes(*four)).to_le_bytes());
                }
                spans.extend((0..count).map(|at| Span::of(at * 8, 8)));
            }
            Self::WideUnsigned => {
                let eights = page[..whole(page, count, 8)?].as_chunks::<8>().0;
                if eights.iter().any(|eight| eight[7] & 0x80 != 0) {
                    return Err("an integer is over the bounds of 64 bits".into());
                }
                spans.extend((0..count).map(|at| Span::of(at * 8, 8)));
            }
        }
        Ok(())
    }

    fn widens(self) -> bool {
        matches!(self, Self::Narrow | Self::NarrowUnsigned)
    }
}

fn whole(page: &[u8], count: usize, width: usize) -> Result<usize, Damage> {
    let bytes = count.checked_mul(width).filter(|bytes| *bytes <= page.len());
    bytes.ok_or_else(|| "a page ends before its last value".into())
}

fn prefixed(page: &[u8], count: usize, spans: &mut Vec<Span>) -> Result<(), Damage> {
    let mut at = 0;
    spans.reserve(count.min(page.len() / 4));
    for _ in 0..count {
        let length = page.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_le_bytes);
        let length = length.ok_or("a page ends before its last value")? as usize;
        at += 4;
        if length > page.len() - at {
            return Err("a value ends behind its page".into());
        }
        spans.push(Span::of(at, length));
        at += length;
    }
    Ok(())
}

/// A column chunk.
pub(crate) struct PageColumn {
    pages: SerializedPageReader<PositionedFile>,
    inflater: Option<Inflater>,
    plain: Plain,
    nullable: bool,
    dictionary: Dictionary,
    page: LoadedPage,
}

/// The values of a page by row: codes of the dictionary, or spans of its bytes.
#[derive(Default)]
struct LoadedPage {
    coded: bool,
    codes: Vec<u32>,
    spans: Vec<Span>,
    bytes: PageBytes,
    widened: Vec<u8>,
    widens: bool,
    rows: usize,
    at: usize,
}

/// A page as the reader gave it, or as we decompressed it.
#[derive(Default)]
struct PageBytes {
    given: Bytes,
    inflated: Vec<u8>,
    is_inflated: bool,
}

impl PageBytes {
    fn all(&self) -> &[u8] {
        if self.is_inflated { &self.inflated } else { &self.given }
    }
}

impl PageColumn {
    /// A chunk's pages; `None` when it is written in a way that is left to Arrow.
    pub(crate) fn open(
        file: &PositionedFile,
        chunk: &ColumnChunkMetaData,
        kind: &AttributeKind,
        data_type: &DataType,
        rows: usize,
    ) -> Result<Option<Self>, Damage> {
        let descriptor = chunk.column_descr();
        let Some(plain) = Plain::of(chunk.column_type(), descriptor.type_length(), kind, data_type) else {
            return Ok(None);
        };
        let known = |encoding: Encoding| {
            matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY | Encoding::RLE)
        };
        let flat = descriptor.max_rep_level() == 0 && descriptor.max_def_level() <= 1;
        if !flat || !chunk.encodings().all(known) {
            return Ok(None);
        }
        let inflater = match chunk.compression() {
            Compression::ZSTD(_) => Some(Inflater::default()),
            _ => None,
        };
        // Pages come as they are when the reader takes them for uncompressed; our own decompressing keeps context and memory.
        let chunk = match inflater {
            Some(_) => chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?,
            None => chunk.clone(),
        };
        Ok(Some(Self {
            pages: SerializedPageReader::new(Arc::new(file.clone()), &chunk, rows, None)?,
            inflater,
            plain,
            nullable: descriptor.max_def_level() == 1,
            dictionary: Dictionary::default(),
            page: LoadedPage::default(),
        }))
    }

    /// The next rows, `rows_max` at most; `None` at the chunk's end.
    pub(crate) fn next(&mut self, rows_max: usize) -> Result<Option<Run<'_>>, Damage> {
        while self.page.at == self.page.rows {
            if !self.load()? {
                return Ok(None);
            }
        }
        let page = &mut self.page;
        let range = page.at..page.rows.min(page.at + rows_max);
        page.at = range.end;
        let bytes = if page.widens { &page.widened } else { page.bytes.all() };
        Ok(Some(if page.coded {
            Run::Codes { codes: &page.codes[range], dictionary: &self.dictionary }
        } else {
            Run::Spans { spans: &page.spans[range], bytes }
        }))
    }

    /// Load the next page; false at the end.
    fn load(&mut self) -> Result<bool, Damage> {
        let Some(page) = self.pages.get_next_page()? else { return Ok(false) };
        match page {
            Page::DictionaryPage { buf, num_values, .. } => {
                let mut bytes = Vec::new();
                let page = match &mut self.inflater {
                    Some(inflater) => {
                        inflater.inflate(&buf, &mut bytes)?;
                        &bytes[..]
                    }
                    None => &buf[..],
                };
                let count = usize::try_from(num_values)?;
                let mut widened = Vec::new();
                self.plain.read(page, count, &mut self.dictionary.spans, &mut widened)?;
                self.dictionary.bytes = if self.plain.widens() { widened } else { page.to_vec() };
                self.dictionary.number += 1;
            }
            Page::DataPage { buf, num_values, encoding, def_level_encoding, .. } => {
                if self.nullable && def_level_encoding != Encoding::RLE {
                    return Err(format!("levels in {def_level_encoding} are not read").into());
                }
                self.inflate(buf, 0, true)?;
                let page = self.page.bytes.all();
                let (levels, values) = match page.split_first_chunk() {
                    Some((length, rest)) if self.nullable => {
                        let split = rest.split_at_checked(u32::from_le_bytes(*length) as usize);
                        let (levels, _) = split.ok_or("levels end behind their page")?;
                        (Some(4..4 + levels.len()), 4 + levels.len())
                    }
                    _ if self.nullable && num_values > 0 => return Err("a page has no levels".into()),
                    _ => (None, 0),
                };
                self.decode(usize::try_from(num_values)?, encoding, levels, values)?;
            }
            Page::DataPageV2 { buf, num_values, encoding, def_levels_byte_len, is_compressed, .. } => {
                let levels = usize::try_from(def_levels_byte_len)?;
                self.inflate(buf, levels, is_compressed)?;
                let range = self.nullable.then_some(0..levels);
                self.decode(usize::try_from(num_values)?, encoding, range, levels)?;
            }
        }
        Ok(true)
    }

    /// Take a page's bytes, decompressed but for the first `levels` of them.
    fn inflate(&mut self, page: Bytes, levels: usize, compressed: bool) -> Result<(), Damage> {
        let bytes = &mut self.page.bytes;
        bytes.is_inflated = false;
        if let Some(inflater) = self.inflater.as_mut().filter(|_| compressed) {
            let (front, rest) = page.split_at_checked(levels).ok_or("levels end behind their page")?;
            inflater.inflate(rest, &mut bytes.inflated)?;
            if !front.is_empty() {
                bytes.inflated.splice(0..0, front.iter().copied());
            }
            bytes.is_inflated = true;
        } else {
            bytes.given = page;
        }
        Ok(())
    }

    /// Find the values of a page whose bytes were taken.
    fn decode(
        &mut self,
        rows: usize,
        encoding: Encoding,
        levels: Option<std::ops::Range<usize>>,
        values: usize,
    ) -> Result<(), Damage> {
        if rows > PAGE_ROWS_MAX {
            return Err("a page claims more than 67,108,864 rows".into());
        }
        let page = &mut self.page;
        let bytes = page.bytes.all();
        let valid = match levels {
            Some(range) => valid_rows(bytes.get(range).ok_or("levels end behind their page")?, rows)?,
            None => None,
        };
        let count = valid.as_ref().map_or(rows, |valid| valid.iter().filter(|valid| **valid).count());
        let values = bytes.get(values..).ok_or("levels end behind their page")?;
        page.coded = encoding != Encoding::PLAIN;
        page.widens = !page.coded && self.plain.widens();
        match encoding {
            Encoding::PLAIN => self.plain.read(values, count, &mut page.spans, &mut page.widened)?,
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                let entries = u32::try_from(self.dictionary.spans.len())?;
                dictionary_codes(values, count, entries, &mut page.codes)?;
            }
            other => return Err(format!("encoding {other} was not announced").into()),
        }
        if !page.coded && !page.widens {
            // Spans count from the values; bytes are the whole page.
            let start = bytes.len() - values.len();
            page.spans.iter_mut().for_each(|span| span.shift(start));
        }
        if let Some(valid) = valid {
            if page.coded {
                spread(&mut page.codes, &valid, NULL);
            } else {
                spread(&mut page.spans, &valid, Span::NULL);
            }
        }
        (page.rows, page.at) = (rows, 0);
        Ok(())
    }
}

/// Which rows have a value; `None` when all have.
fn valid_rows(levels: &[u8], rows: usize) -> Result<Option<Vec<bool>>, Damage> {
    let mut found = Vec::new();
    Ok(match hybrid(levels, 1, rows, &mut found)? {
        Some(1) => None,
        Some(_) => Some(vec![false; rows]),
        None => Some(found.into_iter().map(|level| level == 1).collect()),
    })
}

/// The codes of a page; all are below `entries`.
fn dictionary_codes(values: &[u8], count: usize, entries: u32, codes: &mut Vec<u32>) -> Result<(), Damage> {
    codes.clear();
    let Some((width, rest)) = values.split_first() else {
        return if count == 0 { Ok(()) } else { Err("a page has no codes".into()) };
    };
    if *width > 32 {
        return Err("codes of more than 32 bits".into());
    }
    if let Some(code) = hybrid(rest, u32::from(*width), count, codes)? {
        codes.clear();
        codes.resize(count, code);
    }
    if codes.iter().copied().max().is_some_and(|highest| highest >= entries) {
        return Err("a code is not in its dictionary".into());
    }
    Ok(())
}

/// Numbers of `width` bits in runs and packs (Parquet's RLE hybrid). When one run is all there is, its value comes back instead.
fn hybrid(mut bytes: &[u8], width: u32, count: usize, into: &mut Vec<u32>) -> Result<Option<u32>, Damage> {
    const ENDS: &str = "a page ends before its last value";
    into.clear();
    // A page of a single run may claim any count, so that memory is taken only for what is there.
    while into.len() < count {
        let header = varint(&mut bytes).ok_or(ENDS)?;
        let left = count - into.len();
        if header & 1 == 1 {
            let groups = usize::try_from(header >> 1)?;
            let packed = groups.checked_mul(width as usize).ok_or(ENDS)?;
            let take = packed.min(bytes.len());
            let (pack, rest) = bytes.split_at(take);
            let whole = if width == 0 { left } else { take * 8 / width as usize };
            unpack(pack, width, left.min(groups.saturating_mul(8)).min(whole), into);
            if take < packed && into.len() < count {
                return Err(ENDS.into());
            }
            bytes = rest;
        } else {
            let run = usize::try_from(header >> 1)?;
            let (value, rest) = bytes.split_at_checked(width.div_ceil(8) as usize).ok_or(ENDS)?;
            let mut four = [0; 4];
            four[..value.len()].copy_from_slice(value);
            let value = u32::from_le_bytes(four);
            bytes = rest;
            if run >= count && into.is_empty() {
                return Ok(Some(value));
            }
            if run == 0 {
                return Err("a run of no values".into());
            }
            into.resize(into.len() + run.min(left), value);
        }
    }
    Ok(None)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// `count` numbers of `width` bits each, least significant first.
fn unpack(pack: &[u8], width: u32, count: usize, into: &mut Vec<u32>) {
    let mask = u32::MAX.checked_shr(32 - width).unwrap_or(0);
    let width = width as usize;
    let start = into.len();
    into.resize(start + count, 0);
    let numbers = &mut into[start..];
    // Eight numbers of up to 8 bits are whole bytes, and one word holds them all; four of up to 15 begin at a half byte at most.
    let done = match width {
        0 => count,
        1..=8 => unpack_words::<8>(pack, width, mask, numbers),
        9..=15 => unpack_words::<4>(pack, width, mask, numbers),
        _ => unpack_words::<1>(pack, width, mask, numbers),
    };
    // Near the end 8 bytes cannot be read at once.
    for (at, number) in numbers.iter_mut().enumerate().skip(done) {
        let bit = at * width;
        let rest = &pack[(bit / 8).min(pack.len())..];
        let mut eight = [0; 8];
        let shown = rest.len().min(8);
        eight[..shown].copy_from_slice(&rest[..shown]);
        *number = low(u64::from_le_bytes(eight) >> (bit % 8)) & mask;
    }
}

/// Unpack `N` numbers a word as long as a word can be read; returns how many numbers.
fn unpack_words<const N: usize>(pack: &[u8], width: usize, mask: u32, numbers: &mut [u32]) -> usize {
    let mut bit = 0;
    let mut done = 0;
    for some in numbers.as_chunks_mut::<N>().0 {
        let Some(word) = pack.get(bit / 8..).and_then(<[u8]>::first_chunk) else { break };
        let word = u64::from_le_bytes(*word) >> (bit % 8);
        for (at, number) in some.iter_mut().enumerate() {
            *number = low(word >> (at * width)) & mask;
        }
        bit += N * width;
        done += N;
    }
    done
}

/// The low half of a word.
#[allow(clippy::cast_possible_truncation)] // what is above is another number's
fn low(word: u64) -> u32 {
    word as u32
}

/// Move values that stand together to the rows that have one.
fn spread<T: Copy>(values: &mut Vec<T>, valid: &[bool], null: T) {
    let mut next = values.len();
    values.resize(valid.len(), null);
    for row in (0..valid.len()).rev() {
        values[row] = if valid[row] {
            next -= 1;
            values[next]
        } else {
            null
        };
    }
}

/// Decompresses pages one after the other with one context and into one buffer.
#[derive(Default)]
struct Inflater {
    context: zstd::bulk::Decompressor<'static>,
}

impl Inflater {
    fn inflate(&mut self, page: &[u8], into: &mut Vec<u8>) -> Result<(), Damage> {
        into.clear();
        if page.is_empty() {
            return Ok(());
        }
        let announced = zstd::zstd_safe::get_frame_content_size(page).ok().flatten();
        if announced.is_some_and(|size| size > PAGE_BYTES_MAX as u64) {
            return Err("a page claims more than 1 GiB".into());
        }
        let expected = announced.and_then(|size| usize::try_from(size).ok()).unwrap_or(page.len() * 4);
        into.reserve(expected.max(1 << 10));
        loop {
            // The compression of a frame without its size is known to be too much only by trying.
            match self.context.decompress_to_buffer(page, into) {
                Ok(_) => return Ok(()),
                Err(_) if announced.is_none() && into.capacity() < PAGE_BYTES_MAX => {
                    let larger = into.capacity() * 2;
                    into.clear();
                    into.reserve_exact(larger);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{hybrid, spread, unpack};

    fn packed(numbers: &[u32], width: u32) -> Vec<u8> {
        let mut bytes = vec![0; (numbers.len() * width as usize).div_ceil(8)];
        for (at, number) in numbers.iter().enumerate() {
            for bit in 0..width {
                let place = at * width as usize + bit as usize;
                bytes[place / 8] |= u8::from(number >> bit & 1 == 1) << (place % 8);
            }
        }
        bytes
    }

    proptest! {
        /// What was packed in any width comes back, also from a pack that is cut behind its last number.
        #[test]
        fn packs_come_back(width in 0_u32..=32, numbers in prop::collection::vec(any::<u32>(), 0..100)) {
            let mask = if width == 32 { u32::MAX } else { (1 << width) - 1 };
            let numbers = numbers.into_iter().map(|number| number & mask).collect::<Vec<_>>();
            let mut found = vec![7];
            unpack(&packed(&numbers, width), width, numbers.len(), &mut found);
            prop_assert_eq!(&found[1..], &numbers[..]);
        }

        /// Arbitrary bytes never panic, and never give more than was asked.
        #[test]
        fn arbitrary_bytes_are_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..64), width in 0_u32..=32, count in 0_usize..10_000,
        ) {
            let mut found = Vec::new();
            if let Ok(single) = hybrid(&bytes, width, count, &mut found) {
                prop_assert_eq!(found.len(), if single.is_some() { 0 } else { count });
            }
        }

        /// Values go to the rows that have one.
        #[test]
        fn values_are_spread(valid in prop::collection::vec(any::<bool>(), 0..50)) {
            let mut values = (0..valid.iter().filter(|valid| **valid).count()).collect::<Vec<_>>();
            spread(&mut values, &valid, usize::MAX);
            let mut next = 0..;
            let expected = valid.iter().map(|valid| if *valid { next.next().unwrap() } else { usize::MAX });
            prop_assert_eq!(values, expected.collect::<Vec<_>>());
        }
    }

    /// Runs and packs follow one another; a single run is told as one.
    #[test]
    fn runs_and_packs_follow_one_another() {
        let mut found = Vec::new();
        // Three times 1, then eight of two bits: 0 to 3 twice, of which five are asked.
        let bytes = [6, 1, 3, 0b1110_0100, 0b1110_0100];
        assert_eq!(hybrid(&bytes, 2, 8, &mut found).unwrap(), None);
        assert_eq!(found, [1, 1, 1, 0, 1, 2, 3, 0]);
        assert_eq!(hybrid(&bytes, 2, 3, &mut found).unwrap(), Some(1));
        assert!(hybrid(&bytes, 2, 12, &mut found).is_err());
        assert!(hybrid(&[0, 1], 1, 2, &mut found).is_err());
    }
}
