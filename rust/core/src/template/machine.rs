//! Statements and expressions.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::access::iterate;
use super::input::{Input, Places};
use super::limits::{HEAD, Limits, Meter};
use super::operators::{add, plain_texts};
use super::output::{Buffer, Out};
use super::program::{Expr, Filter, For, Macro, Name, Node, Program, Target};
use super::rendered::{Dump, Rendered};
use super::scope::Scope;
use super::shared::Shared;
use super::string::{FIRST_DUMP, Mark, Origin, Text};
use super::value::{Closure, Loop, Namespace, Value, bury};
use super::write::{Style, to_text};
use super::{Eval, filters, lacks, raise};

/// Names that have their number in every program.
const LOOP: Name = 0;
pub const CALLER: Name = 1;
pub const VARARGS: Name = 2;
pub const KWARGS: Name = 3;

/// What only the running Python knows: the clock, and which letters are printable or have others, which depends on its
/// version of Unicode.
pub trait Host {
    /// What Python answers, such as `"upper"` of a text; none where it cannot be asked.
    fn ask(&self, question: &str, text: &str) -> Option<String>;
}

/// Evaluates a template.
///
/// # Errors
/// The template raises, has something that the machine lacks, or takes too much.
pub fn evaluate(
    program: &Program,
    variables: &[&[(Arc<str>, Input)]],
    places: &Places,
    host: &dyn Host,
    limits: Limits,
) -> Eval<Rendered> {
    let meter = Meter::new(limits);
    let context = Rc::new(Scope::default());
    let number = &program.numbers;
    for function in ["raise_exception", "strftime_now", "range", "dict", "namespace", "lipsum", "cycler", "joiner"] {
        if let Some(number) = number.get(function) {
            context.set(&meter, *number, Value::Function(function))?;
        }
    }
    for (name, value) in variables.iter().copied().flatten() {
        if let Some(number) = number.get(&**name) {
            context.set(&meter, *number, value.value(places))?;
        }
    }
    let mut machine = Machine {
        program,
        places,
        host,
        meter,
        depth: 0,
        out: Out::root(),
        texts: vec![None; program.texts],
        levels: vec![(-1, false)],
        dumps: Vec::new(),
        scopes: Vec::new(),
        namespaces: Vec::new(),
    };
    let scope = Scope::inside(&context);
    machine.run(&program.body, &scope)?;
    match std::mem::replace(&mut machine.out, Out::root()) {
        Out::Root(root) => Ok(Rendered { root, dumps: std::mem::take(&mut machine.dumps), prompt_start: None }),
        Out::Buffer(_) => lacks("an end of what is written"),
    }
}

/// What statements do to the loop around them.
#[derive(PartialEq, Eq)]
pub enum Flow {
    /// Nothing.
    Next,
    /// They end it.
    Break,
    /// They end its round.
    Continue,
}

/// A render that is going on.
pub struct Machine<'p> {
    pub(super) program: &'p Program,
    pub(super) places: &'p Places,
    host: &'p dyn Host,
    pub(super) meter: Meter,
    pub(super) depth: usize,
    pub(super) out: Out,
    /// The constants that are texts, as far as they were needed.
    pub(super) texts: Vec<Option<Text>>,
    /// The message being rendered, and whether the loop or the macro is over messages; of each loop and macro.
    pub(super) levels: Vec<(i32, bool)>,
    pub(super) dumps: Vec<Dump>,
    /// What may hold itself: scopes hold macros, which hold their scopes; a namespace may be in a list in it.
    scopes: Vec<Weak<Scope>>,
    namespaces: Vec<Weak<Namespace>>,
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        for scope in self.scopes.drain(..).filter_map(|scope| scope.upgrade()) {
            bury(scope.variables.take().into_iter().map(|(_, value)| value));
        }
        for namespace in self.namespaces.drain(..).filter_map(|namespace| namespace.upgrade()) {
            bury(namespace.0.take().into_iter().map(|(_, value)| value));
        }
    }
}

