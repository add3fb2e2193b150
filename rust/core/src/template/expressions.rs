//! Expressions.

use std::rc::Rc;
use std::sync::Arc;

use super::access::{attribute, item, slice};
use super::calls::Called;
use super::limits::fits;
use super::machine::Machine;
use super::operators::{add, binary, compare, sign, tuple};
use super::order::require_hashable;
use super::program::{Args, Const, Expr};
use super::string::{Text, join};
use super::value::{Dict, Scope, Value};
use super::write::to_text;
use super::{Eval, filters, tests};

impl Machine<'_> {
    /// The value of an expression.
    pub fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Eval<Value> {
        self.enter()?;
        let value = self.expression(expr, scope)?;
        self.depth -= 1;
        Ok(value)
    }

    fn all(&mut self, exprs: &[Expr], scope: &Rc<Scope>) -> Eval<Vec<Value>> {
        exprs.iter().map(|expr| self.eval(expr, scope)).collect()
    }

    fn expression(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Eval<Value> {
        Ok(match expr {
            Expr::Const(constant) => constant_value(constant),
            Expr::Name(name) => scope.get(*name).unwrap_or(Value::Undefined),
            Expr::List(items) => Value::list(self.all(items, scope)?),
            Expr::Tuple(items) => tuple(self.all(items, scope)?),
            Expr::Dict(pairs) => {
                let mut dict = Dict::default();
                for (key, value) in pairs {
                    let (key, value) = (self.eval(key, scope)?, self.eval(value, scope)?);
                    require_hashable(&key)?;
                    dict.set(key, value);
                }
                Value::Dict(Rc::new(dict))
            }
            Expr::Attribute(of, name, is_method) => {
                let of = self.eval(of, scope)?;
                match &of {
                    Value::Dict(dict) if !is_method => dict.get_str(name).cloned().unwrap_or(Value::Undefined),
                    _ => attribute(&of, name)?,
                }
            }
            Expr::Item(of, key) => {
                let (of, key) = (self.eval(of, scope)?, self.eval(key, scope)?);
                item(&of, &key)?
            }
            Expr::Slice(of, parts) => {
                let of = self.eval(of, scope)?;
                let mut found = [Value::None, Value::None, Value::None];
                for (found, part) in std::iter::zip(&mut found, parts) {
                    if let Some(part) = part {
                        *found = self.eval(part, scope)?;
                    }
                }
                self.made(slice(&of, found)?)?
            }
            Expr::Add(parts) => {
                let values = self.all(parts, scope)?;
                self.made(add(&values)?)?
            }
            Expr::Binary(operator, a, b) => {
                let (a, b) = (self.eval(a, scope)?, self.eval(b, scope)?);
                self.made(binary(operator, &a, &b)?)?
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
                    if matches!(*operator, "in" | "notin") {
                        self.walk(&right)?;
                    }
                    if !compare(operator, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            Expr::Concat(parts) => {
                let values = self.all(parts, scope)?;
                let texts = values.iter().map(|value| to_text(self, value)).collect::<Eval<Vec<_>>>()?;
                fits(&texts, 0)?;
                let text = join(&texts);
                self.spend(text.len())?;
                Value::Str(text)
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
                let found = filters::call(self, &filter.name, &value, &called)?;
                self.made(found)?
            }
            Expr::Test(of, test) => {
                let value = self.eval(of, scope)?;
                let called = self.arguments(&test.args, scope)?;
                Value::Bool(tests::call(self, &test.name, &value, &called)?)
            }
            Expr::Call(callee, args) => {
                let callee = self.eval(callee, scope)?;
                let called = self.arguments(args, scope)?;
                self.call(&callee, called)?
            }
        })
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

fn constant_value(constant: &Const) -> Value {
    match constant {
        Const::None => Value::None,
        Const::Bool(b) => Value::Bool(*b),
        Const::Int(i) => Value::int(*i),
        Const::Float(f) => Value::Float(*f, None),
        Const::Str(text) => Value::Str(Text::plain(Arc::clone(text))),
    }
}
