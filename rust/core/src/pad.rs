//! Rows of a batch → padded arrays.

/// Rows of different lengths, and what stands where a row has nothing.
#[derive(Clone, Debug)]
pub struct Rows<'r> {
    /// The rows.
    pub rows: Vec<&'r [i64]>,
    /// What the rest of their width is filled with.
    pub fill: i64,
}

/// The rows as one array `[B, width]`, row by row. No row is longer. None where there is no memory for so many columns.
pub fn pad(set: &Rows<'_>, width: usize, on_left: bool) -> Option<Vec<i64>> {
    let count = set.rows.len().checked_mul(width)?;
    let mut array = Vec::new();
    array.try_reserve_exact(count).ok()?;
    for row in &set.rows {
        let end = array.len() + width;
        if on_left {
            array.resize(end - row.len(), set.fill);
        }
        array.extend_from_slice(row);
        array.resize(end, set.fill);
    }
    Some(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_filled_on_either_side() {
        let set = Rows { rows: vec![&[1, 2, 3], &[4], &[]], fill: 9 };
        assert_eq!(pad(&set, 3, false).unwrap(), [1, 2, 3, 4, 9, 9, 9, 9, 9]);
        assert_eq!(pad(&set, 3, true).unwrap(), [1, 2, 3, 9, 9, 4, 9, 9, 9]);
        assert_eq!(pad(&Rows { rows: vec![&[], &[]], fill: 9 }, 0, true).unwrap(), [0; 0]);
    }

    #[test]
    fn a_width_without_memory_is_none() {
        let set = Rows { rows: vec![&[1, 2], &[3]], fill: 9 };
        assert_eq!(pad(&set, usize::MAX, false), None);
        assert_eq!(pad(&set, usize::MAX / 16, false), None);
    }
}
