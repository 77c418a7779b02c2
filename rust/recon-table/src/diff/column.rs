//! A column read run by run, from pages or from Arrow arrays.

use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::pages::{Damage, PageColumn};
use crate::attribute::AttributeColumn;

/// The code of a null.
pub(crate) const NULL: u32 = u32::MAX;

/// Where a value's content stands in its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub(crate) const NULL: Self = Self { start: 0, len: u32::MAX };

    /// Pages have at most 1 GiB, so that positions fit.
    #[inline]
    pub(crate) fn of(start: usize, len: usize) -> Self {
        let fit = |number| u32::try_from(number).unwrap_or(u32::MAX - 1);
        Self { start: fit(start), len: fit(len) }
    }

    #[inline]
    pub(crate) fn shift(&mut self, by: usize) {
        self.start += u32::try_from(by).unwrap_or(0);
    }

    #[inline]
    pub(crate) fn content(self, bytes: &[u8]) -> Option<&[u8]> {
        let start = self.start as usize;
        (self.len != u32::MAX).then(|| &bytes[start..start + self.len as usize])
    }
}

/// What codes stand for. The number changes with the contents.
#[derive(Default)]
pub(crate) struct Dictionary {
    pub(crate) spans: Vec<Span>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) number: u64,
}

impl Dictionary {
    #[inline]
    pub(crate) fn content(&self, code: u32) -> Option<&[u8]> {
        if code == NULL { None } else { self.spans[code as usize].content(&self.bytes) }
    }
}

/// Some rows of a column, one after the other.
pub(crate) enum Run<'a> {
    /// Codes of a dictionary.
    Codes { codes: &'a [u32], dictionary: &'a Dictionary },
    /// Contents in a page.
    Spans { spans: &'a [Span], bytes: &'a [u8] },
    /// Values of an array.
    Values { column: &'a AttributeColumn, start: usize, len: usize },
}

impl Run<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Codes { codes, .. } => codes.len(),
            Self::Spans { spans, .. } => spans.len(),
            Self::Values { len, .. } => *len,
        }
    }

    /// Hand each row's content to `take`, with its place in the run.
    #[inline]
    pub(crate) fn each(&self, mut take: impl FnMut(usize, Option<&[u8]>)) {
        match self {
            Self::Codes { codes, dictionary } => {
                codes.iter().enumerate().for_each(|(at, code)| take(at, dictionary.content(*code)));
            }
            Self::Spans { spans, bytes } => {
                spans.iter().enumerate().for_each(|(at, span)| take(at, span.content(bytes)));
            }
            Self::Values { column, start, len } => column.each(*start, *len, take),
        }
    }

    /// Hand the content of some rows to `take`, by their places in the run.
    #[inline]
    pub(crate) fn pick(&self, places: impl Iterator<Item = usize>, mut take: impl FnMut(Option<&[u8]>)) {
        match self {
            Self::Codes { codes, dictionary } => places.for_each(|at| take(dictionary.content(codes[at]))),
            Self::Spans { spans, bytes } => places.for_each(|at| take(spans[at].content(bytes))),
            Self::Values { column, start, .. } => {
                places.for_each(|at| column.each(start + at, 1, |_, content| take(content)));
            }
        }
    }
}

/// A column of one unit.
pub(crate) enum Column<'a> {
    Pages(Box<PageColumn>),
    Arrays(Box<ArrayColumn<'a>>),
}

impl Column<'_> {
    /// The next rows, `rows_max` at most; `None` at the end.
    pub(crate) fn next(&mut self, rows_max: usize) -> Result<Option<Run<'_>>, Damage> {
        match self {
            Self::Pages(pages) => pages.next(rows_max),
            Self::Arrays(arrays) => arrays.next(rows_max),
        }
    }

    /// The next `rows` rows, run by run: `take` gets the place of a run's first row from 0, and the run.
    pub(crate) fn rows(
        &mut self,
        rows: usize,
        mut take: impl FnMut(usize, &Run<'_>) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let mut at = 0;
        while at < rows {
            let run = self.next(rows - at)?.ok_or("a row group says more rows than it has")?;
            take(at, &run)?;
            at += run.len();
        }
        Ok(())
    }
}

/// Arrays of one column, one after the other.
pub(crate) struct ArrayColumn<'a> {
    name: &'a str,
    reader: Option<ParquetRecordBatchReader>,
    current: AttributeColumn,
    at: usize,
    end: usize,
}

impl<'a> ArrayColumn<'a> {
    /// Rows of one array.
    pub(crate) fn of(name: &'a str, column: AttributeColumn, start: usize, len: usize) -> Self {
        Self { name, reader: None, current: column, at: start, end: start + len }
    }

    /// What a reader of this one column brings.
    pub(crate) fn read(name: &'a str, reader: ParquetRecordBatchReader) -> Self {
        let current = AttributeColumn::Bytes(crate::bytes_column::BytesColumn::Null(0));
        Self { name, reader: Some(reader), current, at: 0, end: 0 }
    }

    fn next(&mut self, rows_max: usize) -> Result<Option<Run<'_>>, Damage> {
        while self.at == self.end {
            let Some(batch) = self.reader.as_mut().and_then(Iterator::next).transpose()? else { return Ok(None) };
            self.current = AttributeColumn::of(self.name, batch.column(0))?;
            (self.at, self.end) = (0, self.current.len());
        }
        let (start, len) = (self.at, rows_max.min(self.end - self.at));
        self.at += len;
        Ok(Some(Run::Values { column: &self.current, start, len }))
    }
}
