//! Rows side by side, on the threads of `fastokens`; and what becomes of those where the process forks.

#[cfg(feature = "native")]
pub(crate) use pool::{forget, hold, release, rest_after_fork, wake};

/// What a function gives for each of `0..count`, in order, on all cores.
#[cfg(feature = "native")]
pub fn in_parallel<T: Send>(count: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if count < 2 || !wake() { (0..count).map(of).collect() } else { fastokens::fanout::map(count, of) }
}

/// What a function gives for each of `0..count`, in order.
#[cfg(not(feature = "native"))]
pub fn in_parallel<T: Send>(count: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    (0..count).map(of).collect()
}

#[cfg(not(feature = "native"))]
pub(crate) use no_pool::{forget, hold, release, rest_after_fork};

#[cfg(not(feature = "native"))]
mod no_pool {
    use std::time::Instant;

    pub(crate) fn hold(_until: Instant) -> bool {
        true
    }

    pub(crate) fn release() {}

    pub(crate) fn forget(_ready: bool) {}

    pub(crate) fn rest_after_fork() {}
}

#[cfg(feature = "native")]
mod pool {
    use std::cell::Cell;
    use std::process;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::atomic::{AtomicU8, AtomicU32};
    use std::sync::{Arc, Condvar, Mutex, PoisonError};
    use std::thread::{self, JoinHandle};
    use std::time::Instant;

    /// The threads of the pool, as far as this process has any.
    static POOL: AtomicU8 = AtomicU8::new(ASLEEP);
    /// Not made yet.
    const ASLEEP: u8 = 0;
    /// Made by this process.
    const AWAKE: u8 = 1;
    /// Made by a process that this one was forked from: there are none, and none can be made.
    const LOST: u8 = 2;
    /// Which process made them.
    static MAKER: AtomicU32 = AtomicU32::new(0);

    /// Who holds the threads while this process forks, or held them the last time. Only the thread that forks looks in.
    static HELD: Mutex<Option<(Arc<Hold>, JoinHandle<()>)>> = Mutex::new(None);

    thread_local! {
        static RESTS: Cell<bool> = const { Cell::new(false) };
    }

    /// Before the pool is used. False: there is none, rows go one by one.
    pub(crate) fn wake() -> bool {
        if POOL.load(SeqCst) == ASLEEP {
            MAKER.store(process::id(), SeqCst);
            POOL.store(AWAKE, SeqCst);
        }
        POOL.load(SeqCst) == AWAKE
    }

    /// The threads of the pool, all in a task that ends when it is told to.
    #[derive(Default)]
    struct Hold {
        /// How many are here, and whether they may go.
        state: Mutex<(usize, bool)>,
        changed: Condvar,
    }

    impl Hold {
        fn stay(&self) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 += 1;
            self.changed.notify_all();
            let _let_go = self.changed.wait_while(state, |(_, may_go)| !*may_go);
        }

        fn all_are_here(&self, count: usize, until: Instant) -> bool {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let patience = until.saturating_duration_since(Instant::now());
            let waited = self.changed.wait_timeout_while(state, patience, |(here, _)| *here < count);
            waited.is_ok_and(|(state, _)| state.0 == count)
        }

        fn let_go(&self) {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            self.changed.notify_all();
        }
    }

    /// Has all threads of the pool wait in a task of ours, where they hold none of its locks. Nobody else may use it.
    /// False if they did not come until then.
    pub(crate) fn hold(until: Instant) -> bool {
        if POOL.load(SeqCst) != AWAKE {
            return true;
        }
        if MAKER.load(SeqCst) != process::id() {
            // Forked by C code that told nobody: they are not there to be held.
            return false;
        }
        let count = fastokens::fanout::threads();
        if count < 2 {
            return true;
        }
        let Ok(mut place) = HELD.try_lock() else { return false };
        if let Some((_, holder)) = place.take() {
            // A thread that is about to end holds locks of the allocator.
            let _ended = holder.join();
        }
        let held = Arc::new(Hold::default());
        let mine = Arc::clone(&held);
        // Who hands tasks out takes part in them, so this is not for the thread that forks.
        let holder = move || fastokens::fanout::for_each(count, |_| mine.stay());
        let Ok(holder) = thread::Builder::new().name("chatspan-fork".into()).spawn(holder) else { return false };
        let all = held.all_are_here(count, until);
        *place = Some((held, holder));
        all
    }

    /// After the fork: the threads go on.
    pub(crate) fn release() {
        if let Ok(held) = HELD.try_lock()
            && let Some((held, _)) = &*held
        {
            held.let_go();
        }
    }

    /// In the child: the threads are not there.
    pub(crate) fn forget(ready: bool) {
        // What belongs to a thread that is not there is not touched.
        std::mem::forget(HELD.try_lock().ok().and_then(|mut held| held.take()));
        if !ready || POOL.load(SeqCst) == AWAKE {
            POOL.store(LOST, SeqCst);
        }
    }

    /// In a process whose threads are lost, has this thread do by itself what `fastokens` gives to `rayon` (patterns in
    /// long texts): that one's threads are lost, too, and it would wait for them.
    pub(crate) fn rest_after_fork() {
        if POOL.load(SeqCst) == LOST && !RESTS.replace(true) {
            // It fails only where the thread is of another pool: no thread of ours is.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
            // Dropped, it would end, and with it the one thread it has.
            std::mem::forget(pool);
        }
    }
}
