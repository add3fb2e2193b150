//! The tokens that have characters of the caller's data.

/// The control tokens among `ids` that touch characters of `data`: their indices.
///
/// # Arguments
/// `ranges`: the characters of each token. `is_control`: by id; ids past its end are none. `data`: half-open ranges of
/// characters, in order. A token without characters touches those around it.
pub fn control_tokens_in(ids: &[i64], ranges: &[(u32, u32)], is_control: &[bool], data: &[(u32, u32)]) -> Vec<usize> {
    let is_control = |id: i64| usize::try_from(id).ok().and_then(|id| is_control.get(id)).copied().unwrap_or(false);
    let touches = |(start, end): (u32, u32)| {
        let (start, end) = if start < end { (start, end) } else { (start.saturating_sub(1), end.saturating_add(1)) };
        let next = data.partition_point(|range| range.1 <= start);
        data.get(next).is_some_and(|range| range.0 < end)
    };
    let tokens = std::iter::zip(ids, ranges).enumerate();
    tokens.filter(|(_, (id, range))| is_control(**id) && touches(**range)).map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_is_enough() {
        let is_control = [false, true];
        let found = |range, data: &[(u32, u32)]| control_tokens_in(&[1], &[range], &is_control, data) == [0];
        assert!(found((2, 6), &[(0, 1), (5, 9)]));
        assert!(found((2, 6), &[(0, 3)]));
        assert!(!found((2, 6), &[(0, 2), (6, 7)]));
        assert!(!found((2, 6), &[]));
        // What stands for no character is its neighbours'.
        assert!(found((2, 2), &[(1, 2)]) && found((2, 2), &[(2, 3)]) && !found((2, 2), &[(4, 5)]));
    }

    #[test]
    fn other_ids_do_not_count() {
        let ranges = [(0, 1), (1, 2), (2, 3), (3, 4)];
        assert_eq!(control_tokens_in(&[0, 1, 7, -1], &ranges, &[false, true], &[(0, 4)]), [1]);
    }
}
