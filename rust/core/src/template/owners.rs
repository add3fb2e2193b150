//! Which message is being rendered, as the loops and macros around say.

use super::machine::Machine;
use super::program::Name;
use super::string::{FIRST_DUMP, Origin};
use super::value::{Scope, Value};

impl Machine<'_> {
    /// Each round of a loop: its message is that of its targets, else that around the loop.
    pub fn next_round(&mut self, names: &[Name], scope: &Scope) {
        let own = names.iter().find_map(|name| scope.get(*name).and_then(|value| self.message_of(&value)));
        let around = self.levels.len().checked_sub(2).and_then(|at| self.levels.get(at)).copied();
        let level = own.map_or_else(|| around.unwrap_or((-1, false)), |owner| (owner, true));
        if let Some(last) = self.levels.last_mut()
            && *last != level
        {
            *last = level;
            self.out.owner(level.0);
        }
    }

    /// `set message = messages[i]` inside of a loop over indices, or a macro's argument.
    pub fn bind(&mut self, names: &[Name], scope: &Scope) {
        if self.levels.len() == 1 || self.levels.last().is_some_and(|(_, over_messages)| *over_messages) {
            return;
        }
        let own = names.iter().find_map(|name| scope.get(*name).and_then(|value| self.message_of(&value)));
        if let (Some(owner), Some(last)) = (own, self.levels.last_mut()) {
            *last = (owner, true);
            self.out.owner(owner);
        }
    }

    /// Behind a loop or a macro.
    pub fn leave(&mut self) {
        let left = self.levels.pop();
        let around = self.levels.last().copied().unwrap_or((-1, false));
        if left.is_some_and(|left| left.0 != around.0) {
            self.out.owner(around.0);
        }
    }

    /// The message that a value is, or was made of.
    fn message_of(&self, value: &Value) -> Option<i32> {
        let Value::Dict(dict) = value else { return None };
        if dict.message.is_some() || dict.origin.is_some() {
            return dict.message;
        }
        dict.get_str("role")?;
        let traced = |value: &Value| if let Value::Str(text) = value { text.origin() } else { None };
        dict.entries.iter().find_map(|(_, value)| traced(value)).map(|origin| self.message_of_origin(origin))
    }

    fn message_of_origin(&self, origin: Origin) -> i32 {
        let field = match origin.checked_sub(FIRST_DUMP) {
            Some(dump) => self.dumps.get(dump as usize).map_or(origin, |dump| dump.container),
            None => origin,
        };
        self.places.message(field)
    }
}
