//! Statements and expressions.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::input::{Input, Places};
use super::access::{attribute, item, iterate, slice};
use super::operators::{add, binary, compare, sign, tuple};
use super::output::{Buffer, Out, Root};
use super::program::{Args, Const, Expr, Filter, For, Name, Node, Program, Target};
use super::string::{FIRST_DUMP, Mark, Origin, Text, join};
use super::value::{Closure, Dict, Loop, Scope, Value, require_hashable};
use super::write::{Style, to_text};
use super::{Eval, Halt, filters, lacks, methods, raise, tests};

/// Names that have their number in every program.
const LOOP: Name = 0;
const CALLER: Name = 1;
const VARARGS: Name = 2;
const KWARGS: Name = 3;

/// What a render may take at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Statements and expressions.
    pub steps: u64,
    /// Statements and expressions inside of each other, macros that call themselves included.
    pub depth: usize,
    /// Bytes that are written, with those of texts that are thrown away.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 50_000_000, depth: 400, bytes: 1 << 28 }
    }
}

/// What only the running Python knows: the clock, and which letters are printable or have others, which depends on its
/// version of Unicode.
pub trait Host {
    /// What Python answers, such as `"upper"` of a text; none where it cannot be asked.
    fn ask(&self, question: &str, text: &str) -> Option<String>;
}

/// What a template wrote.
#[derive(Debug)]
pub struct Rendered {
    /// The render, and where it came from.
    pub root: Root,
    /// The containers that runs refer to as dumps, from [`FIRST_DUMP`] on.
    pub dumps: Vec<Dump>,
}

/// A container of the input that was written as a text.
#[derive(Debug)]
pub struct Dump {
    /// The container.
    pub container: Origin,
    /// How it was written.
    pub style: Style,
    /// What was written.
    pub text: Arc<str>,
}

/// Renders a template.
///
/// # Errors
/// The template raises, has something that the machine lacks, or takes too much.
pub fn render(
    program: &Program,
    variables: &[&[(Arc<str>, Input)]],
    places: &Places,
    host: &dyn Host,
    limits: Limits,
) -> Eval<Rendered> {
    let context = Rc::new(Scope::default());
    let number: HashMap<&str, Name> =
        std::iter::zip(program.names.iter(), 0..).map(|(name, number)| (&**name, number)).collect();
    for function in ["raise_exception", "strftime_now", "range", "dict", "namespace", "lipsum", "cycler", "joiner"] {
        if let Some(number) = number.get(function) {
            context.set(*number, Value::Function(function));
        }
    }
    for (name, value) in variables.iter().copied().flatten() {
        if let Some(number) = number.get(&**name) {
            context.set(*number, value.value(places));
        }
    }
    let mut machine = Machine {
        program,
        places,
        host,
        limits,
        steps: 0,
        depth: 0,
        bytes: 0,
        out: Out::root(),
        levels: vec![(-1, false)],
        dumps: Vec::new(),
    };
    let scope = Scope::inside(&context);
    machine.run(&program.body, &scope)?;
    match machine.out {
        Out::Root(root) => Ok(Rendered { root, dumps: machine.dumps }),
        Out::Buffer(_) => lacks("an end of what is written"),
    }
}

/// What statements do to the loop around them.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

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

/// A render that is going on.
pub struct Machine<'p> {
    program: &'p Program,
    places: &'p Places,
    host: &'p dyn Host,
    limits: Limits,
    steps: u64,
    depth: usize,
    bytes: usize,
    out: Out,
    /// The message being rendered, and whether the loop or the macro is over messages; of each loop and macro.
    levels: Vec<(i32, bool)>,
    dumps: Vec<Dump>,
}

