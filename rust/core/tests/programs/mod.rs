//! Programs and inputs out of bytes: every statement and expression, filter, test and method, with arguments that fit
//! and that do not. The same bytes make the same program.

use std::sync::Arc;

use chatspan_core::render::{Findings, Opening, Role, Shape, TurnScaffold};
use chatspan_core::template::input::{Input, Key, Place, Places};
use chatspan_core::template::string::{FIRST_DUMP, Origin, Run};
use chatspan_core::template::{Halt, Host, Limits, Program, Rendered, Shared, render};
use serde_json::{Value as Json, json};

const NAMES: [&str; 22] = [
    "loop",
    "caller",
    "varargs",
    "kwargs",
    "messages",
    "tools",
    "word",
    "number",
    "ns",
    "a",
    "b",
    "m",
    "f",
    "g",
    "namespace",
    "range",
    "dict",
    "raise_exception",
    "strftime_now",
    "cycler",
    "nothing",
    "add_generation_prompt",
];
/// At most so many messages.
const MESSAGES: usize = 4;
/// Those of `NAMES` that statements assign to.
const ASSIGNED: [u32; 6] = [8, 9, 10, 11, 12, 13];
const NS: u32 = 8;
const TEXTS: [&str; 30] = [
    "",
    "a",
    " ",
    "\n",
    "Hi <b>",
    "e\u{301}😀",
    "a\u{a0}b",
    " x y \r\n z\t",
    "<|im_start|>",
    "é",
    "aaaa",
    "0",
    "-12",
    "1.5",
    "inf",
    "role",
    "content",
    "content.0.text",
    "key",
    "value",
    "lower",
    "upper",
    "trim",
    "defined",
    "string",
    "odd",
    "%Y",
    "a.b",
    "ß\u{2028}İ",
    "'\"\\\u{1}",
];
const NUMBERS: [i64; 14] = [0, 1, -1, 2, 3, -2, 7, 40, -40, 300, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1];
const FLOATS: [&str; 8] = ["0.5", "-0.0", "1e300", "-1e300", "inf", "nan", "3.0", "1e-7"];
const ATTRIBUTES: [&str; 30] = [
    "role",
    "content",
    "text",
    "type",
    "a",
    "b",
    "index",
    "index0",
    "revindex0",
    "first",
    "last",
    "length",
    "previtem",
    "nextitem",
    "depth",
    "items",
    "keys",
    "get",
    "cycle",
    "changed",
    "append",
    "pop",
    "_x",
    "__class__",
    "count",
    "strip",
    "start",
    "real",
    "fromkeys",
    "nothing",
];
const METHODS: [&str; 46] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "title",
    "upper",
    "copy",
    "get",
    "items",
    "keys",
    "values",
    "cycle",
    "changed",
    "swapcase",
    "update",
];
const FILTERS: [&str; 43] = [
    "abs",
    "capitalize",
    "count",
    "e",
    "escape",
    "first",
    "forceescape",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "safe",
    "string",
    "title",
    "upper",
    "wordcount",
    "tojson",
    "trim",
    "default",
    "d",
    "join",
    "replace",
    "map",
    "select",
    "reject",
    "selectattr",
    "rejectattr",
    "dictsort",
    "sort",
    "unique",
    "reverse",
    "indent",
    "int",
    "float",
    "sum",
    "min",
    "max",
    "batch",
    "round",
    "nothing",
    "tojson",
    "indent",
];
const TESTS: [&str; 38] = [
    "defined",
    "undefined",
    "none",
    "boolean",
    "true",
    "false",
    "integer",
    "float",
    "number",
    "string",
    "mapping",
    "sequence",
    "iterable",
    "callable",
    "escaped",
    "odd",
    "even",
    "divisibleby",
    "eq",
    "equalto",
    "==",
    "ne",
    "!=",
    "lt",
    "lessthan",
    "<",
    "le",
    "<=",
    "gt",
    ">",
    "ge",
    ">=",
    "in",
    "lower",
    "upper",
    "sameas",
    "filter",
    "nothing",
];
/// Names of arguments that some filter, test or method takes.
const ARGUMENTS: [&str; 26] = [
    "chars",
    "ensure_ascii",
    "indent",
    "separators",
    "sort_keys",
    "default_value",
    "boolean",
    "d",
    "attribute",
    "old",
    "new",
    "count",
    "default",
    "width",
    "first",
    "blank",
    "base",
    "case_sensitive",
    "by",
    "reverse",
    "sep",
    "maxsplit",
    "keepends",
    "message",
    "format",
    "a",
];
const BINARY: [&str; 6] = ["sub", "mul", "div", "floordiv", "mod", "pow"];
const COMPARE: [&str; 8] = ["eq", "ne", "lt", "lteq", "gt", "gteq", "in", "notin"];

