//! Columns gathered from streams, and integers of any width.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, Int64Array, new_empty_array, new_null_array};
use arrow_schema::{ArrowError, DataType};
use arrow_select::concat::concat;

use crate::TableError;

/// All chunks of a column as one array; a single chunk is not copied.
///
/// # Errors
/// When the stream fails, or the chunks together exceed what one array's offsets can address.
pub fn gathered(
    chunks: impl Iterator<Item = Result<ArrayRef, ArrowError>>,
    data_type: &DataType,
) -> Result<ArrayRef, TableError> {
    let mut chunks = chunks.collect::<Result<Vec<_>, _>>()?;
    match chunks.len() {
        0 => Ok(new_empty_array(data_type)),
        1 => Ok(chunks.swap_remove(0)),
        _ => {
            let borrowed = chunks.iter().map(AsRef::as_ref).collect::<Vec<_>>();
            Ok(concat(&borrowed)?)
        }
    }
}

/// A column of integers in 64 bits with sign; a column of the null type is all null.
///
/// `None` when the column holds no integers; the inner error when one is over the bounds.
pub(crate) fn integers(array: &ArrayRef) -> Option<Result<Int64Array, ArrowError>> {
    Some(match array.data_type() {
        DataType::Int8 => Ok(widened::<Int8Type>(array)),
        DataType::Int16 => Ok(widened::<Int16Type>(array)),
        DataType::Int32 => Ok(widened::<Int32Type>(array)),
        DataType::Int64 => Ok(array.as_primitive::<Int64Type>().clone()),
        DataType::UInt8 => Ok(widened::<UInt8Type>(array)),
        DataType::UInt16 => Ok(widened::<UInt16Type>(array)),
        DataType::UInt32 => Ok(widened::<UInt32Type>(array)),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().try_unary(|number| {
            i64::try_from(number).map_err(|_| ArrowError::ComputeError("an integer is over its bounds".to_owned()))
        }),
        DataType::Null => Ok(new_null_array(&DataType::Int64, array.len()).as_primitive().clone()),
        _ => return None,
    })
}

fn widened<T: ArrowPrimitiveType>(array: &ArrayRef) -> Int64Array
where
    T::Native: Into<i64>,
{
    array.as_primitive::<T>().unary(Into::into)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Array, ArrayRef, Int8Array, Int32Array, StringArray, UInt64Array};
    use arrow_schema::DataType;

    use super::{gathered, integers};

    /// Chunks become one column in order; no chunk becomes an empty one.
    #[test]
    fn chunks_are_gathered_in_order() {
        let chunk = |numbers: &[i32]| Ok(Arc::new(Int32Array::from(numbers.to_vec())) as ArrayRef);
        let whole = gathered([chunk(&[1]), chunk(&[]), chunk(&[2, 3])].into_iter(), &DataType::Int32).unwrap();
        assert_eq!(whole.as_ref(), &Int32Array::from(vec![1, 2, 3]) as &dyn Array);
        assert_eq!(gathered(std::iter::empty(), &DataType::Utf8).unwrap().data_type(), &DataType::Utf8);
    }

    /// Any width widens; what does not fit is an error and what is no integer is none.
    #[test]
    fn integers_widen_or_fail() {
        let small: ArrayRef = Arc::new(Int8Array::from(vec![Some(-1), None]));
        let wide = integers(&small).unwrap().unwrap();
        assert_eq!(wide.iter().collect::<Vec<_>>(), [Some(-1), None]);
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert!(integers(&large).unwrap().is_err());
        let text: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
        assert!(integers(&text).is_none());
    }
}
