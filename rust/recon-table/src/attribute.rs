//! Attribute columns: values of any layout as their content, and contents as one layout each.
//!
//! What a value's content is, `recon_core::row_digest` says: two layouts of one value have the same content.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Int64Builder, LargeBinaryBuilder, LargeStringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, make_array};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder};
use arrow_data::ArrayDataBuilder;
use arrow_schema::DataType;

use crate::TableError;
use crate::bytes_column::{BytesColumn, is_binary, is_text};
use crate::columns::integers;

/// What an attribute holds, whatever its layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttributeKind {
    Text,
    Binary,
    Boolean,
    Integer,
    /// Values of so many bytes each: dates, times, floats, decimals.
    Fixed(DataType, usize),
}

const ACCEPTED: &str = "strings, bytes, booleans, numbers, dates or times";

impl AttributeKind {
    /// The kind of a type; `None` for the null type, which goes with every kind.
    pub(crate) fn of(column: &str, data_type: &DataType) -> Result<Option<Self>, TableError> {
        let value_type = match data_type {
            DataType::Dictionary(_, values) => values.as_ref(),
            other => other,
        };
        Ok(Some(match value_type {
            found if is_text(found) => Self::Text,
            found if is_binary(found) => Self::Binary,
            DataType::Boolean => Self::Boolean,
            found if found.is_integer() => Self::Integer,
            DataType::Null => return Ok(None),
            found => match found.primitive_width() {
                Some(width) => Self::Fixed(found.clone(), width),
                None => return Err(TableError::wrong_type(column, ACCEPTED, data_type)),
            },
        }))
    }

    /// The kind of one column on two sides.
    pub(crate) fn shared(column: &str, source: &DataType, directory: &DataType) -> Result<Self, TableError> {
        match (Self::of(column, source)?, Self::of(column, directory)?) {
            (Some(one), Some(other)) if one != other => Err(TableError::Column {
                problem: format!("the two sides have different types, {source} and {directory}"),
                column: column.to_owned(),
            }),
            (one, other) => Ok(one.or(other).unwrap_or(Self::Text)),
        }
    }

    /// The layout in which values of this kind leave.
    pub(crate) fn layout(&self) -> DataType {
        match self {
            Self::Text => DataType::LargeUtf8,
            Self::Binary => DataType::LargeBinary,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Fixed(data_type, _) => data_type.clone(),
        }
    }
}

/// A column of an attribute in memory.
pub(crate) enum AttributeColumn {
    Bytes(BytesColumn),
    Boolean(BooleanArray),
    Integer(Int64Array),
    Fixed { bytes: Buffer, width: usize, nulls: Option<NullBuffer> },
}

impl AttributeColumn {
    /// The column. Fails for a type that is no attribute's, and for an integer over the bounds of 64 bits with sign.
    pub(crate) fn of(name: &str, array: &ArrayRef) -> Result<Self, TableError> {
        if let Some(bytes) = BytesColumn::of(array) {
            return Ok(Self::Bytes(bytes));
        }
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            return Self::of(name, &arrow_select::take::take(dictionary.values(), dictionary.keys(), None)?);
        }
        if let Some(integers) = integers(array) {
            return integers.map(Self::Integer).map_err(|_| TableError::Column {
                problem: "an integer is over the bounds of 64 bits".to_owned(),
                column: name.to_owned(),
            });
        }
        match array.data_type() {
            DataType::Boolean => Ok(Self::Boolean(array.as_boolean().clone())),
            found => {
                let width =
                    found.primitive_width().ok_or_else(|| TableError::wrong_type(name, ACCEPTED, array.data_type()))?;
                let data = array.to_data();
                let bytes = data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width);
                Ok(Self::Fixed { bytes, width, nulls: data.nulls().cloned() })
            }
        }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(column) => column.len(),
            Self::Boolean(array) => array.len(),
            Self::Integer(array) => array.len(),
            Self::Fixed { bytes, width, .. } => bytes.len() / width,
        }
    }

    /// Hand the content of each row from `start` to `take`, which also gets its place from 0.
    #[inline]
    pub(crate) fn each(&self, start: usize, len: usize, mut take: impl FnMut(usize, Option<&[u8]>)) {
        match self {
            Self::Bytes(column) => (0..len).for_each(|at| take(at, column.get(start + at))),
            Self::Boolean(array) => (0..len).for_each(|at| {
                let row = start + at;
                take(at, array.is_valid(row).then(|| [u8::from(array.value(row))]).as_ref().map(<[u8; 1]>::as_slice));
            }),
            Self::Integer(array) => (0..len).for_each(|at| {
                let row = start + at;
                take(at, array.is_valid(row).then(|| array.value(row).to_le_bytes()).as_ref().map(<[u8; 8]>::as_slice));
            }),
            Self::Fixed { bytes, width, nulls } => (0..len).for_each(|at| {
                let row = start + at;
                let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                take(at, valid.then(|| &bytes[row * width..(row + 1) * width]));
            }),
        }
    }
}

