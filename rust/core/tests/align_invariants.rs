//! What a student and a teacher in common columns promise, on random rows.

use chatspan_core::pairs::columns::align_columns;
use chatspan_core::span::TokenSpan;
use proptest::prelude::*;

/// Rows out of pieces: scaffold of either side and blocks that both have. Few ids, so that ends and beginnings agree.
fn rows() -> impl Strategy<Value = (Vec<i64>, Vec<i64>, Vec<(TokenSpan, TokenSpan)>)> {
    let ids = |from: usize, most: usize| proptest::collection::vec(0..3_i64, from..most);
    (proptest::collection::vec((ids(1, 5), ids(1, 7), ids(1, 4)), 0..4), ids(0, 4), ids(0, 4)).prop_map(
        |(parts, end_s, end_t)| {
            let (mut student, mut teacher, mut blocks) = (vec![], vec![], vec![]);
            for (before_s, before_t, block) in parts {
                student.extend(before_s);
                teacher.extend(before_t);
                blocks.push((
                    TokenSpan::with_len(student.len(), block.len()),
                    TokenSpan::with_len(teacher.len(), block.len()),
                ));
                student.extend(&block);
                teacher.extend(&block);
            }
            student.extend(end_s);
            teacher.extend(end_t);
            (student, teacher, blocks)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn blocks_share_columns_and_what_predicts_them_stands_right_before((student, teacher, blocks) in rows()) {
        let columns = align_columns(&student, &teacher, &blocks).unwrap();
        for (ids, at) in [(&student, &columns.student), (&teacher, &columns.teacher)] {
            prop_assert_eq!(ids.len(), at.len());
            prop_assert!(at.is_sorted_by(|a, b| a < b) && at.last().is_none_or(|last| *last < columns.width));
        }
        let mut first_of_block = vec![];
        for (on_student, on_teacher) in &blocks {
            prop_assert_eq!(&columns.student[on_student.range()], &columns.teacher[on_teacher.range()]);
            let first = columns.student[on_student.start()];
            prop_assert_eq!(columns.student[on_student.start() - 1], first - 1);
            prop_assert_eq!(columns.teacher[on_teacher.start() - 1], first - 1);
            first_of_block.push(first);
        }
        // A column of both sides holds one id, but for the token that predicts a block; no column is empty.
        for column in 0..columns.width {
            let s = columns.student.binary_search(&column).ok().map(|i| student[i]);
            let t = columns.teacher.binary_search(&column).ok().map(|i| teacher[i]);
            prop_assert!(s.is_some() || t.is_some());
            if let (Some(s), Some(t)) = (s, t) {
                prop_assert!(s == t || first_of_block.contains(&(column + 1)));
            }
        }
    }
}