impl Machine<'_> {
    /// What Python says of a text.
    ///
    /// It takes as long as many steps, and up to four bytes for each character of a text and of the answer.
    pub fn ask(&self, question: &str, text: &str) -> Eval<String> {
        self.meter.work(100 + text.len())?;
        self.meter.room(text.len().saturating_mul(10))?;
        self.host.ask(question, text).map_or_else(|| lacks(format!("{question} without Python")), Ok)
    }

    /// A new namespace.
    pub fn new_namespace(&mut self, attributes: Vec<(Arc<str>, Value)>) -> Eval<Value> {
        self.meter.spend(attributes.len().saturating_mul(size_of::<(Arc<str>, Value)>()))?;
        let namespace = Rc::new(Namespace(RefCell::new(attributes)));
        self.namespaces.push(Rc::downgrade(&namespace));
        self.meter.made(Value::Namespace(namespace))
    }

    /// What a macro or a call is defined in.
    fn closure(&mut self, of: &Arc<Macro>, scope: &Rc<Scope>) -> Eval<Value> {
        scope.keep(&self.meter)?;
        self.scopes.push(Rc::downgrade(scope));
        self.meter.made(Value::Macro(Rc::new(Closure { of: Arc::clone(of), scope: Rc::clone(scope) })))
    }

    /// The origin of a container that was written.
    pub fn new_dump(&mut self, container: Origin, style: &Style, text: Shared) -> Eval<Origin> {
        self.meter.spend(HEAD + style.held())?;
        self.dumps.push(Dump { container, style: style.clone(), text });
        Ok(FIRST_DUMP + super::string::size(self.dumps.len() - 1))
    }

    /// The field of an origin: of a dump the container that was written.
    pub fn field(&self, origin: Origin) -> Origin {
        origin.checked_sub(FIRST_DUMP).map_or(origin, |at| self.dumps[at as usize].container)
    }

    /// Does statements.
    pub fn run(&mut self, body: &[Node], scope: &Rc<Scope>) -> Eval<Flow> {
        for node in body {
            self.depth += 1;
            self.meter.enter(self.depth)?;
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
                self.meter.spend(data.len() * self.out.weight())?;
                self.out.data(data);
            }
            Node::Output(Expr::Add(parts)) => {
                let values = self.all(parts, scope)?;
                // Texts need not be joined to be written.
                if let Some(texts) = plain_texts(&values) {
                    return texts.into_iter().try_for_each(|text| self.write(text)).map(|()| Flow::Next);
                }
                let text = to_text(self, &add(&self.meter, &values)?)?;
                self.write(&text)?;
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
                self.bind(&names_of(target), scope)?;
            }
            Node::AssignBlock(target, filters, body) => {
                // The filters find what the body set.
                let inner = Scope::inside(scope);
                let text = self.captured(body, &inner)?;
                let value = self.filtered(Value::Str(text), filters, &inner)?;
                self.assign(target, value, scope)?;
            }
            Node::Macro(of) => {
                let closure = self.closure(of, scope)?;
                scope.set(&self.meter, of.name, closure)?;
            }
            Node::Call(expr, body) => {
                let Expr::Call(callee, args) = expr else { return lacks("a call block around no call") };
                let callee = self.eval(callee, scope)?;
                let mut called = self.arguments(args, scope)?;
                called.named.push((Arc::from("caller"), self.closure(body, scope)?));
                let value = self.call(&callee, called)?;
                let text = to_text(self, &value)?;
                self.write(&text)?;
            }
            Node::Unset(names) => names.iter().try_for_each(|name| scope.set(&self.meter, *name, Value::Undefined))?,
            Node::Generation(body) => {
                let text = self.captured(body, &Scope::inside(scope))?;
                self.meter.room(text.held())?;
                let text = text.with_mark(Mark::Generation);
                self.write(&text)?;
            }
            Node::FilterBlock(filters, body) => {
                let inner = Scope::inside(scope);
                let text = self.captured(body, &inner)?;
                let value = self.filtered(Value::Str(text), filters, &inner)?;
                let text = to_text(self, &value)?;
                self.write(&text)?;
            }
            Node::With(pairs, body) => {
                let inner = Scope::inside(scope);
                for (name, expr) in pairs {
                    let value = self.eval(expr, scope)?;
                    inner.set(&self.meter, *name, value)?;
                }
                return self.run(body, &inner);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &Text) -> Eval<()> {
        self.meter.spend(text.held().saturating_mul(self.out.weight()))?;
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
            Out::Buffer(buffer) => buffer.finish(&self.meter),
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
            Target::Name(name) => scope.set(&self.meter, *name, value)?,
            Target::Tuple(targets) => {
                let values = iterate(&self.meter, &value)?;
                if values.len() != targets.len() {
                    return raise(format!("cannot unpack {} values into {}", values.len(), targets.len()));
                }
                for (target, value) in std::iter::zip(targets, values) {
                    self.assign(target, value, scope)?;
                }
            }
            Target::Attribute(name, attribute) => {
                let Some(Value::Namespace(attributes)) = scope.get(&self.meter, *name)? else {
                    return raise("cannot assign attribute on non-namespace object");
                };
                if attribute.starts_with('_') {
                    return raise("Chat templates cannot store underscore-prefixed attributes on a namespace");
                }
                let mut attributes = attributes.0.borrow_mut();
                self.meter.work(attributes.len() / 4)?;
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
        let mut items = iterate(&self.meter, &value)?;
        self.meter.spend(HEAD + items.len().saturating_mul(size_of::<Value>()))?;
        let mut end = None;
        if let Some(test) = &of.test {
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                self.meter.work(1)?;
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
        let state = Rc::new(Loop { items, index: Cell::new(0), depth: 0, changed: RefCell::default() });
        // As in Jinja, a round that `break` or `continue` ends does not count.
        let mut is_else = true;
        let mut is_broken = false;
        for index in 0..count {
            self.meter.work(1)?;
            state.index.set(index);
            let inner = Scope::inside(scope);
            self.assign(&of.target, state.items[index].clone(), &inner)?;
            inner.set(&self.meter, LOOP, Value::Loop(Rc::clone(&state)))?;
            self.next_round(&of.names, &inner)?;
            match self.run(&of.body, &inner)? {
                Flow::Next => is_else = false,
                Flow::Continue => {}
                Flow::Break => {
                    is_broken = true;
                    break;
                }
            }
        }
        if let (Some(halt), false) = (end, is_broken) {
            return Err(halt);
        }
        if is_else && !of.or_else.is_empty() {
            let flow = self.run(&of.or_else, &Scope::inside(scope))?;
            if flow != Flow::Next {
                return lacks("a break out of an else");
            }
        }
        self.leave()?;
        Ok(Flow::Next)
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