/// An array under construction, of contents of one kind.
pub(crate) enum Building {
    Text(LargeStringBuilder),
    Binary(LargeBinaryBuilder),
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Fixed { data_type: DataType, width: usize, bytes: Vec<u8>, nulls: NullBufferBuilder },
}

impl Building {
    pub(crate) fn of(kind: &AttributeKind) -> Self {
        match kind {
            AttributeKind::Text => Self::Text(LargeStringBuilder::new()),
            AttributeKind::Binary => Self::Binary(LargeBinaryBuilder::new()),
            AttributeKind::Boolean => Self::Boolean(BooleanBuilder::new()),
            AttributeKind::Integer => Self::Integer(Int64Builder::new()),
            AttributeKind::Fixed(data_type, width) => Self::Fixed {
                data_type: data_type.clone(),
                width: *width,
                bytes: Vec::new(),
                nulls: NullBufferBuilder::new(1_024),
            },
        }
    }

    /// Add a value by its content. Text that is no UTF-8 is an error of the file it came from.
    pub(crate) fn push(&mut self, content: Option<&[u8]>) -> Result<(), TableError> {
        match self {
            Self::Text(built) => match content {
                None => built.append_null(),
                Some(content) => built.append_value(std::str::from_utf8(content).map_err(|_| not_utf8())?),
            },
            Self::Binary(built) => built.append_option(content),
            Self::Boolean(built) => built.append_option(content.map(|content| content != [0])),
            Self::Integer(built) => {
                let number = content.and_then(|content| content.try_into().ok()).map(i64::from_le_bytes);
                built.append_option(number);
            }
            Self::Fixed { width, bytes, nulls, .. } => {
                nulls.append(content.is_some());
                match content {
                    Some(content) => bytes.extend_from_slice(content),
                    None => bytes.resize(bytes.len() + *width, 0),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<ArrayRef, TableError> {
        Ok(match self {
            Self::Text(mut built) => Arc::new(built.finish()),
            Self::Binary(mut built) => Arc::new(built.finish()),
            Self::Boolean(mut built) => Arc::new(built.finish()),
            Self::Integer(mut built) => Arc::new(built.finish()),
            Self::Fixed { data_type, width, bytes, mut nulls } => {
                let data = ArrayDataBuilder::new(data_type)
                    .len(bytes.len() / width)
                    .add_buffer(Buffer::from_vec(bytes))
                    .nulls(nulls.finish())
                    .align_buffers(true)
                    .build()?;
                make_array(data)
            }
        })
    }
}

fn not_utf8() -> TableError {
    TableError::Arrow(arrow_schema::ArrowError::InvalidArgumentError("a text is not UTF-8".to_owned()))
}

/// An array of these contents.
pub(crate) fn array_of<'a>(
    kind: &AttributeKind,
    contents: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<ArrayRef, TableError> {
    let mut built = Building::of(kind);
    for content in contents {
        built.push(content)?;
    }
    built.finish()
}
