//! Attribute columns: strings, bytes, booleans and integers of any width, read as values and written in one layout each.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Int64Builder, LargeBinaryBuilder, LargeStringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow_schema::DataType;
use recon_core::row_digest::Value;

use crate::TableError;
use crate::bytes_column::{BytesColumn, is_binary, is_text};
use crate::columns::integers;

/// What an attribute holds, whatever its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributeKind {
    Text,
    Binary,
    Boolean,
    Integer,
}

impl AttributeKind {
    /// The kind of a type; `None` for the null type, which goes with every kind.
    fn of(column: &str, data_type: &DataType) -> Result<Option<Self>, TableError> {
        Ok(Some(match data_type {
            found if is_text(found) => Self::Text,
            found if is_binary(found) => Self::Binary,
            DataType::Boolean => Self::Boolean,
            found if found.is_integer() => Self::Integer,
            DataType::Null => return Ok(None),
            found => return Err(TableError::wrong_type(column, "strings, bytes, booleans or integers", found)),
        }))
    }

    /// The kind of one column on two sides.
    pub(crate) fn shared(column: &str, desired: &DataType, observed: &DataType) -> Result<Self, TableError> {
        match (Self::of(column, desired)?, Self::of(column, observed)?) {
            (Some(one), Some(other)) if one != other => Err(TableError::Column {
                problem: format!("the two sides have different types, {desired} and {observed}"),
                column: column.to_owned(),
            }),
            (one, other) => Ok(one.or(other).unwrap_or(Self::Text)),
        }
    }

    /// The layout in which values of this kind leave.
    pub(crate) fn layout(self) -> DataType {
        match self {
            Self::Text => DataType::LargeUtf8,
            Self::Binary => DataType::LargeBinary,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
        }
    }
}

/// A column of an attribute.
pub(crate) enum AttributeColumn {
    Bytes(BytesColumn),
    Boolean(BooleanArray),
    Integer(Int64Array),
}

impl AttributeColumn {
    /// The column. Fails for a type that is no attribute's, and for an integer over the bounds of 64 bits with sign.
    pub(crate) fn of(name: &str, array: &ArrayRef) -> Result<Self, TableError> {
        if let Some(bytes) = BytesColumn::of(array) {
            return Ok(Self::Bytes(bytes));
        }
        if let Some(integers) = integers(array) {
            return integers.map(Self::Integer).map_err(|_| TableError::Column {
                problem: "an integer is over the bounds of 64 bits".to_owned(),
                column: name.to_owned(),
            });
        }
        match array.data_type() {
            DataType::Boolean => Ok(Self::Boolean(array.as_boolean().clone())),
            found => Err(TableError::wrong_type(name, "strings, bytes, booleans or integers", found)),
        }
    }

    /// The value of a row.
    #[inline]
    pub(crate) fn value(&self, row: usize) -> Value<'_> {
        match self {
            Self::Bytes(column) => column.get(row).map_or(Value::Null, Value::Bytes),
            Self::Boolean(array) if array.is_valid(row) => Value::Boolean(array.value(row)),
            Self::Integer(array) if array.is_valid(row) => Value::Integer(array.value(row)),
            Self::Boolean(_) | Self::Integer(_) => Value::Null,
        }
    }
}

/// An array of these values in the kind's layout. Values of another kind cannot occur and would be null.
pub(crate) fn array_of<'a>(kind: AttributeKind, values: impl Iterator<Item = Value<'a>>) -> ArrayRef {
    match kind {
        AttributeKind::Text => {
            let mut built = LargeStringBuilder::new();
            for value in values {
                built.append_option(text(value));
            }
            Arc::new(built.finish())
        }
        AttributeKind::Binary => {
            let mut built = LargeBinaryBuilder::new();
            for value in values {
                built.append_option(if let Value::Bytes(bytes) = value { Some(bytes) } else { None });
            }
            Arc::new(built.finish())
        }
        AttributeKind::Boolean => {
            let mut built = BooleanBuilder::new();
            for value in values {
                built.append_option(if let Value::Boolean(flag) = value { Some(flag) } else { None });
            }
            Arc::new(built.finish())
        }
        AttributeKind::Integer => {
            let mut built = Int64Builder::new();
            for value in values {
                built.append_option(if let Value::Integer(number) = value { Some(number) } else { None });
            }
            Arc::new(built.finish())
        }
    }
}

/// The text of a value. Bytes of a text column are UTF-8 because Arrow checked them.
fn text(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}
