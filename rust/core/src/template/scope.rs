//! Variables.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Eval;
use super::limits::{HEAD, Meter};
use super::value::{Value, bury};

/// Names that are looked through in a step.
const MANY_NAMES: usize = 4;

/// Variables, and where to look for others.
#[derive(Debug, Default)]
pub struct Scope {
    /// By number of their name.
    pub variables: RefCell<Vec<(u32, Value)>>,
    /// Around it.
    pub outer: Option<Rc<Scope>>,
    /// Whether a macro keeps it.
    pub kept: Cell<bool>,
}

impl Scope {
    /// One inside of another.
    pub fn inside(outer: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { variables: RefCell::default(), outer: Some(Rc::clone(outer)), kept: Cell::new(false) })
    }

    /// The value of a name, if it has one.
    pub fn get(&self, meter: &Meter, name: u32) -> Eval<Option<Value>> {
        let mut at = self;
        loop {
            let variables = at.variables.borrow();
            if variables.len() >= 2 * MANY_NAMES {
                meter.work(variables.len() / MANY_NAMES)?;
            }
            if let Some((_, value)) = variables.iter().rev().find(|(own, _)| *own == name) {
                return Ok(Some(value.clone()));
            }
            let Some(outer) = at.outer.as_deref() else { return Ok(None) };
            at = outer;
        }
    }

    /// Gives a name a value here.
    pub fn set(&self, meter: &Meter, name: u32, value: Value) -> Eval<()> {
        let mut variables = self.variables.borrow_mut();
        if variables.len() >= 2 * MANY_NAMES {
            meter.work(variables.len() / MANY_NAMES)?;
        }
        match variables.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => {
                variables.push((name, value));
                if self.kept.get() {
                    meter.spend(2 * size_of::<(u32, Value)>())?;
                }
            }
        }
        Ok(())
    }

    /// A macro keeps it, and those around it: most scopes are gone with their round of a loop, and not counted.
    pub fn keep(&self, meter: &Meter) -> Eval<()> {
        let mut scope = Some(self);
        while let Some(at) = scope.filter(|at| !at.kept.replace(true)) {
            meter.spend(HEAD + 2 * at.variables.borrow().len().max(4) * size_of::<(u32, Value)>())?;
            scope = at.outer.as_deref();
        }
        Ok(())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        bury(self.variables.take().into_iter().map(|(_, value)| value));
    }
}
