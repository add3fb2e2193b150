//! The template machine on programs of every kind: it ends without a panic, and what it renders keeps its promises.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../rust/core/tests/programs/mod.rs"]
mod programs;

fuzz_target!(|data: &[u8]| {
    programs::check(data);
});
