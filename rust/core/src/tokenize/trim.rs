//! `trim_offsets`: blanks at the ends of a token are not among its characters.

/// The blanks at the beginning and at the end of each id's token, as far as a byte counts.
#[derive(Clone, Debug)]
pub struct Trims(Vec<(u8, u8)>);

impl Trims {
    /// Of the tokens of `count` ids.
    pub fn new<'t>(count: usize, token: impl Fn(usize) -> Option<&'t str>) -> Self {
        // As HF's `process_offsets` counts them: the letter that stands for a blank, and blanks.
        let blank = |letter: &char| *letter == 'Ġ' || letter.is_whitespace();
        let most = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        let entry = |id| {
            token(id).map_or((0, 0), |token: &str| {
                let leading = token.chars().take_while(blank).count();
                let trailing = token.chars().rev().take_while(blank).count();
                (most(leading), most(trailing))
            })
        };
        Self((0..count).map(entry).collect())
    }

    /// Takes the blanks off the ranges of ids.
    pub fn apply<Id: Copy>(&self, ids: &[Id], ranges: &mut [(u32, u32)])
    where
        usize: TryFrom<Id>,
    {
        for (&id, (start, end)) in ids.iter().zip(ranges) {
            let blanks = usize::try_from(id).ok().and_then(|id| self.0.get(id));
            let &(leading, trailing) = blanks.unwrap_or(&(0, 0));
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
        trims.apply(&[0_u32, 1], &mut ranges);
        assert_eq!(ranges, [(1, 3), (6, 6)]);
    }
}
