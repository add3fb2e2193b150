//! Which message is being rendered, as the loops and macros around say.

use super::Eval;
use super::limits::HEAD;
use super::machine::Machine;
use super::program::Name;
use super::scope::Scope;
use super::string::{FIRST_DUMP, Origin};
use super::value::Value;

impl Machine<'_> {
    /// Each round of a loop: its message is that of its targets, else that around the loop.
    pub fn next_round(&mut self, names: &[Name], scope: &Scope) -> Eval<()> {
        let own = self.first_message(names, scope)?;
        let around = self.levels.len().checked_sub(2).and_then(|at| self.levels.get(at)).copied();
        let level = own.map_or_else(|| around.unwrap_or((-1, false)), |owner| (owner, true));
        if let Some(last) = self.levels.last_mut()
            && *last != level
        {
            *last = level;
            self.own(level.0)?;
        }
        Ok(())
    }

    /// `set message = messages[i]` inside of a loop over indices, or a macro's argument.
    pub fn bind(&mut self, names: &[Name], scope: &Scope) -> Eval<()> {
        if self.levels.len() == 1 || self.levels.last().is_some_and(|(_, over_messages)| *over_messages) {
            return Ok(());
        }
        let own = self.first_message(names, scope)?;
        if let (Some(owner), Some(last)) = (own, self.levels.last_mut()) {
            *last = (owner, true);
            self.own(owner)?;
        }
        Ok(())
    }

    /// Behind a loop or a macro.
    pub fn leave(&mut self) -> Eval<()> {
        let left = self.levels.pop();
        let around = self.levels.last().copied().unwrap_or((-1, false));
        if left.is_some_and(|left| left.0 != around.0) {
            self.own(around.0)?;
        }
        Ok(())
    }

    /// What is written from here on belongs to a message, which is remembered.
    fn own(&mut self, owner: i32) -> Eval<()> {
        self.meter.spend(HEAD)?;
        self.out.owner(owner);
        Ok(())
    }

    /// The message that the first of the names is that is one.
    fn first_message(&self, names: &[Name], scope: &Scope) -> Eval<Option<i32>> {
        for name in names {
            if let Some(value) = scope.get(&self.meter, *name)?
                && let Some(message) = self.message_of(&value)?
            {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The message that a value is, or was made of.
    fn message_of(&self, value: &Value) -> Eval<Option<i32>> {
        let Value::Dict(dict) = value else { return Ok(None) };
        if dict.message.is_some() || dict.origin.is_some() {
            return Ok(dict.message);
        }
        if dict.get_str(&self.meter, "role")?.is_none() {
            return Ok(None);
        }
        let traced = |value: &Value| if let Value::Str(text) = value { text.origin() } else { None };
        let origin = dict.entries.iter().find_map(|(_, value)| traced(value));
        Ok(origin.map(|origin| self.message_of_origin(origin)))
    }

    fn message_of_origin(&self, origin: Origin) -> i32 {
        let field = match origin.checked_sub(FIRST_DUMP) {
            Some(dump) => self.dumps.get(dump as usize).map_or(origin, |dump| dump.container),
            None => origin,
        };
        self.places.message(field)
    }
}