impl Machine<'_> {
    /// What Python says of a text.
    pub fn ask(&self, question: &str, text: &str) -> Eval<String> {
        self.host.ask(question, text).map_or_else(|| lacks(format!("{question} without Python")), Ok)
    }

    /// Writing so many bytes is allowed.
    pub fn spend(&mut self, bytes: usize) -> Eval<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            return Err(Halt::Limit(format!("more than {} bytes written", self.limits.bytes)));
        }
        Ok(())
    }

    /// One step more, this deep inside of a value.
    pub fn descend(&mut self, level: usize) -> Eval<()> {
        self.steps += 1;
        if self.steps > self.limits.steps {
            return Err(Halt::Limit(format!("more than {} steps", self.limits.steps)));
        }
        if level > self.limits.depth { lacks("such a depth of data") } else { Ok(()) }
    }

    /// The origin of a container that was written.
    pub fn new_dump(&mut self, container: Origin, style: &Style, text: Arc<str>) -> Origin {
        self.dumps.push(Dump { container, style: style.clone(), text });
        FIRST_DUMP + super::string::size(self.dumps.len() - 1)
    }

    fn enter(&mut self) -> Eval<()> {
        self.depth += 1;
        self.steps += 1;
        if self.steps > self.limits.steps {
            return Err(Halt::Limit(format!("more than {} steps", self.limits.steps)));
        }
        if self.depth > self.limits.depth { lacks("such a depth of calls") } else { Ok(()) }
    }

    fn run(&mut self, body: &[Node], scope: &Rc<Scope>) -> Eval<Flow> {
        for node in body {
            self.enter()?;
            let flow = self.statement(node, scope)?;
            self.depth -= 1;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, node: &Node, scope: &Rc<Scope>) -> Eval<Flow> {
        match node {
            Node::Data(data) => {
                self.spend(data.len())?;
                self.out.data(data);
            }
            Node::Output(expr) => {
                let value = self.eval(expr, scope)?;
                let text = to_text(self, &value)?;
                self.write(&text)?;
            }
            Node::If(branches, or_else) => {
                for (condition, body) in branches {
                    if self.eval(condition, scope)?.truth() {
                        return self.run(body, scope);
                    }
                }
                return self.run(or_else, scope);
            }
            Node::For(of) => return self.go_through(of, scope),
            Node::Assign(target, expr) => {
                let value = self.eval(expr, scope)?;
                self.assign(target, value, scope)?;
                self.bind(&names_of(target), scope);
            }
            Node::AssignBlock(target, filters, body) => {
                let text = self.captured(body, &Scope::inside(scope))?;
                let value = self.filtered(Value::Str(text), filters, scope)?;
                self.assign(target, value, scope)?;
            }
            Node::Macro(of) => {
                let closure = Closure { of: Arc::clone(of), scope: Rc::clone(scope) };
                scope.set(of.name, Value::Macro(Rc::new(closure)));
            }
            Node::Call(expr, body) => {
                let Expr::Call(callee, args) = expr else { return lacks("a call block around no call") };
                let callee = self.eval(callee, scope)?;
                let mut called = self.arguments(args, scope)?;
                let closure = Closure { of: Arc::clone(body), scope: Rc::clone(scope) };
                called.named.push((Arc::from("caller"), Value::Macro(Rc::new(closure))));
                let value = self.call(&callee, called)?;
                let text = to_text(self, &value)?;
                self.write(&text)?;
            }
            Node::Generation(body) => {
                let text = self.captured(body, &Scope::inside(scope))?.with_mark(Mark::Generation);
                self.write(&text)?;
            }
            Node::FilterBlock(filters, body) => {
                let text = self.captured(body, &Scope::inside(scope))?;
                let value = self.filtered(Value::Str(text), filters, scope)?;
                let text = to_text(self, &value)?;
                self.write(&text)?;
            }
            Node::With(pairs, body) => {
                let inner = Scope::inside(scope);
                for (name, expr) in pairs {
                    let value = self.eval(expr, scope)?;
                    inner.set(*name, value);
                }
                return self.run(body, &inner);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &Text) -> Eval<()> {
        self.spend(text.len())?;
        self.out.text(text);
        Ok(())
    }

    /// What statements write, as a text.
    fn captured(&mut self, body: &[Node], scope: &Rc<Scope>) -> Eval<Text> {
        let around = std::mem::replace(&mut self.out, Out::Buffer(Buffer::default()));
        let flow = self.run(body, scope);
        let written = std::mem::replace(&mut self.out, around);
        if flow? != Flow::Next {
            return lacks("a break out of a block");
        }
        match written {
            Out::Buffer(buffer) => Ok(buffer.finish()),
            Out::Root(_) => lacks("an end of what is written"),
        }
    }

    fn filtered(&mut self, value: Value, filters: &[Filter], scope: &Rc<Scope>) -> Eval<Value> {
        filters.iter().try_fold(value, |value, filter| {
            let called = self.arguments(&filter.args, scope)?;
            filters::call(self, &filter.name, &value, &called)
        })
    }

    fn assign(&mut self, target: &Target, value: Value, scope: &Rc<Scope>) -> Eval<()> {
        match target {
            Target::Name(name) => scope.set(*name, value),
            Target::Tuple(targets) => {
                let values = iterate(&value)?;
                if values.len() != targets.len() {
                    return raise(format!("cannot unpack {} values into {}", values.len(), targets.len()));
                }
                for (target, value) in std::iter::zip(targets, values) {
                    self.assign(target, value, scope)?;
                }
            }
            Target::Attribute(name, attribute) => {
                let Some(Value::Namespace(attributes)) = scope.get(*name) else {
                    return raise("cannot assign attribute on non-namespace object");
                };
                if attribute.starts_with('_') {
                    return raise("Chat templates cannot store underscore-prefixed attributes on a namespace");
                }
                let mut attributes = attributes.borrow_mut();
                match attributes.iter_mut().find(|(own, _)| own == attribute) {
                    Some((_, own)) => *own = value,
                    None => attributes.push((Arc::clone(attribute), value)),
                }
            }
        }
        Ok(())
    }

    fn go_through(&mut self, of: &For, scope: &Rc<Scope>) -> Eval<Flow> {
        let value = self.eval(&of.iter, scope)?;
        self.levels.push(self.levels.last().copied().unwrap_or((-1, false)));
        let mut items = iterate(&value)?;
        let mut end = None;
        if let Some(test) = &of.test {
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                let inner = Scope::inside(scope);
                self.assign(&of.target, item.clone(), &inner)?;
                match self.eval(test, &inner) {
                    Ok(value) if value.truth() => kept.push(item),
                    Ok(_) => {}
                    Err(halt) => {
                        end = Some(halt);
                        break;
                    }
                }
            }
            items = kept;
        }
        let count = items.len();
        let state =
            Rc::new(Loop { items, index: Cell::new(0), depth: 0, changed: RefCell::default() });
        let mut broken = false;
        for index in 0..count {
            state.index.set(index);
            let inner = Scope::inside(scope);
            self.assign(&of.target, state.items[index].clone(), &inner)?;
            inner.set(LOOP, Value::Loop(Rc::clone(&state)));
            self.next_round(&of.names, &inner);
            if self.run(&of.body, &inner)? == Flow::Break {
                broken = true;
                break;
            }
        }
        if let (Some(halt), false) = (end, broken) {
            return Err(halt);
        }
        if count == 0 {
            let flow = self.run(&of.or_else, &Scope::inside(scope))?;
            if flow != Flow::Next {
                return lacks("a break out of an else");
            }
        }
        self.leave();
        Ok(Flow::Next)
    }

    // --- which message is being rendered

    /// Each round of a loop: its message is that of its targets, else that around the loop.
    fn next_round(&mut self, names: &[Name], scope: &Scope) {
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
    fn bind(&mut self, names: &[Name], scope: &Scope) {
        if self.levels.len() == 1 || self.levels.last().is_some_and(|(_, over_messages)| *over_messages) {
            return;
        }
        let own = names.iter().find_map(|name| scope.get(*name).and_then(|value| self.message_of(&value)));
        if let (Some(owner), Some(last)) = (own, self.levels.last_mut()) {
            *last = (owner, true);
            self.out.owner(owner);
        }
    }

    fn leave(&mut self) {
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

    // --- expressions

    fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Eval<Value> {
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
                slice(&of, found)?
            }
            Expr::Add(parts) => {
                let values = self.all(parts, scope)?;
                let sum = add(&values)?;
                if let Value::Str(text) = &sum {
                    self.spend(text.len())?;
                }
                sum
            }
            Expr::Binary(operator, a, b) => {
                let (a, b) = (self.eval(a, scope)?, self.eval(b, scope)?);
                let found = binary(operator, &a, &b)?;
                if let Value::Str(text) = &found {
                    self.spend(text.len())?;
                }
                found
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
                if let Value::Str(text) = &found {
                    self.spend(text.len())?;
                }
                found
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

    fn arguments(&mut self, args: &Args, scope: &Rc<Scope>) -> Eval<Called> {
        let positional = self.all(&args.positional, scope)?;
        let named = args
            .named
            .iter()
            .map(|(name, expr)| Ok((Arc::clone(name), self.eval(expr, scope)?)))
            .collect::<Eval<_>>()?;
        Ok(Called { positional, named })
    }

    // --- calls

    fn call(&mut self, callee: &Value, called: Called) -> Eval<Value> {
        match callee {
            Value::Macro(closure) => Ok(Value::Str(self.call_macro(closure, called)?)),
            Value::Method(of, name) => {
                if let Value::Loop(of) = &**of {
                    return call_loop(of, name, called);
                }
                let found = methods::call(self, of, name, &called)?;
                if let Value::Str(text) = &found {
                    self.spend(text.len())?;
                }
                Ok(found)
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
                Ok(Value::Str(Text::plain(now)))
            }
            "range" => range(called),
            "namespace" => {
                let Value::Dict(dict) = filters::dict_of(called)? else { return lacks("such a namespace") };
                let mut attributes = Vec::with_capacity(dict.entries.len());
                for (key, value) in &dict.entries {
                    let Value::Str(key) = key else { return lacks("a namespace with names that are no strings") };
                    if key.as_str().starts_with('_') {
                        return raise("Chat templates cannot store underscore-prefixed attributes on a namespace");
                    }
                    attributes.push((Arc::from(key.as_str()), value.clone()));
                }
                Ok(Value::Namespace(Rc::new(RefCell::new(attributes))))
            }
            "dict" => filters::dict_of(called),
            _ => lacks(format!("the function {name}")),
        }
    }

    fn call_macro(&mut self, closure: &Closure, mut called: Called) -> Eval<Text> {
        let of = &closure.of;
        let scope = Scope::inside(&closure.scope);
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
            scope.set(*name, value.unwrap_or(Value::Undefined));
        }
        let [reads_varargs, reads_kwargs, reads_caller] = of.reads;
        if reads_caller && !has_caller {
            let at = called.named.iter().position(|(name, _)| **name == *"caller");
            let caller = at.map_or(Value::Undefined, |at| called.named.remove(at).1);
            scope.set(CALLER, caller);
        }
        if reads_kwargs {
            let mut dict = Dict::default();
            for (name, value) in called.named {
                dict.set(Value::str(&name), value);
            }
            scope.set(KWARGS, Value::Dict(Rc::new(dict)));
        } else if let Some((name, _)) = called.named.first() {
            return raise(format!("the macro takes no keyword argument {name}"));
        }
        if reads_varargs {
            scope.set(VARARGS, tuple(extra));
        } else if !extra.is_empty() {
            return raise("the macro takes not so many arguments");
        }
        let without_default = of.args.len() - of.defaults.len();
        for (place, name) in missing {
            if let Some(default) = place.checked_sub(without_default).and_then(|at| of.defaults.get(at)) {
                let value = self.eval(default, &scope)?;
                scope.set(name, value);
            }
        }
        let around = std::mem::replace(&mut self.out, Out::Buffer(Buffer::default()));
        if of.binds {
            self.levels.push(self.levels.last().copied().unwrap_or((-1, false)));
            self.bind(&of.args, &scope);
        }
        let flow = self.run(&of.body, &scope);
        if of.binds && flow.is_ok() {
            self.leave();
        }
        let written = std::mem::replace(&mut self.out, around);
        if flow? != Flow::Next {
            return lacks("a break out of a macro");
        }
        match written {
            Out::Buffer(buffer) => Ok(buffer.finish()),
            Out::Root(_) => lacks("an end of what is written"),
        }
    }
}

fn call_loop(of: &Rc<Loop>, name: &str, called: Called) -> Eval<Value> {
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
    let same = changed.as_ref().is_some_and(|before| super::value::equal(&tuple(before.clone()), &tuple(called.positional.clone())));
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

fn constant_value(constant: &Const) -> Value {
    match constant {
        Const::None => Value::None,
        Const::Bool(b) => Value::Bool(*b),
        Const::Int(i) => Value::int(*i),
        Const::Float(f) => Value::Float(*f, None),
        Const::Str(text) => Value::Str(Text::plain(Arc::clone(text))),
    }
}

/// The names that a target assigns, in order.
fn names_of(target: &Target) -> Vec<Name> {
    match target {
        Target::Name(name) => vec![*name],
        Target::Tuple(targets) => targets.iter().flat_map(names_of).collect(),
        Target::Attribute(..) => Vec::new(),
    }
}
