//! A process that forks while its threads work: a child has none of them, and what they held would be held for ever.
//!
//! So nobody works while the process forks. Work is done behind a gate ([`enter`]); whoever forks closes it and waits
//! until all have left ([`before()`]), then has the threads of the pool wait at a place where they hold nothing
//! ([`crate::parallel`]). All in here is atomic: there is nothing to be left locked.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};
use std::time::{Duration, Instant};

use crate::parallel;

/// The threads that work.
static WORKING: AtomicUsize = AtomicUsize::new(0);
/// Whether the process is about to fork.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// What came of waiting for a fork.
static READY: AtomicU8 = AtomicU8::new(NOT_ASKED);
const NOT_ASKED: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

thread_local! {
    /// How often this thread entered without leaving.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
    /// The forks of this thread that are under way: a handler of a signal may fork while a fork waits.
    static FORKS: Cell<usize> = const { Cell::new(0) };
}

/// Someone who works. The process does not fork until this is dropped.
#[must_use]
#[derive(Debug)]
pub struct Working(PhantomData<*const ()>);

/// Begins work, once no fork is under way.
pub fn enter() -> Working {
    loop {
        if let Some(working) = try_enter() {
            return working;
        }
        wait_until_forked();
    }
}

/// Begins work, unless a fork is under way.
pub fn try_enter() -> Option<Working> {
    let inside = INSIDE.get();
    if inside == 0 {
        WORKING.fetch_add(1, SeqCst);
        // Whoever closes the gate looks at the number afterwards: one of the two sees the other.
        if CLOSED.load(SeqCst) && FORKS.get() == 0 {
            WORKING.fetch_sub(1, SeqCst);
            return None;
        }
        parallel::rest_after_fork();
    }
    INSIDE.set(inside + 1);
    Some(Working(PhantomData))
}

/// Waits until no fork is under way.
pub fn wait_until_forked() {
    wait(None, || !CLOSED.load(SeqCst));
}

impl Drop for Working {
    fn drop(&mut self) {
        let inside = INSIDE.get() - 1;
        INSIDE.set(inside);
        if inside == 0 {
            WORKING.fetch_sub(1, SeqCst);
        }
    }
}

/// Before a fork by this thread: waits until no other thread works, but no longer than `patience`.
pub fn before(patience: Duration) {
    FORKS.set(FORKS.get() + 1);
    if FORKS.get() > 1 {
        return;
    }
    while CLOSED.swap(true, SeqCst) {
        wait_until_forked();
    }
    let until = Instant::now() + patience.min(Duration::from_secs(86_400));
    let others = || WORKING.load(SeqCst) > own();
    let ready = wait(Some(until), || !others()) && parallel::hold(until);
    READY.store(if ready { YES } else { NO }, SeqCst);
}

/// After a fork, in the process that forked.
pub fn after_in_parent() {
    match FORKS.get() {
        0 => {}
        1 => {
            parallel::release();
            FORKS.set(0);
            READY.store(NOT_ASKED, SeqCst);
            CLOSED.store(false, SeqCst);
        }
        forks => FORKS.set(forks - 1),
    }
}

/// After a fork, in the child, whose only thread this is. False: some lock may be held for ever.
pub fn after_in_child() -> bool {
    let ready = match READY.load(SeqCst) {
        // Forked by C code that told nobody before.
        NOT_ASKED => WORKING.load(SeqCst) <= own(),
        ready => ready == YES,
    };
    parallel::forget(ready);
    FORKS.set(0);
    READY.store(NOT_ASKED, SeqCst);
    WORKING.store(own(), SeqCst);
    CLOSED.store(false, SeqCst);
    ready
}

/// Whether this thread is one of those that work.
fn own() -> usize {
    INSIDE.get().min(1)
}

/// Waits until something is so; false if it was not until then.
fn wait(until: Option<Instant>, so: impl Fn() -> bool) -> bool {
    let mut pause = Duration::from_micros(20);
    while !so() {
        if until.is_some_and(|until| Instant::now() >= until) {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(1));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::thread;

    const LONG: Duration = Duration::from_secs(60);
    // The gate is the process's.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    #[test]
    fn a_fork_waits_for_those_who_work_and_they_for_it() {
        let _alone = ONE_AT_A_TIME.lock();
        let events = Mutex::new(Vec::new());
        let say = |what: &'static str| events.lock().unwrap().push(what);
        let working = enter();
        thread::scope(|scope| {
            scope.spawn(|| {
                before(LONG);
                say("forks");
                scope.spawn(|| {
                    let _working = enter();
                    say("works again");
                });
                thread::sleep(Duration::from_millis(20));
                say("forked");
                after_in_parent();
            });
            while !CLOSED.load(SeqCst) {
                thread::yield_now();
            }
            // Who is inside already enters again, else the two would wait for each other.
            let again = try_enter();
            assert!(again.is_some());
            drop(again);
            say("has worked");
            drop(working);
        });
        assert_eq!(*events.lock().unwrap(), ["has worked", "forks", "forked", "works again"]);
    }

    #[test]
    fn patience_ends() {
        let _alone = ONE_AT_A_TIME.lock();
        let working = enter();
        thread::scope(|scope| {
            scope.spawn(|| {
                before(Duration::from_millis(5));
                assert_eq!(READY.load(SeqCst), NO);
                after_in_parent();
            });
        });
        drop(working);
        before(LONG);
        assert_eq!(READY.load(SeqCst), YES);
        after_in_parent();
    }

    #[test]
    fn who_forks_may_work_and_fork() {
        let _alone = ONE_AT_A_TIME.lock();
        let _working = enter();
        before(LONG);
        before(LONG);
        assert_eq!(READY.load(SeqCst), YES);
        assert!(try_enter().is_some());
        after_in_parent();
        assert!(CLOSED.load(SeqCst));
        after_in_parent();
        assert!(!CLOSED.load(SeqCst));
    }

    #[test]
    fn rows_side_by_side_survive_the_hold() {
        let _alone = ONE_AT_A_TIME.lock();
        let squares: Vec<usize> = (0..100).map(|at| at * at).collect();
        for _ in 0..5 {
            assert_eq!(parallel::in_parallel(100, |at| at * at), squares);
            before(LONG);
            assert_eq!(READY.load(SeqCst), YES);
            after_in_parent();
        }
    }
}
