//! Calls: macros, methods, and the functions that every template has.

use std::rc::Rc;
use std::sync::Arc;

use super::limits::Meter;
use super::machine::{CALLER, Flow, KWARGS, Machine, VARARGS};
use super::operators::tuple;
use super::order::equal;
use super::output::{Buffer, Out};
use super::scope::Scope;
use super::string::{Text, derived};
use super::value::{Closure, Dict, Loop, Value};
use super::write::to_text;
use super::{Eval, filters, lacks, methods, raise};

/// What something is called with.
#[derive(Clone, Debug, Default)]
pub struct Called {
    /// By position.
    pub positional: Vec<Value>,
    /// By name.
    pub named: Vec<(Arc<str>, Value)>,
}

impl Called {
    /// There are so many arguments, none by name.
    pub fn only(&self, least: usize, most: usize) -> Eval<()> {
        if !self.named.is_empty() || !(least..=most).contains(&self.positional.len()) {
            return raise("wrong arguments");
        }
        Ok(())
    }

    /// There are at most so many by position.
    pub fn at_most(&self, most: usize) -> Eval<()> {
        if self.positional.len() > most { raise("too many arguments") } else { Ok(()) }
    }

    /// There are no others than these.
    pub fn names(&self, names: &[&str]) -> Eval<()> {
        self.at_most(names.len())?;
        for (name, _) in &self.named {
            let place = names.iter().position(|own| **own == **name);
            if place.is_none_or(|place| place < self.positional.len()) {
                return raise(format!("unexpected argument {name}"));
            }
        }
        Ok(())
    }

    /// The argument at this place, or of this name.
    pub fn argument(&self, place: usize, name: &str) -> Option<&Value> {
        let named = || self.named.iter().find(|(own, _)| **own == *name).map(|(_, value)| value);
        self.positional.get(place).or_else(named)
    }
}

