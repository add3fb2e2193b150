//! One row of columns for a student and a teacher: the `aligned` layout.
//!
//! The in-loss blocks stand in the same columns on both sides. Between them, tokens that both sides have share a
//! column, and a token that only one side has leaves a hole on the other. The token in front of a block predicts
//! the block's first token, so it stands right before it on both sides, and a hole goes in front of that token.

use crate::error::Error;
use crate::span::TokenSpan;

/// For each token of either side its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The columns of the student's tokens, rising.
    pub student: Vec<usize>,
    /// The columns of the teacher's tokens, rising.
    pub teacher: Vec<usize>,
    /// How many columns there are.
    pub width: usize,
}

/// Puts two rows into one set of columns; `blocks` are the in-loss tokens on the student's and the teacher's side.
///
/// # Errors
/// [`Error::Alignment`] with the block's index where blocks are out of order or out of the row, are empty, have
/// other ids on the two sides, or where only one side has a token of its own in front of the block.
pub fn align_columns(student: &[i64], teacher: &[i64], blocks: &[(TokenSpan, TokenSpan)]) -> Result<Columns, Error> {
    let mut columns = Columns { student: Vec::new(), teacher: Vec::new(), width: 0 };
    let (mut s, mut t) = (0, 0);
    for (block_index, &(on_student, on_teacher)) in blocks.iter().enumerate() {
        let refuse = |reason: &str| Error::Alignment {
            block_index,
            student: on_student,
            teacher: on_teacher,
            reason: reason.into(),
        };
        let (Some(before_student), Some(before_teacher), Some(student_ids), Some(teacher_ids)) = (
            student.get(s..on_student.start()),
            teacher.get(t..on_teacher.start()),
            student.get(on_student.range()),
            teacher.get(on_teacher.range()),
        ) else {
            return Err(refuse("it is out of the row, or before the block in front of it"));
        };
        if on_student.is_empty() {
            return Err(refuse("it has no tokens"));
        }
        if student_ids != teacher_ids {
            return Err(refuse("the two sides have other ids there"));
        }
        if before_student.is_empty() != before_teacher.is_empty() {
            return Err(refuse("only one side has a token in front of it, which its first token is predicted from"));
        }
        columns.between(before_student, before_teacher, 1);
        columns.shared(student_ids.len());
        (s, t) = (on_student.end(), on_teacher.end());
    }
    columns.between(&student[s..], &teacher[t..], 0);
    Ok(columns)
}

impl Columns {
    /// Columns for the tokens between two blocks, of which the last `side_by_side` share columns whatever their ids.
    fn between(&mut self, student: &[i64], teacher: &[i64], side_by_side: usize) {
        let shorter = student.len().min(teacher.len());
        // The beginning first, so that the hole is where the rows part: in front of the hint, not within a message.
        let most = shorter - side_by_side.min(shorter);
        let prefix = std::iter::zip(student, teacher).take(most).take_while(|(a, b)| a == b).count();
        let equal_end = std::iter::zip(student.iter().rev(), teacher.iter().rev()).take_while(|(a, b)| a == b).count();
        let suffix = equal_end.max(side_by_side).min(shorter - prefix);
        self.shared(prefix);
        let (only_student, only_teacher) = (student.len() - prefix - suffix, teacher.len() - prefix - suffix);
        self.student.extend(self.width..self.width + only_student);
        self.width += only_student;
        self.teacher.extend(self.width..self.width + only_teacher);
        self.width += only_teacher;
        self.shared(suffix);
    }

    fn shared(&mut self, count: usize) {
        let columns = self.width..self.width + count;
        self.student.extend(columns.clone());
        self.teacher.extend(columns);
        self.width += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both rows as text, one letter a token and `.` for a hole.
    fn show(student: &str, teacher: &str, block: &str) -> Result<[String; 2], String> {
        let ids = |text: &str| text.bytes().map(i64::from).collect::<Vec<_>>();
        let span = |text: &str| TokenSpan::with_len(text.find(block).expect("the block is in the row"), block.len());
        let columns = align_columns(&ids(student), &ids(teacher), &[(span(student), span(teacher))])
            .map_err(|e| e.to_string())?;
        Ok([(student, &columns.student), (teacher, &columns.teacher)].map(|(text, at)| {
            let mut row = vec!['.'; columns.width];
            for (letter, column) in text.chars().zip(at) {
                row[*column] = letter;
            }
            row.into_iter().collect()
        }))
    }

    #[test]
    fn a_hint_leaves_a_hole_in_front_of_the_header() {
        // u: a user's message, h: a header, H: a hint, R: the recovery, e: its end
        assert_eq!(show("uuhRRe", "uuHHhRRe", "RR").unwrap(), ["uu..hRRe", "uuHHhRRe"]);
    }

    #[test]
    fn without_a_header_the_hole_moves_in_front_of_the_last_shared_token() {
        assert_eq!(show("uueRR", "uueHHeRR", "RR").unwrap(), ["uu...eRR", "uueHHeRR"]);
        // Even where the hint's last token is another one.
        assert_eq!(show("uuRR", "uuHHRR", "RR").unwrap(), ["u..uRR", "uuHHRR"]);
        assert_eq!(show("uRR", "uHHRR", "RR").unwrap(), ["..uRR", "uHHRR"]);
    }

    #[test]
    fn tokens_that_came_out_different_stand_in_columns_of_their_own() {
        assert_eq!(show("ua]hRRe", "uAHH]hRRe", "RR").unwrap(), ["ua...]hRRe", "u.AHH]hRRe"]);
    }

    #[test]
    fn a_block_that_only_one_side_can_predict_is_refused() {
        let message = show("RRe", "HRRe", "RR").unwrap_err();
        assert!(message.contains("block 0") && message.contains("only one side has a token in front"), "{message}");
        assert_eq!(show("RRe", "RRxe", "RR").unwrap(), ["RR.e", "RRxe"]);
    }
}
