//! String and binary columns in every layout Arrow has, read as bytes.

use arrow_array::cast::AsArray;
use arrow_array::types::{ByteArrayType, ByteViewType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, FixedSizeBinaryArray, GenericByteArray, GenericByteViewArray,
    LargeBinaryArray, LargeStringArray, StringArray, StringViewArray,
};
use arrow_schema::DataType;
use arrow_select::take::take;

/// A column of strings or bytes; dictionaries are unpacked, and a column of the null type is all null.
pub(crate) enum BytesColumn {
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Utf8View(StringViewArray),
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
    BinaryView(BinaryViewArray),
    FixedSizeBinary(FixedSizeBinaryArray),
    Null(usize),
}

/// Whether a type holds strings, in any layout.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Whether a type holds bytes that are not text, in any layout.
pub(crate) fn is_binary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::Dictionary(_, values) => is_binary(values),
        _ => false,
    }
}

impl BytesColumn {
    /// The column, or `None` when the array is neither strings nor bytes nor of the null type.
    pub(crate) fn of(array: &ArrayRef) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Utf8 => Self::Utf8(array.as_string().clone()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string().clone()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view().clone()),
            DataType::Binary => Self::Binary(array.as_binary().clone()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary().clone()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => Self::FixedSizeBinary(array.as_fixed_size_binary().clone()),
            DataType::Null => Self::Null(array.len()),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary_opt()?;
                return Self::of(&take(dictionary.values(), dictionary.keys(), None).ok()?);
            }
            _ => return None,
        })
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Utf8(array) => array.len(),
            Self::LargeUtf8(array) => array.len(),
            Self::Utf8View(array) => array.len(),
            Self::Binary(array) => array.len(),
            Self::LargeBinary(array) => array.len(),
            Self::BinaryView(array) => array.len(),
            Self::FixedSizeBinary(array) => array.len(),
            Self::Null(len) => *len,
        }
    }

    /// The bytes of a row; `None` where it is null.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Utf8(array) => value(array, row),
            Self::LargeUtf8(array) => value(array, row),
            Self::Utf8View(array) => view(array, row),
            Self::Binary(array) => value(array, row),
            Self::LargeBinary(array) => value(array, row),
            Self::BinaryView(array) => view(array, row),
            Self::FixedSizeBinary(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Null(_) => None,
        }
    }

    /// The text of a row; `None` where it is null, or bytes that are no UTF-8.
    #[inline]
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Utf8(array) => array.is_valid(row).then(|| array.value(row)),
            Self::LargeUtf8(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Utf8View(array) => array.is_valid(row).then(|| array.value(row)),
            bytes => bytes.get(row).and_then(|bytes| std::str::from_utf8(bytes).ok()),
        }
    }

    /// Every row in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        (0..self.len()).map(|row| self.get(row))
    }
}

#[inline]
fn value<T: ByteArrayType>(array: &GenericByteArray<T>, row: usize) -> Option<&[u8]> {
    array.is_valid(row).then(|| AsRef::<[u8]>::as_ref(array.value(row)))
}

#[inline]
fn view<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>, row: usize) -> Option<&[u8]> {
    array.is_valid(row).then(|| AsRef::<[u8]>::as_ref(array.value(row)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int8Type;
    use arrow_array::{
        ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, LargeBinaryArray,
        LargeStringArray, NullArray, StringArray, StringViewArray,
    };

    use super::BytesColumn;

    fn layouts(values: &[Option<&str>]) -> Vec<ArrayRef> {
        let bytes = values.iter().map(|value| value.map(str::as_bytes)).collect::<Vec<_>>();
        let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes.iter().copied(), 2).unwrap();
        vec![
            Arc::new(values.iter().copied().collect::<StringArray>()),
            Arc::new(values.iter().copied().collect::<LargeStringArray>()),
            Arc::new(values.iter().copied().collect::<StringViewArray>()),
            Arc::new(values.iter().copied().collect::<DictionaryArray<Int8Type>>()),
            Arc::new(bytes.iter().copied().collect::<BinaryArray>()),
            Arc::new(bytes.iter().copied().collect::<LargeBinaryArray>()),
            Arc::new(bytes.iter().copied().collect::<BinaryViewArray>()),
            Arc::new(fixed),
        ]
    }

    /// Every layout reads as the same bytes, also as a slice of a longer column.
    #[test]
    fn layouts_read_alike() {
        let values = [Some("ab"), None, Some("cd"), Some("ab")];
        for array in layouts(&values) {
            let column = BytesColumn::of(&array).unwrap();
            let read = column.iter().map(|value| value.map(<[u8]>::to_vec)).collect::<Vec<_>>();
            let expected = values.map(|value| value.map(|text| text.as_bytes().to_vec()));
            assert_eq!(read, expected, "{}", array.data_type());
            let tail = BytesColumn::of(&array.slice(1, 2)).unwrap();
            assert_eq!((tail.len(), tail.get(0), tail.text(1)), (2, None, Some("cd")), "{}", array.data_type());
        }
    }

    /// A column without a type is all null; one of another type is none.
    #[test]
    fn other_types_are_no_bytes() {
        let nulls: ArrayRef = Arc::new(NullArray::new(3));
        let column = BytesColumn::of(&nulls).unwrap();
        assert_eq!((column.len(), column.get(2)), (3, None));
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        assert!(BytesColumn::of(&flags).is_none());
    }
}
