//! `trim_offsets`: blanks at the ends of a token are not among its characters.

/// The blanks at the beginning and at the end of each id's token.
#[derive(Clone, Debug)]
pub struct Trims(Vec<(u16, u16)>);

/// The blanks at the beginning and at the end of a token, as HF's `process_offsets` counts them: the letter that stands for a
/// blank, and blanks.
pub fn blanks_of(token: &str) -> (usize, usize) {
    let blank = |letter: &char| *letter == 'Ġ' || letter.is_whitespace();
    (token.chars().take_while(blank).count(), token.chars().rev().take_while(blank).count())
}

impl Trims {
    /// Of the tokens of `count` ids.
    pub fn new<'t>(count: usize, token: impl Fn(usize) -> Option<&'t str>) -> Self {
        let most = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let entry = |id| {
            let (leading, trailing) = token(id).map_or((0, 0), blanks_of);
            (most(leading), most(trailing))
        };
        Self((0..count).map(entry).collect())
    }

    /// Takes the blanks off the ranges of ids.
    pub fn apply(&self, ids: &[u32], ranges: &mut [(u32, u32)]) {
        for (&id, (start, end)) in ids.iter().zip(ranges) {
            let &(leading, trailing) = self.0.get(id as usize).unwrap_or(&(0, 0));
            if leading > 0 {
                *start = (*start + u32::from(leading)).min(*end);
            }
            if trailing > 0 && *end >= u32::from(trailing) {
                *end = (*end - u32::from(trailing)).max(*start);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_taken_off_both_ends() {
        let tokens = ["ĠHiĠ", "ĠĠ"];
        let trims = Trims::new(2, |id| tokens.get(id).copied());
        let mut ranges = [(0, 4), (4, 6)];
        trims.apply(&[0, 1], &mut ranges);
        assert_eq!(ranges, [(1, 3), (6, 6)]);
    }
}
