//! A template ends: what it may take, and what counts.

use std::cell::Cell;

use super::value::Value;
use super::{Eval, Halt, lacks};

/// What a render may take at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Statements, expressions, and what is gone through: items, and bytes of texts.
    pub steps: u64,
    /// Statements and expressions inside of each other, macros that call themselves included; values in each other.
    pub depth: usize,
    /// Bytes of the texts and lists that are made, with those that are thrown away.
    pub bytes: usize,
}

impl Limits {
    /// A level takes two KiB of the stack, of which a thread may have two MiB.
    const DEEPEST: usize = 600;
    /// A text's places are numbers of 32 bits.
    const MOST_BYTES: usize = i32::MAX as usize;

    /// None where the machine itself could not keep them.
    pub fn new(steps: u64, depth: usize, bytes: usize) -> Option<Self> {
        (depth <= Self::DEEPEST && bytes <= Self::MOST_BYTES).then_some(Self { steps, depth, bytes })
    }
}

/// What a text, a list or a dict takes besides what is in it, the allocator's part included: two allocations of a text.
pub const HEAD: usize = 128;

/// What a render may still take.
///
/// Steps stand for time: one is about what a small expression takes. Bytes stand for memory: what lives was counted, so
/// never more lives than was counted.
#[derive(Debug)]
pub struct Meter {
    limits: Limits,
    steps: Cell<u64>,
    bytes: Cell<usize>,
}

impl Meter {
    /// All of it.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, steps: Cell::new(limits.steps), bytes: Cell::new(limits.bytes) }
    }

    /// So many steps more.
    #[inline]
    pub fn work(&self, steps: usize) -> Eval<()> {
        match self.steps.get().checked_sub(steps as u64) {
            Some(left) => {
                self.steps.set(left);
                Ok(())
            }
            None => self.out_of_steps(),
        }
    }

    /// What asks once more gets none either.
    #[cold]
    fn out_of_steps(&self) -> Eval<()> {
        self.steps.set(0);
        reached("steps", self.limits.steps)
    }

    /// Bytes of a text that a machine instruction takes many of: compared, searched, copied, counted.
    pub fn skim(&self, bytes: usize) -> Eval<()> {
        self.work(bytes / 16)
    }

    /// Bytes of a text that are looked at one by one.
    pub fn read(&self, bytes: usize) -> Eval<()> {
        self.work(bytes / 2)
    }

    /// So many bytes more, which may be kept.
    #[inline]
    pub fn spend(&self, bytes: usize) -> Eval<()> {
        match self.bytes.get().checked_sub(bytes) {
            Some(left) => {
                self.bytes.set(left);
                Ok(())
            }
            None => reached("bytes", self.limits.bytes),
        }
    }

    /// There is room for so many bytes, which are counted when it is known that they are kept.
    #[inline]
    pub fn room(&self, bytes: usize) -> Eval<()> {
        if bytes > self.bytes.get() { reached("bytes", self.limits.bytes) } else { Ok(()) }
    }

    /// There is room for so many items of a list.
    pub fn room_for(&self, items: usize) -> Eval<()> {
        self.room(items.saturating_mul(size_of::<Value>()))
    }

    /// There is room for a text, which is there twice while it is made.
    pub fn fits(&self, bytes: usize) -> Eval<()> {
        self.room(bytes.saturating_mul(2))
    }

    /// A value that was made takes room.
    pub fn made(&self, value: Value) -> Eval<Value> {
        self.keep(&value)?;
        Ok(value)
    }

    /// A value takes room.
    pub fn keep(&self, value: &Value) -> Eval<()> {
        let items = |count: usize| HEAD.saturating_add(count.saturating_mul(size_of::<Value>()));
        self.spend(match value {
            Value::Str(text) => HEAD.saturating_add(text.held()),
            Value::List(list) | Value::Tuple(list) => items(list.items.len()),
            Value::Generator(of) => items(of.rest.borrow().len()),
            Value::Dict(dict) => items(dict.entries.capacity().saturating_mul(2)),
            Value::Namespace(_) | Value::Macro(_) => 4 * HEAD,
            Value::Method(..) => HEAD + size_of::<Value>(),
            _ => 0,
        })
    }

    /// A value more that is gone through, this deep inside of another.
    pub fn descend(&self, level: usize) -> Eval<()> {
        self.work(8)?;
        if level > self.limits.depth { lacks("such a depth of data") } else { Ok(()) }
    }

    /// A statement or an expression more, inside of so many.
    #[inline]
    pub fn enter(&self, depth: usize) -> Eval<()> {
        self.work(1)?;
        if depth > self.limits.depth { reached("depth", self.limits.depth) } else { Ok(()) }
    }
}

#[cold]
fn reached<T>(name: &str, most: impl std::fmt::Display) -> Eval<T> {
    Err(Halt::Limit(format!("{name}={most}")))
}
