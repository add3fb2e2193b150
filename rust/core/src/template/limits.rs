//! A template ends: what it may take, and what counts.

use super::machine::Machine;
use super::string::Text;
use super::value::Value;
use super::{Eval, Halt, lacks};

/// What a render may take at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Statements and expressions.
    pub steps: u64,
    /// Statements and expressions inside of each other, macros that call themselves included.
    pub depth: usize,
    /// Bytes of the texts and lists that are made, with those that are thrown away.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 500_000_000, depth: 400, bytes: 1 << 30 }
    }
}

/// Texts that are joined, with so many bytes between them, fit: known before they are made.
pub fn fits<'t>(parts: impl IntoIterator<Item = &'t Text>, separator: usize) -> Eval<()> {
    let bytes =
        parts.into_iter().fold(0, |bytes: usize, part| bytes.saturating_add(part.len()).saturating_add(separator));
    if bytes > MOST_JOINED {
        return Err(Halt::Limit(format!("a text of {bytes} bytes")));
    }
    Ok(())
}

const MOST_JOINED: usize = 1 << 29;

impl Machine<'_> {
    /// A value that was made takes room.
    pub fn made(&mut self, value: Value) -> Eval<Value> {
        self.spend(match &value {
            Value::Str(text) => text.len(),
            Value::List(items) | Value::Tuple(items) => items.len().saturating_mul(size_of::<Value>()),
            Value::Generator(of) => of.rest.borrow().len().saturating_mul(size_of::<Value>()),
            _ => 0,
        })?;
        Ok(value)
    }

    /// Writing so many bytes is allowed.
    pub fn spend(&mut self, bytes: usize) -> Eval<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            return Err(Halt::Limit(format!("more than {} bytes made", self.limits.bytes)));
        }
        Ok(())
    }

    /// One step more, this deep inside of a value.
    pub fn descend(&mut self, level: usize) -> Eval<()> {
        self.steps += 1;
        self.within_steps()?;
        if level > self.limits.depth { lacks("such a depth of data") } else { Ok(()) }
    }

    /// So many steps more, of a loop that is not the template's own.
    pub fn work(&mut self, steps: usize) -> Eval<()> {
        self.steps = self.steps.saturating_add(steps as u64);
        self.within_steps()
    }

    /// Going through a value takes steps: one for an item, or for 16 bytes.
    pub fn walk(&mut self, value: &Value) -> Eval<()> {
        self.work(match value {
            Value::Str(text) => text.len() / 16,
            Value::List(items) | Value::Tuple(items) => items.len(),
            Value::Dict(dict) => dict.entries.len(),
            Value::Range(..) => super::access::length(value).unwrap_or(0),
            _ => 0,
        })
    }

    fn within_steps(&self) -> Eval<()> {
        if self.steps > self.limits.steps {
            return Err(Halt::Limit(format!("more than {} steps", self.limits.steps)));
        }
        Ok(())
    }
}
