//! Rows side by side.

/// What a function gives for each of `0..count`, in order, on all cores.
#[cfg(feature = "native")]
pub use fastokens::fanout::map as in_parallel;

/// What a function gives for each of `0..count`, in order.
#[cfg(not(feature = "native"))]
pub fn in_parallel<T: Send>(count: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    (0..count).map(of).collect()
}