/// Choices out of bytes; behind the last one the first of each.
pub struct Choices<'b> {
    bytes: std::slice::Iter<'b, u8>,
    depth: usize,
}

impl<'b> Choices<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes: bytes.iter(), depth: 0 }
    }

    fn below(&mut self, count: usize) -> usize {
        self.bytes.next().map_or(0, |byte| usize::from(*byte) % count)
    }

    fn often(&mut self) -> bool {
        self.below(4) > 0
    }

    fn rarely(&mut self) -> bool {
        self.below(4) == 1
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    fn name(&mut self) -> u32 {
        u32::try_from(self.below(NAMES.len())).unwrap()
    }

    fn assigned(&mut self) -> u32 {
        ASSIGNED[self.below(ASSIGNED.len())]
    }

    fn is_over(&self) -> bool {
        self.bytes.len() == 0 || self.depth > 12
    }

    fn some<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        self.depth += 1;
        let made = (0..count).map(|_| make(self)).collect();
        self.depth -= 1;
        made
    }

    // --- programs

    /// A program, as the front writes it: what tries everything has a namespace, too.
    pub fn program(&mut self) -> Json {
        let mut body = vec![json!(["set", ["name", NS], ["callx", ["name", 14], [[], [["a", ["name", 4]]]]]])];
        while self.bytes.len() > 0 {
            body.push(self.statement());
        }
        json!({"names": NAMES, "body": body})
    }

    fn body(&mut self) -> Vec<Json> {
        self.some(3, Self::statement)
    }

    fn statement(&mut self) -> Json {
        if self.is_over() {
            return json!(["data", "."]);
        }
        match self.below(20) {
            0 => json!(["data", self.one(&TEXTS)]),
            1..=5 => json!(["out", self.expr()]),
            6 => {
                let branches = self.some(3, |choices| json!([choices.expr(), choices.body()]));
                json!(["if", branches, self.body()])
            }
            7..=9 => self.for_loop(),
            10 | 11 => json!(["set", self.target(), self.expr()]),
            12 => json!(["setblock", self.target(), self.filters(), self.body()]),
            13 => json!(["macro", self.macro_of(None)]),
            14 => json!(["call", ["callx", self.callee(), self.arguments()], self.macro_of(Some(1))]),
            15 => json!(["generation", self.body()]),
            16 => json!(["filter", self.filters(), self.body()]),
            17 => {
                let pairs = self.some(2, |choices| json!([choices.assigned(), choices.expr()]));
                json!(["with", pairs, self.body()])
            }
            18 => json!(["break"]),
            _ => json!(["continue"]),
        }
    }

    fn for_loop(&mut self) -> Json {
        let names: Vec<u32> = (0..=usize::from(self.rarely())).map(|_| self.assigned()).collect();
        let targets: Vec<Json> = names.iter().map(|name| json!(["name", name])).collect();
        let target = if targets.len() == 1 { targets[0].clone() } else { json!(["tuple", targets]) };
        let iter = if self.often() { json!(["name", ([4, 5, 6, 9][self.below(4)])]) } else { self.expr() };
        let test = if self.rarely() { self.expr() } else { Json::Null };
        json!(["for", target, names, iter, test, self.body(), self.body(), false])
    }

    fn target(&mut self) -> Json {
        match self.below(6) {
            0 => json!(["tuple", [["name", self.assigned()], ["name", self.assigned()]]]),
            1 | 2 => json!(["ns", NS, self.one(&["a", "b", "x", "_y"])]),
            3 => json!(["ns", self.assigned(), "a"]),
            _ => json!(["name", self.assigned()]),
        }
    }

    fn macro_of(&mut self, name: Option<u32>) -> Json {
        let name = name.unwrap_or_else(|| self.assigned());
        let args: Vec<u32> = self.some(3, |choices| if choices.rarely() { 1 } else { choices.assigned() });
        let defaults: Vec<Json> = (0..self.below(args.len() + 1)).map(|_| self.expr()).collect();
        let reads: Vec<bool> = (0..3).map(|_| self.rarely()).collect();
        let binds = name != 1;
        json!({"name": name, "args": args, "defaults": defaults, "body": self.body(), "reads": reads, "binds": binds})
    }

    fn filters(&mut self) -> Vec<Json> {
        self.some(2, |choices| json!([choices.one(&FILTERS), choices.arguments()]))
    }

    fn arguments(&mut self) -> Json {
        let positional = self.some(3, Self::expr);
        let named = self.some(2, |choices| json!([choices.one(&ARGUMENTS), choices.expr()]));
        json!([positional, named])
    }

    fn callee(&mut self) -> Json {
        match self.below(4) {
            0 => json!(["name", self.name()]),
            1 => json!(["name", self.assigned()]),
            2 => json!(["attr", self.expr(), self.one(&METHODS)]),
            _ => json!(["attr", ["name", ([4, 6, 0, NS][self.below(4)])], self.one(&METHODS)]),
        }
    }

    fn expr(&mut self) -> Json {
        if self.is_over() {
            return json!(["name", 6]);
        }
        self.depth += 1;
        let made = self.expression();
        self.depth -= 1;
        made
    }

    fn expression(&mut self) -> Json {
        let pair = |choices: &mut Self| (choices.expr(), choices.expr());
        match self.below(40) {
            0 => json!(["const", ([Json::Null, json!(true), json!(false)][self.below(3)])]),
            1 | 2 => json!(["const", NUMBERS[self.below(NUMBERS.len())]]),
            3..=5 => json!(["const", self.one(&TEXTS)]),
            6 => json!(["float", self.one(&FLOATS)]),
            7..=12 => json!(["name", self.name()]),
            13 => json!(["list", self.some(3, Self::expr)]),
            14 => json!(["tuple", self.some(3, Self::expr)]),
            15 => json!(["dict", self.some(3, pair)]),
            16..=18 => json!(["attr", self.expr(), self.one(&ATTRIBUTES)]),
            19 | 20 => json!(["item", self.expr(), self.expr()]),
            21 | 22 => {
                let of = self.expr();
                let mut part = || if self.rarely() { Json::Null } else { self.expr() };
                json!(["slice", of, part(), part(), part()])
            }
            23 => json!(["add", self.some(4, Self::expr)]),
            24 | 25 => json!(["bin", self.one(&BINARY), self.expr(), self.expr()]),
            26 => json!([self.one(&["neg", "pos", "not"]), self.expr()]),
            27 => json!([self.one(&["and", "or"]), self.expr(), self.expr()]),
            28 | 29 => {
                let first = self.expr();
                json!(["cmp", first, self.some(2, |choices| json!([choices.one(&COMPARE), choices.expr()]))])
            }
            30 => json!(["concat", self.some(4, Self::expr)]),
            31 => {
                let no = if self.rarely() { Json::Null } else { self.expr() };
                json!(["cond", self.expr(), self.expr(), no])
            }
            32..=34 => json!(["filter", self.expr(), self.one(&FILTERS), self.arguments()]),
            35 => json!(["test", self.expr(), self.one(&TESTS), self.arguments()]),
            _ => json!(["callx", self.callee(), self.arguments()]),
        }
    }

    // --- inputs

    /// Messages, tools, a word and a number, each value with its place.
    pub fn input(&mut self) -> (Vec<(Arc<str>, Input)>, Places) {
        let mut places = Places::default();
        let messages = (0..=self.below(MESSAGES)).map(|index| self.message(&mut places, index)).collect();
        let mut variables = vec![(Arc::from("messages"), Input::List(messages, None))];
        for name in ["tools", "word", "number"] {
            let key = Some(Key::Name(name.into()));
            let value = match name {
                "tools" => self.value(&mut places, None, key, -1),
                "word" => text(self.one(&TEXTS), &mut places, None, key, -1),
                _ => Input::Int(NUMBERS[self.below(NUMBERS.len())], push(&mut places, None, key, -1, None)),
            };
            variables.push((name.into(), value));
        }
        variables.push(("add_generation_prompt".into(), Input::Bool(self.rarely())));
        (variables, places)
    }

    fn message(&mut self, places: &mut Places, index: usize) -> Input {
        let index = i32::try_from(index).unwrap();
        let origin = push(places, None, None, index, None);
        let mut entries = vec![];
        for name in ["role", "content", "a"] {
            let key = Some(Key::Name(name.into()));
            let value = if self.often() {
                text(self.one(&TEXTS), places, origin, key, index)
            } else {
                self.value(places, origin, key, index)
            };
            entries.push((Input::Str(name.into(), None), value));
        }
        Input::Dict(entries, origin, true)
    }

    fn value(&mut self, places: &mut Places, parent: Option<Origin>, key: Option<Key>, message: i32) -> Input {
        if self.is_over() {
            return Input::None;
        }
        self.depth += 1;
        let made = match self.below(8) {
            0 => Input::None,
            1 => Input::Bool(self.rarely()),
            2 => Input::Int(NUMBERS[self.below(NUMBERS.len())], push(places, parent, key, message, None)),
            3 => Input::Float(
                FLOATS[self.below(FLOATS.len())].parse().unwrap(),
                push(places, parent, key, message, None),
            ),
            4 => text(self.one(&TEXTS), places, parent, key, message),
            5 => {
                let origin = push(places, parent, key, message, None);
                Input::List(self.items(places, origin, message), origin)
            }
            6 => {
                let origin = push(places, parent, key, message, None);
                Input::Tuple(self.items(places, origin, message))
            }
            _ => {
                let origin = push(places, parent, key, message, None);
                let entries = (0..self.below(4)).map(|at| {
                    let name = ["a", "text", "role", "é"][at];
                    (Input::Str(name.into(), None), self.value(places, origin, Some(Key::Name(name.into())), message))
                });
                Input::Dict(entries.collect(), origin, false)
            }
        };
        self.depth -= 1;
        made
    }

    fn items(&mut self, places: &mut Places, origin: Option<Origin>, message: i32) -> Vec<Input> {
        (0..self.below(4)).map(|at| self.value(places, origin, Some(Key::Index(at)), message)).collect()
    }
}

