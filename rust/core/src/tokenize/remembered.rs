//! Pieces of texts that were tokenized before, with their tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::characters::Laid;
use super::native::CacheStats;

/// Locked each by itself.
const SHARDS: usize = 16;
/// What an entry takes beside its text and its tokens.
const OVERHEAD: usize = 128;
/// Shorter pieces are tokenized as fast as they are found.
const SHORTEST: usize = 32;

/// Pieces in up to so many bytes. The ranges of one's tokens are those of a text that begins with it.
pub struct Remembered {
    shards: Vec<Mutex<Shard>>,
    budget: usize,
}

type Pieces = HashMap<Box<str>, Arc<Laid>>;

/// What is found moves to the young ones; when there are too many of them, the old ones are dropped and they become old.
#[derive(Default)]
struct Shard {
    young: Pieces,
    old: Pieces,
    young_bytes: usize,
    old_bytes: usize,
    hits: u64,
    misses: u64,
}

impl Remembered {
    /// Nothing yet.
    pub fn new(bytes: usize) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), budget: bytes / SHARDS / 2 }
    }

    /// The tokens of a piece, remembered or made.
    pub fn get_or(&self, piece: &str, make: impl FnOnce() -> Option<Laid>) -> Option<Arc<Laid>> {
        if let Some(found) = self.shard(piece).find(piece, self.budget) {
            return Some(found);
        }
        let made = Arc::new(make()?);
        if cost(piece, &made) <= self.budget / 2 {
            self.shard(piece).insert(piece.into(), Arc::clone(&made), self.budget);
        }
        Some(made)
    }

    /// Whether a piece is worth it.
    pub const fn takes(piece: &str) -> bool {
        piece.len() >= SHORTEST
    }

    /// What was found so far, and what is remembered.
    pub fn stats(&self) -> CacheStats {
        let mut all = CacheStats::default();
        for shard in &self.shards {
            let shard = locked(shard);
            all.hits += shard.hits;
            all.misses += shard.misses;
            all.bytes += shard.young_bytes + shard.old_bytes;
            all.entries += shard.young.len() + shard.old.len();
        }
        all
    }

    fn shard(&self, piece: &str) -> MutexGuard<'_, Shard> {
        locked(&self.shards[piece.len() % SHARDS])
    }
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cost(piece: &str, laid: &Laid) -> usize {
    piece.len() + laid.ids.len() * 16 + OVERHEAD
}

impl Shard {
    fn find(&mut self, piece: &str, budget: usize) -> Option<Arc<Laid>> {
        if let Some(found) = self.young.get(piece) {
            self.hits += 1;
            return Some(Arc::clone(found));
        }
        let Some((piece, found)) = self.old.remove_entry(piece) else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        self.old_bytes -= cost(&piece, &found);
        self.insert(piece, Arc::clone(&found), budget);
        Some(found)
    }

    fn insert(&mut self, piece: Box<str>, laid: Arc<Laid>, budget: usize) {
        let bytes = cost(&piece, &laid);
        if self.young_bytes + bytes > budget {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        // Another thread may have been as fast.
        if self.young.insert(piece, laid).is_none() {
            self.young_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(id: u32) -> Option<Laid> {
        let mut laid = Laid::default();
        laid.push(id, 0, 1);
        Some(laid)
    }

    #[test]
    fn pieces_are_found_and_bounded() {
        let remembered = Remembered::new(1 << 16);
        assert_eq!(remembered.get_or("a", || laid(7)).unwrap().ids, [7]);
        assert_eq!(remembered.get_or("a", || laid(8)).unwrap().ids, [7]);
        assert!(remembered.get_or("b", || None).is_none());
        let stats = remembered.stats();
        assert_eq!((stats.hits, stats.misses, stats.entries), (1, 2, 1));
        for number in 0..10_000 {
            remembered.get_or(&format!("piece {number}"), || laid(number));
        }
        assert!(remembered.stats().bytes <= 1 << 16);
    }
}
