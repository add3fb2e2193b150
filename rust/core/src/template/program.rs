//! The syntax tree of a template, read from the form that the front writes.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::access::is_of_dicts;

/// A template.
#[derive(Debug)]
pub struct Program {
    /// Its statements.
    pub body: Vec<Node>,
    /// Names by number.
    pub names: Vec<Arc<str>>,
    /// The number of each name.
    pub numbers: HashMap<Arc<str>, Name>,
    /// How many constants are texts.
    pub texts: usize,
}

/// The number of a name.
pub type Name = u32;

/// A constant.
#[derive(Clone, Debug)]
pub enum Const {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A text, and its number among those of the program.
    Str(Arc<str>, usize),
}

/// What is assigned to.
#[derive(Debug)]
pub enum Target {
    /// A name.
    Name(Name),
    /// Several, unpacked.
    Tuple(Vec<Target>),
    /// An attribute of a namespace.
    Attribute(Name, Arc<str>),
}

/// A statement.
#[derive(Debug)]
pub enum Node {
    /// Text of the template.
    Data(Arc<str>),
    /// `{{ … }}`
    Output(Expr),
    /// `{% if %}`: conditions with bodies, and the rest.
    If(Vec<(Expr, Vec<Node>)>, Vec<Node>),
    /// `{% for %}`
    For(Box<For>),
    /// `{% set … = … %}`
    Assign(Target, Expr),
    /// `{% set … %}…{% endset %}`, with filters.
    AssignBlock(Target, Vec<Filter>, Vec<Node>),
    /// `{% macro %}`
    Macro(Arc<Macro>),
    /// `{% call %}`
    Call(Expr, Arc<Macro>),
    /// Names that are this scope's own from its beginning, whatever an outer scope has under them.
    Unset(Vec<Name>),
    /// `{% generation %}`
    Generation(Vec<Node>),
    /// `{% filter %}`
    FilterBlock(Vec<Filter>, Vec<Node>),
    /// `{% with %}`
    With(Vec<(Name, Expr)>, Vec<Node>),
    /// `{% break %}`
    Break,
    /// `{% continue %}`
    Continue,
}

/// A loop.
#[derive(Debug)]
pub struct For {
    /// What is assigned.
    pub target: Target,
    /// The names in it.
    pub names: Vec<Name>,
    /// What is gone through.
    pub iter: Expr,
    /// Which items count.
    pub test: Option<Expr>,
    /// What is done.
    pub body: Vec<Node>,
    /// What is done if there is none.
    pub or_else: Vec<Node>,
    /// Whether it may be called.
    pub recursive: bool,
}

/// A macro, or the body of a call.
#[derive(Debug)]
pub struct Macro {
    /// Its name.
    pub name: Name,
    /// Its arguments.
    pub args: Vec<Name>,
    /// The defaults of the last ones.
    pub defaults: Vec<Expr>,
    /// Its statements.
    pub body: Vec<Node>,
    /// Whether it reads `varargs`, `kwargs`, `caller`.
    pub reads: [bool; 3],
    /// Whether it says which message is rendered: macros do, the bodies of calls do not.
    pub binds: bool,
}

/// A filter in a row of them.
#[derive(Debug)]
pub struct Filter {
    /// Its name.
    pub name: Arc<str>,
    /// What it is called with.
    pub args: Args,
}

/// Arguments.
#[derive(Debug, Default)]
pub struct Args {
    /// By position.
    pub positional: Vec<Expr>,
    /// By name.
    pub named: Vec<(Arc<str>, Expr)>,
}