fn push(
    places: &mut Places,
    parent: Option<Origin>,
    key: Option<Key>,
    message: i32,
    text: Option<Shared>,
) -> Option<Origin> {
    places.push(Place { parent, key, message, text })
}

fn text(text: &str, places: &mut Places, parent: Option<Origin>, key: Option<Key>, message: i32) -> Input {
    // Every other length as its giver holds it.
    let text = if text.len() & 1 == 0 { Shared::from(text) } else { Shared::Held(Arc::new(text.to_owned())) };
    let origin = if text.is_empty() { None } else { push(places, parent, key, message, Some(text.clone())) };
    Input::Str(text, origin)
}

/// Answers as Python would, as far as it matters.
struct Answers;

impl Host for Answers {
    fn ask(&self, question: &str, text: &str) -> Option<String> {
        match question {
            "upper" => Some(text.to_uppercase()),
            "lower" | "casefold" | "title" | "title filter" | "capitalize" => Some(text.to_lowercase()),
            "repr" => Some(format!("'{text}'")),
            "strftime" => text.contains('Y').then(|| text.replace("%Y", "2024")),
            _ => Some(if text.len() & 1 == 0 { "True" } else { "False" }.into()),
        }
    }
}

/// Says what was rendered, if that panics.
struct Shown<'s>(&'s str, &'s [(Arc<str>, Input)]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("program: {}\ninput: {:?}", self.0, self.1);
        }
    }
}