impl Machine<'_> {
    /// `callee(…)`
    pub fn call(&mut self, callee: &Value, called: Called) -> Eval<Value> {
        match callee {
            Value::Macro(closure) => Ok(Value::Str(self.call_macro(closure, called)?)),
            Value::Method(of, name) => {
                if let Value::Loop(of) = &**of {
                    return call_loop(&self.meter, of, name, called);
                }
                methods::call(self, of, name, &called)
            }
            Value::Function(name) => self.call_function(name, &called),
            Value::Loop(_) => lacks("a recursive loop"),
            _ => raise(format!("'{}' object is not callable", callee.type_name())),
        }
    }

    fn call_function(&mut self, name: &str, called: &Called) -> Eval<Value> {
        match name {
            "raise_exception" => {
                called.names(&["message"])?;
                match called.argument(0, "message") {
                    Some(Value::Str(message)) => raise(message.as_str()),
                    Some(message) => {
                        let text = to_text(self, message)?;
                        raise(text.as_str())
                    }
                    None => raise("raise_exception takes a message"),
                }
            }
            "strftime_now" => {
                called.names(&["format"])?;
                let Some(Value::Str(format)) = called.argument(0, "format") else {
                    return raise("strftime_now takes a format");
                };
                let now = self.ask("strftime", format.as_str())?;
                // The format's own words are in it.
                Ok(Value::Str(derived(now, &[format])))
            }
            "range" => range(called),
            "namespace" => {
                let dict = filters::dict_of(&self.meter, called)?;
                let mut attributes = Vec::with_capacity(dict.entries.len());
                for (key, value) in &dict.entries {
                    let Value::Str(key) = key else { return lacks("a namespace with names that are no strings") };
                    if key.as_str().starts_with('_') {
                        return raise("Chat templates cannot store underscore-prefixed attributes on a namespace");
                    }
                    attributes.push((Arc::from(key.as_str()), value.clone()));
                }
                self.new_namespace(attributes)
            }
            "dict" => {
                let dict = filters::dict_of(&self.meter, called)?;
                self.meter.made(Value::Dict(Rc::new(dict)))
            }
            _ => lacks(format!("the function {name}")),
        }
    }

    fn call_macro(&mut self, closure: &Closure, mut called: Called) -> Eval<Text> {
        let of = &closure.of;
        let scope = Scope::inside(&closure.scope);
        // Each argument is looked for among those given, and among the names of the scope.
        self.meter.work(of.args.len().saturating_mul(of.args.len() + called.named.len()) / 8)?;
        self.meter.spend(called.positional.len().saturating_mul(size_of::<Value>()))?;
        let mut missing = Vec::new();
        let mut has_caller = false;
        let extra = called.positional.split_off(of.args.len().min(called.positional.len()));
        let mut given = called.positional.into_iter();
        for (place, name) in of.args.iter().enumerate() {
            let own = &self.program.names[*name as usize];
            has_caller |= *name == CALLER;
            let value = given.next().or_else(|| {
                let at = called.named.iter().position(|(named, _)| named == own)?;
                Some(called.named.remove(at).1)
            });
            if value.is_none() {
                missing.push((place, *name));
            }
            scope.set(&self.meter, *name, value.unwrap_or(Value::Undefined))?;
        }
        let [reads_varargs, reads_kwargs, reads_caller] = of.reads;
        if reads_caller && !has_caller {
            let at = called.named.iter().position(|(name, _)| **name == *"caller");
            let caller = at.map_or(Value::Undefined, |at| called.named.remove(at).1);
            scope.set(&self.meter, CALLER, caller)?;
        }
        if reads_kwargs {
            let mut dict = Dict::default();
            for (name, value) in called.named {
                dict.set(&self.meter, Value::str(&name), value)?;
            }
            scope.set(&self.meter, KWARGS, Value::Dict(Rc::new(dict)))?;
        } else if let Some((name, _)) = called.named.first() {
            return raise(format!("the macro takes no keyword argument {name}"));
        }
        if reads_varargs {
            scope.set(&self.meter, VARARGS, tuple(extra))?;
        } else if !extra.is_empty() {
            return raise("the macro takes not so many arguments");
        }
        let without_default = of.args.len() - of.defaults.len();
        for (place, name) in missing {
            if let Some(default) = place.checked_sub(without_default).and_then(|at| of.defaults.get(at)) {
                let value = self.eval(default, &scope)?;
                scope.set(&self.meter, name, value)?;
            }
        }
        let around = std::mem::replace(&mut self.out, Out::Buffer(Buffer::default()));
        if of.binds {
            self.levels.push(self.levels.last().copied().unwrap_or((-1, false)));
            self.bind(&of.args, &scope)?;
        }
        let flow = self.run(&of.body, &scope);
        if of.binds && flow.is_ok() {
            self.leave()?;
        }
        let written = std::mem::replace(&mut self.out, around);
        if flow? != Flow::Next {
            return lacks("a break out of a macro");
        }
        match written {
            Out::Buffer(buffer) => buffer.finish(&self.meter),
            Out::Root(_) => lacks("an end of what is written"),
        }
    }
}

fn call_loop(meter: &Meter, of: &Rc<Loop>, name: &str, called: Called) -> Eval<Value> {
    if !called.named.is_empty() {
        return raise("wrong arguments");
    }
    if name == "cycle" {
        let count = called.positional.len();
        if count == 0 {
            return raise("no items for cycling given");
        }
        return Ok(called.positional[of.index.get() % count].clone());
    }
    let mut changed = of.changed.borrow_mut();
    let same = match changed.as_ref() {
        Some(before) => equal(meter, &tuple(before.clone()), &tuple(called.positional.clone()))?,
        None => false,
    };
    *changed = Some(called.positional);
    Ok(Value::Bool(!same))
}

/// Jinja's sandbox makes no longer ones.
const LONGEST_RANGE: usize = 100_000;

fn range(called: &Called) -> Eval<Value> {
    called.only(1, 3)?;
    let mut numbers = Vec::new();
    for value in &called.positional {
        match value {
            Value::Int(i, _) => numbers.push(*i),
            Value::Bool(b) => numbers.push(i64::from(*b)),
            _ => return raise("range takes whole numbers"),
        }
    }
    let (start, stop, step) = match numbers.as_slice() {
        [stop] => (0, *stop, 1),
        [start, stop] => (*start, *stop, 1),
        [start, stop, step] => (*start, *stop, *step),
        _ => return raise("range takes one to three numbers"),
    };
    if step == 0 {
        return raise("range() arg 3 must not be zero");
    }
    let range = Value::Range(start, stop, step);
    if range.range_len().is_none_or(|count| count > LONGEST_RANGE) {
        return raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
    }
    Ok(range)
}
