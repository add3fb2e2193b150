//! Expressions.

use std::rc::Rc;
use std::sync::Arc;

use super::access::{attribute, item, slice};
use super::calls::Called;
use super::joiner::join;
use super::machine::Machine;
use super::operators::{add, binary, compare, sign, tuple};
use super::order::require_hashable;
use super::program::{Args, Const, Expr};
use super::scope::Scope;
use super::string::Text;
use super::value::{Dict, Value};
use super::write::to_text;
use super::{Eval, filters, tests};

impl Machine<'_> {
    /// The value of an expression.
    pub fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Eval<Value> {
        self.depth += 1;
        self.meter.enter(self.depth)?;
        let value = self.expression(expr, scope)?;
        self.depth -= 1;
        Ok(value)
    }

    pub(super) fn all(&mut self, exprs: &[Expr], scope: &Rc<Scope>) -> Eval<Vec<Value>> {
        exprs.iter().map(|expr| self.eval(expr, scope)).collect()
    }

    fn expression(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Eval<Value> {
        Ok(match expr {
            Expr::Const(constant) => self.constant(constant),
            Expr::Name(name) => scope.get(&self.meter, *name)?.unwrap_or(Value::Undefined),
            Expr::List(items) => {
                let items = self.all(items, scope)?;
                self.meter.made(Value::list(items))?
            }
            Expr::Tuple(items) => {
                let items = self.all(items, scope)?;
                self.meter.made(tuple(items))?
            }
            Expr::Dict(pairs) => {
                let mut dict = Dict::default();
                for (key, value) in pairs {
                    let (key, value) = (self.eval(key, scope)?, self.eval(value, scope)?);
                    require_hashable(&self.meter, &key)?;
                    dict.set(&self.meter, key, value)?;
                }
                self.meter.made(Value::Dict(Rc::new(dict)))?
            }
            Expr::Attribute(of, name, is_method) => {
                let found = self.attribute(of, name, *is_method, scope)?;
                self.keep_method(&found)?;
                found
            }
            Expr::Item(of, key) => {
                let of = self.eval(of, scope)?;
                // What most items are.
                if let (Value::Dict(dict), Expr::Const(Const::Str(name, _))) = (&of, &**key)
                    && let Some(found) = dict.get_str(&self.meter, name)?
                {
                    return Ok(found.clone());
                }
                let key = self.eval(key, scope)?;
                let found = item(&self.meter, &of, &key)?;
                self.keep_method(&found)?;
                found
            }
            Expr::Slice(of, parts) => {
                let of = self.eval(of, scope)?;
                let mut found = [Value::None, Value::None, Value::None];
                for (found, part) in std::iter::zip(&mut found, parts) {
                    if let Some(part) = part {
                        *found = self.eval(part, scope)?;
                    }
                }
                self.meter.made(slice(&self.meter, &of, found)?)?
            }
            Expr::Add(parts) => {
                let values = self.all(parts, scope)?;
                self.meter.made(add(&self.meter, &values)?)?
            }
            Expr::Binary(operator, a, b) => {
                let (a, b) = (self.eval(a, scope)?, self.eval(b, scope)?);
                self.meter.made(binary(&self.meter, operator, &a, &b)?)?
            }
            Expr::Neg(of) => sign(&self.eval(of, scope)?, true)?,
            Expr::Pos(of) => sign(&self.eval(of, scope)?, false)?,
            Expr::Not(of) => Value::Bool(!self.eval(of, scope)?.truth()),
            Expr::And(a, b) => {
                let a = self.eval(a, scope)?;
                if a.truth() { self.eval(b, scope)? } else { a }
            }
            Expr::Or(a, b) => {
                let a = self.eval(a, scope)?;
                if a.truth() { a } else { self.eval(b, scope)? }
            }
            Expr::Compare(first, rest) => {
                let mut left = self.eval(first, scope)?;
                for (operator, right) in rest {
                    let right = self.eval(right, scope)?;
                    if !compare(&self.meter, operator, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            Expr::Concat(parts) => {
                let values = self.all(parts, scope)?;
                let texts = values.iter().map(|value| to_text(self, value)).collect::<Eval<Vec<_>>>()?;
                self.meter.made(Value::Str(join(&self.meter, &texts)?))?
            }
            Expr::Cond(condition, yes, no) => {
                if self.eval(condition, scope)?.truth() {
                    self.eval(yes, scope)?
                } else {
                    no.as_ref().map_or(Ok(Value::Undefined), |no| self.eval(no, scope))?
                }
            }
            Expr::Filter(of, filter) => {
                let value = self.eval(of, scope)?;
                let called = self.arguments(&filter.args, scope)?;
                filters::call(self, &filter.name, &value, &called)?
            }
            Expr::Test(of, test) => {
                let value = self.eval(of, scope)?;
                let called = self.arguments(&test.args, scope)?;
                Value::Bool(tests::call(self, &test.name, &value, &called)?)
            }
            Expr::Call(callee, args) => {
                let callee = match &**callee {
                    Expr::Attribute(of, name, is_method) => self.attribute(of, name, *is_method, scope)?,
                    other => self.eval(other, scope)?,
                };
                let called = self.arguments(args, scope)?;
                self.call(&callee, called)?
            }
        })
    }

    #[inline]
    fn attribute(&mut self, of: &Expr, name: &str, is_method: bool, scope: &Rc<Scope>) -> Eval<Value> {
        let of = self.eval(of, scope)?;
        match &of {
            Value::Dict(dict) if !is_method => {
                Ok(dict.get_str(&self.meter, name)?.cloned().unwrap_or(Value::Undefined))
            }
            _ => attribute(&self.meter, &of, name),
        }
    }

    /// What an attribute or an item gives was made before, but for a method; one that is called at once is not kept.
    fn keep_method(&self, value: &Value) -> Eval<()> {
        if matches!(value, Value::Method(..)) { self.meter.keep(value) } else { Ok(()) }
    }

    /// A constant. A text is made once in a render.
    fn constant(&mut self, constant: &Const) -> Value {
        match constant {
            Const::None => Value::None,
            Const::Bool(b) => Value::Bool(*b),
            Const::Int(i) => Value::int(*i),
            Const::Float(f) => Value::Float(*f, None),
            Const::Str(text, number) => {
                let made = self.texts[*number].get_or_insert_with(|| Text::plain(Arc::clone(text)));
                Value::Str(made.clone())
            }
        }
    }

    /// The values of arguments.
    pub fn arguments(&mut self, args: &Args, scope: &Rc<Scope>) -> Eval<Called> {
        let positional = self.all(&args.positional, scope)?;
        let named = args
            .named
            .iter()
            .map(|(name, expr)| Ok((Arc::clone(name), self.eval(expr, scope)?)))
            .collect::<Eval<_>>()?;
        Ok(Called { positional, named })
    }
}