/// An expression.
#[derive(Debug)]
pub enum Expr {
    /// A constant.
    Const(Const),
    /// A variable.
    Name(Name),
    /// `[…]`
    List(Vec<Expr>),
    /// `(…)`
    Tuple(Vec<Expr>),
    /// `{…}`
    Dict(Vec<(Expr, Expr)>),
    /// `a.b`, and whether Python may know an attribute of that name.
    Attribute(Box<Expr>, Arc<str>, bool),
    /// `a[b]`
    Item(Box<Expr>, Box<Expr>),
    /// `a[b:c:d]`
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    /// `a + b + …`
    Add(Vec<Expr>),
    /// `a - b` and so on.
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// `-a`
    Neg(Box<Expr>),
    /// `+a`
    Pos(Box<Expr>),
    /// `not a`
    Not(Box<Expr>),
    /// `a and b`
    And(Box<Expr>, Box<Expr>),
    /// `a or b`
    Or(Box<Expr>, Box<Expr>),
    /// `a < b < c`
    Compare(Box<Expr>, Vec<(&'static str, Expr)>),
    /// `a ~ b`
    Concat(Vec<Expr>),
    /// `b if a else c`
    Cond(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    /// `a | b`
    Filter(Box<Expr>, Filter),
    /// `a is b`
    Test(Box<Expr>, Filter),
    /// `a(…)`
    Call(Box<Expr>, Args),
}

const BINARY: [&str; 6] = ["sub", "mul", "div", "floordiv", "mod", "pow"];
const COMPARE: [&str; 8] = ["eq", "ne", "lt", "lteq", "gt", "gteq", "in", "notin"];

impl Program {
    /// Reads a program: `{"names": [...], "body": [...]}`, statements and expressions as lists that begin with what they
    /// are.
    ///
    /// # Errors
    /// The text is no program; only a front of another version writes one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let reader = Reader { texts: Cell::new(0) };
        let names: Vec<Arc<str>> = list(&json["names"])?.iter().map(string).collect::<Result<_, _>>()?;
        let numbers = std::iter::zip(names.iter().cloned(), 0..).collect();
        Ok(Self { body: reader.body(&json["body"])?, names, numbers, texts: reader.texts.get() })
    }
}

struct Reader {
    /// So many constants that are texts were read.
    texts: Cell<usize>,
}

fn list(json: &Json) -> Result<&Vec<Json>, String> {
    json.as_array().ok_or_else(|| format!("expected a list, got {json}"))
}

fn string(json: &Json) -> Result<Arc<str>, String> {
    json.as_str().map(Arc::from).ok_or_else(|| format!("expected a text, got {json}"))
}

fn name(json: &Json) -> Result<Name, String> {
    json.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| format!("expected a number, got {json}"))
}

fn one_of(known: &[&'static str], json: &Json) -> Result<&'static str, String> {
    let text = string(json)?;
    known.iter().find(|each| ***each == *text).copied().ok_or_else(|| format!("unknown operator {text}"))
}

impl Reader {
    fn body(&self, json: &Json) -> Result<Vec<Node>, String> {
        list(json)?.iter().map(|node| self.node(node)).collect()
    }

    fn node(&self, json: &Json) -> Result<Node, String> {
        let n = list(json)?;
        let at = |index: usize| n.get(index).unwrap_or(&Json::Null);
        Ok(match at(0).as_str().unwrap_or("") {
            "data" => Node::Data(string(at(1))?),
            "out" => Node::Output(self.expr(at(1))?),
            "if" => {
                let branches = list(at(1))?
                    .iter()
                    .map(|b| Ok((self.expr(&b[0])?, self.body(&b[1])?)))
                    .collect::<Result<_, String>>()?;
                Node::If(branches, self.body(at(2))?)
            }
            "for" => Node::For(Box::new(For {
                target: self.target(at(1))?,
                names: list(at(2))?.iter().map(name).collect::<Result<_, _>>()?,
                iter: self.expr(at(3))?,
                test: self.optional(at(4))?.map(|test| *test),
                body: self.body(at(5))?,
                or_else: self.body(at(6))?,
                recursive: at(7).as_bool().unwrap_or(false),
            })),
            "set" => Node::Assign(self.target(at(1))?, self.expr(at(2))?),
            "setblock" => Node::AssignBlock(self.target(at(1))?, self.filters(at(2))?, self.body(at(3))?),
            "macro" => Node::Macro(Arc::new(self.make_macro(at(1))?)),
            "call" => Node::Call(self.expr(at(1))?, Arc::new(self.make_macro(at(2))?)),
            "generation" => Node::Generation(self.body(at(1))?),
            "filter" => Node::FilterBlock(self.filters(at(1))?, self.body(at(2))?),
            "with" => {
                let pairs = list(at(1))?
                    .iter()
                    .map(|p| Ok((name(&p[0])?, self.expr(&p[1])?)))
                    .collect::<Result<_, String>>()?;
                Node::With(pairs, self.body(at(2))?)
            }
            "unset" => Node::Unset(list(at(1))?.iter().map(name).collect::<Result<_, String>>()?),
            "break" => Node::Break,
            "continue" => Node::Continue,
            other => return Err(format!("unknown statement {other:?}")),
        })
    }

    fn target(&self, json: &Json) -> Result<Target, String> {
        let n = list(json)?;
        Ok(match n[0].as_str().unwrap_or("") {
            "name" => Target::Name(name(&n[1])?),
            "tuple" => Target::Tuple(list(&n[1])?.iter().map(|t| self.target(t)).collect::<Result<_, _>>()?),
            "ns" => Target::Attribute(name(&n[1])?, string(&n[2])?),
            other => return Err(format!("unknown target {other:?}")),
        })
    }

    fn make_macro(&self, json: &Json) -> Result<Macro, String> {
        let reads = list(&json["reads"])?;
        let read = |index: usize| reads.get(index).and_then(Json::as_bool).unwrap_or(false);
        Ok(Macro {
            name: name(&json["name"])?,
            args: list(&json["args"])?.iter().map(name).collect::<Result<_, _>>()?,
            defaults: self.exprs(&json["defaults"])?,
            body: self.body(&json["body"])?,
            reads: [read(0), read(1), read(2)],
            binds: json["binds"].as_bool().unwrap_or(false),
        })
    }

    fn filters(&self, json: &Json) -> Result<Vec<Filter>, String> {
        list(json)?.iter().map(|f| Ok(Filter { name: string(&f[0])?, args: self.args(&f[1])? })).collect()
    }

    fn args(&self, json: &Json) -> Result<Args, String> {
        Ok(Args {
            positional: self.exprs(&json[0])?,
            named: list(&json[1])?
                .iter()
                .map(|p| Ok((string(&p[0])?, self.expr(&p[1])?)))
                .collect::<Result<_, String>>()?,
        })
    }

    fn exprs(&self, json: &Json) -> Result<Vec<Expr>, String> {
        list(json)?.iter().map(|e| self.expr(e)).collect()
    }

    fn boxed(&self, json: &Json) -> Result<Box<Expr>, String> {
        Ok(Box::new(self.expr(json)?))
    }

    fn optional(&self, json: &Json) -> Result<Option<Box<Expr>>, String> {
        if json.is_null() { Ok(None) } else { Ok(Some(self.boxed(json)?)) }
    }

    fn constant(&self, json: &Json) -> Result<Const, String> {
        Ok(match json {
            Json::Null => Const::None,
            Json::Bool(b) => Const::Bool(*b),
            Json::Number(n) => Const::Int(n.as_i64().ok_or_else(|| format!("no whole number: {n}"))?),
            Json::String(s) => {
                let number = self.texts.replace(self.texts.get() + 1);
                Const::Str(Arc::from(s.as_str()), number)
            }
            _ => return Err(format!("no constant: {json}")),
        })
    }

    fn expr(&self, json: &Json) -> Result<Expr, String> {
        let n = list(json)?;
        let at = |index: usize| n.get(index).unwrap_or(&Json::Null);
        Ok(match at(0).as_str().unwrap_or("") {
            "const" => Expr::Const(self.constant(at(1))?),
            "float" => {
                let text = string(at(1))?;
                Expr::Const(Const::Float(text.parse().map_err(|_| format!("no number: {text}"))?))
            }
            "name" => Expr::Name(name(at(1))?),
            "list" => Expr::List(self.exprs(at(1))?),
            "tuple" => Expr::Tuple(self.exprs(at(1))?),
            "dict" => Expr::Dict(
                list(at(1))?
                    .iter()
                    .map(|p| Ok((self.expr(&p[0])?, self.expr(&p[1])?)))
                    .collect::<Result<_, String>>()?,
            ),
            "attr" => {
                let name = string(at(2))?;
                let is_known = is_of_dicts(&name);
                Expr::Attribute(self.boxed(at(1))?, name, is_known)
            }
            "item" => Expr::Item(self.boxed(at(1))?, self.boxed(at(2))?),
            "slice" => {
                Expr::Slice(self.boxed(at(1))?, [self.optional(at(2))?, self.optional(at(3))?, self.optional(at(4))?])
            }
            "add" => Expr::Add(self.exprs(at(1))?),
            "bin" => Expr::Binary(one_of(&BINARY, at(1))?, self.boxed(at(2))?, self.boxed(at(3))?),
            "neg" => Expr::Neg(self.boxed(at(1))?),
            "pos" => Expr::Pos(self.boxed(at(1))?),
            "not" => Expr::Not(self.boxed(at(1))?),
            "and" => Expr::And(self.boxed(at(1))?, self.boxed(at(2))?),
            "or" => Expr::Or(self.boxed(at(1))?, self.boxed(at(2))?),
            "cmp" => Expr::Compare(
                self.boxed(at(1))?,
                list(at(2))?
                    .iter()
                    .map(|p| Ok((one_of(&COMPARE, &p[0])?, self.expr(&p[1])?)))
                    .collect::<Result<_, String>>()?,
            ),
            "concat" => Expr::Concat(self.exprs(at(1))?),
            "cond" => Expr::Cond(self.boxed(at(1))?, self.boxed(at(2))?, self.optional(at(3))?),
            "filter" => Expr::Filter(self.boxed(at(1))?, Filter { name: string(at(2))?, args: self.args(at(3))? }),
            "test" => Expr::Test(self.boxed(at(1))?, Filter { name: string(at(2))?, args: self.args(at(3))? }),
            "callx" => Expr::Call(self.boxed(at(1))?, self.args(at(2))?),
            other => return Err(format!("unknown expression {other:?}")),
        })
    }
}