/// Renders what the bytes make.
///
/// # Panics
/// The machine does, or a render breaks its promises.
pub fn check(bytes: &[u8]) -> &'static str {
    let (given, made) = bytes.split_at(bytes.len().min(32));
    let (variables, places) = Choices::new(given).input();
    let json = Choices::new(made).program().to_string();
    let Ok(program) = Program::parse(&json) else { return "too deep" };
    let _shown = Shown(&json, &variables);
    let limits = Limits { steps: 3000, depth: 120, bytes: 1 << 16 };
    let prompt = given.first().is_some_and(|byte| byte & 1 == 1);
    match render(&program, &variables, &places, prompt, &Answers, limits) {
        Ok(rendered) => {
            check_render(&rendered, &places);
            "rendered"
        }
        Err(Halt::Raised(_)) => "raised",
        Err(Halt::Lacking(_)) => "lacking",
        Err(Halt::Limit(_)) => "limit",
    }
}

fn check_render(rendered: &Rendered, places: &Places) {
    let root = &rendered.root;
    let part = |start: u32, end: u32| {
        let part = root.text.get(start as usize..end as usize);
        part.unwrap_or_else(|| panic!("[{start}, {end}) is no part of {:?}", root.text))
    };
    let mut last = 0;
    for run in &root.runs {
        assert!(last <= run.start && run.start < run.end, "runs are not in order: {:?}", root.runs);
        last = run.end;
        let written = part(run.start, run.end);
        let source = source_of(run, rendered, places);
        if let Ok(at) = usize::try_from(run.at) {
            let source = source.unwrap_or_else(|| panic!("{run:?} is a copy of what has no text"));
            assert_eq!(source.get(at..at + written.len()), Some(written), "{run:?} in {:?}", root.text);
        }
    }
    assert!(root.owners.is_sorted_by(|a, b| a.0 < b.0), "owners: {:?}", root.owners);
    for (start, _) in &root.owners {
        part(*start, *start);
    }
    for (start, end) in &root.generation {
        part(*start, *end);
    }
    // One for each message, of which there are few.
    let roles: Vec<Role> = [Role::Other, Role::Assistant, Role::Tool].into_iter().cycle().take(MESSAGES).collect();
    let shapes: Vec<Shape> = vec!["user".into(); MESSAGES];
    // With an opening, without one, and with one that nobody knows.
    let context = ("user".to_owned(), "user".to_owned());
    for openings in [vec![(context.clone(), Some(Opening::default()))], vec![(context, None)], Vec::new()] {
        let scaffold = TurnScaffold { openings, ..TurnScaffold::default() };
        let cut = rendered.cut(places, (&roles, &shapes), &scaffold, &Findings::default(), None);
        assert_eq!(cut.segments.edges().last(), Some(&root.text.chars().count()), "segments of {:?}", root.text);
        assert!(cut.regions.values().all(|region| region.start <= region.end), "regions: {:?}", cut.regions);
    }
}

/// The text that a run's origin has.
fn source_of<'r>(run: &Run, rendered: &'r Rendered, places: &'r Places) -> Option<&'r str> {
    match run.origin.checked_sub(FIRST_DUMP) {
        Some(dump) => Some(&rendered.dumps[dump as usize].text),
        None => places.get(run.origin).expect("an origin that is no place").text.as_deref(),
    }
}
