//! Whatever a program is, the machine ends, and what it renders keeps its promises.

mod programs;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_program_ends_and_its_runs_are_true(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        programs::check(&bytes);
    }
}
