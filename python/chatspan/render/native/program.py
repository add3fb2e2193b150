"""A template's syntax tree, as Jinja2's own parser gives it → the program that the core evaluates."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import jinja2.nodes as nodes
from jinja2.idtracking import VAR_LOAD_UNDEFINED, Symbols

Tree = list[Any]

# Names that have their number in every program; see rust/core/src/template/machine.rs.
_FIRST_NAMES = ("loop", "caller", "varargs", "kwargs")

_BINARY: dict[type[nodes.Node], str] = {
    nodes.Sub: "sub",
    nodes.Mul: "mul",
    nodes.Div: "div",
    nodes.FloorDiv: "floordiv",
    nodes.Mod: "mod",
    nodes.Pow: "pow",
}


class Unsupported(Exception):
    """What a template has, or met, that the core lacks."""


def program_of(tree: nodes.Template) -> str:
    """The program of a syntax tree, as JSON.

    Raises:
        Unsupported: a construct that the core lacks.
    """
    front = _Front()
    try:
        body = front.frame(tree, tree.body)
        program = json.dumps({"names": list(front.names), "body": body}, ensure_ascii=False)
        program.encode()
    except RecursionError:
        raise Unsupported("a template that is nested too deeply") from None
    except UnicodeEncodeError:
        raise Unsupported("a lone surrogate in the template") from None
    if "self" in front.names:
        raise Unsupported("the name self")
    return program


class _Front:
    def __init__(self) -> None:
        self.names: dict[str, int] = {name: number for number, name in enumerate(_FIRST_NAMES)}
        self.symbols: Symbols | None = None

    def name(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names))

    # --- statements

    def body(self, body: Sequence[nodes.Node]) -> Tree:
        return [statement for node in body for statement in self.statements(node)]

    def frame(
        self, node: nodes.Node, body: Sequence[nodes.Node], bound: Sequence[str] = (), branch: str = "body"
    ) -> Tree:
        """The body of what has variables of its own.

        Jinja2's compiler says per frame what a name means. A name that a frame assigns, before it has read it, is the
        frame's own: undefined for what stands in the frame before the assignment, also where the caller gave the name.
        """
        outer = self.symbols
        self.symbols = Symbols(parent=outer)
        try:
            self.symbols.analyze_node(node, for_branch=branch)
            refs, loads = self.symbols.refs, self.symbols.loads
            own = {name for name, ref in refs.items() if loads.get(ref) == (VAR_LOAD_UNDEFINED, None)}
            unset = sorted((own & _read_by_inner_frames(body)) - set(bound))
            first: Tree = [["unset", [self.name(name) for name in unset]]] if unset else []
            return first + self.body(body)
        finally:
            self.symbols = outer

    def statements(self, node: nodes.Node) -> list[Tree]:
        if isinstance(node, nodes.Output):
            return [self.output(part) for part in node.nodes]
        make = getattr(self, f"_{type(node).__name__.lower()}", None)
        if make is None or not isinstance(node, nodes.Stmt):
            raise Unsupported(f"{{% {type(node).__name__} %}}")
        return [make(node)]

    def output(self, node: nodes.Expr) -> Tree:
        if isinstance(node, nodes.TemplateData):
            return ["data", node.data]
        # Jinja2's compiler works out what is constant, which may differ: `none[1:]` does not raise then.
        try:
            return ["data", str(node.as_const())]
        except Exception:
            return ["out", self.expr(node)]

    def _if(self, node: nodes.If) -> Tree:
        branches = [[self.expr(each.test), self.body(each.body)] for each in (node, *node.elif_)]
        return ["if", branches, self.body(node.else_)]

    def _for(self, node: nodes.For) -> Tree:
        if node.recursive:
            raise Unsupported("a recursive loop")
        names = [self.name(name) for name in _names(node.target)]
        test = None if node.test is None else self.expr(node.test)
        body, or_else = self.frame(node, node.body), self.frame(node, node.else_, branch="else")
        return ["for", self.target(node.target), names, self.expr(node.iter), test, body, or_else]

    def _assign(self, node: nodes.Assign) -> Tree:
        return ["set", self.target(node.target), self.expr(node.node)]

    def _assignblock(self, node: nodes.AssignBlock) -> Tree:
        return ["setblock", self.target(node.target), self.filters(node.filter), self.frame(node, node.body)]

    def _macro(self, node: nodes.Macro) -> Tree:
        return ["macro", self.macro(node.name, node, binds=True)]

    def _callblock(self, node: nodes.CallBlock) -> Tree:
        call = node.call.node
        if isinstance(call, nodes.ExtensionAttribute):
            # The only one is that of `{% generation %}`.
            return ["generation", self.frame(node, node.body)]
        return ["call", self.expr(node.call), self.macro("caller", node, binds=False)]

    def _filterblock(self, node: nodes.FilterBlock) -> Tree:
        return ["filter", self.filters(node.filter), self.frame(node, node.body)]

    def _with(self, node: nodes.With) -> Tree:
        pairs = []
        for target, value in zip(node.targets, node.values, strict=True):
            if not isinstance(target, nodes.Name):
                raise Unsupported("{% with %} of several names at once")
            pairs.append([self.name(target.name), self.expr(value)])
        targets = [target.name for target in node.targets if isinstance(target, nodes.Name)]
        return ["with", pairs, self.frame(node, node.body, targets)]

    def _break(self, node: nodes.Break) -> Tree:
        return ["break"]

    def _continue(self, node: nodes.Continue) -> Tree:
        return ["continue"]

    def target(self, node: nodes.Node) -> Tree:
        if isinstance(node, nodes.Name):
            return ["name", self.name(node.name)]
        if isinstance(node, nodes.NSRef):
            return ["ns", self.name(node.name), node.attr]
        if isinstance(node, nodes.Tuple):
            return ["tuple", [self.target(item) for item in node.items]]
        raise Unsupported(f"an assignment to {type(node).__name__}")

    def macro(self, name: str, node: Any, *, binds: bool) -> dict[str, Any]:
        undeclared = _undeclared(node.body)
        return {
            "name": self.name(name),
            "args": [self.name(argument.name) for argument in node.args],
            "defaults": [self.expr(default) for default in node.defaults],
            "body": self.frame(node, node.body),
            "reads": [each in undeclared for each in ("varargs", "kwargs", "caller")],
            "binds": binds,
        }

    def filters(self, node: nodes.Filter | None) -> Tree:
        """The filters of a block, the first one first."""
        found: Tree = []
        at: Any = node
        while at is not None:
            if not isinstance(at, nodes.Filter):
                raise Unsupported("a block with other filters")
            found.append([at.name, self.arguments(at)])
            at = at.node
        return found[::-1]

    # --- expressions

    def expr(self, node: nodes.Node) -> Tree:
        make = _EXPRESSIONS.get(type(node))
        if make is None:
            raise Unsupported(f"the expression {type(node).__name__}")
        return make(self, node)

    def arguments(self, node: Any) -> Tree:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise Unsupported("*args or **kwargs")
        named = [[keyword.key, self.expr(keyword.value)] for keyword in node.kwargs]
        return [[self.expr(argument) for argument in node.args], named]

    def const(self, node: nodes.Const) -> Tree:
        value = node.value
        if isinstance(value, float):
            return ["float", repr(value)]
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise Unsupported("a number of more than 64 bits")
        if isinstance(value, (list, tuple)):
            return [type(value).__name__, [self.const(nodes.Const(item)) for item in value]]
        if isinstance(value, dict):
            pairs = [[self.const(nodes.Const(key)), self.const(nodes.Const(item))] for key, item in value.items()]
            return ["dict", pairs]
        if value is not None and not isinstance(value, (str, int)):
            raise Unsupported(f"a constant of type {type(value).__name__}")
        return ["const", value]

    def add(self, node: nodes.Add) -> Tree:
        parts: list[nodes.Expr] = [node.right]
        left = node.left
        while isinstance(left, nodes.Add):
            parts.append(left.right)
            left = left.left
        return ["add", [self.expr(part) for part in (left, *reversed(parts))]]

    def getitem(self, node: nodes.Getitem) -> Tree:
        if isinstance(node.arg, nodes.Slice):
            if _is_constant(node.node) and not isinstance(node.node.as_const(), (str, list, tuple)):
                # It is undefined where Jinja2's compiler works out what it is in, and raises elsewhere.
                raise Unsupported("a slice of a constant that has none")
            parts = (node.arg.start, node.arg.stop, node.arg.step)
            return ["slice", self.expr(node.node), *(None if part is None else self.expr(part) for part in parts)]
        return ["item", self.expr(node.node), self.expr(node.arg)]

    def compare(self, node: nodes.Compare) -> Tree:
        return ["cmp", self.expr(node.expr), [[operand.op, self.expr(operand.expr)] for operand in node.ops]]

    def cond(self, node: nodes.CondExpr) -> Tree:
        no = None if node.expr2 is None else self.expr(node.expr2)
        return ["cond", self.expr(node.test), self.expr(node.expr1), no]

    def filter(self, node: nodes.Filter) -> Tree:
        if node.node is None:
            raise Unsupported("a filter of nothing")
        return ["filter", self.expr(node.node), node.name, self.arguments(node)]

    def test(self, node: nodes.Test) -> Tree:
        return ["test", self.expr(node.node), node.name, self.arguments(node)]

    def call(self, node: nodes.Call) -> Tree:
        return ["callx", self.expr(node.node), self.arguments(node)]

    def power(self, node: nodes.Pow) -> Tree:
        base: Any = node.left.as_const() if _is_constant(node.left) else None
        if type(base) not in (int, float) or not repr(base).startswith("-") or _is_constant(node):
            return self.binary(node)
        # Jinja2 writes `(-1 ** x)` in Python, which is `-(1 ** x)`.
        return ["neg", ["bin", "pow", self.const(nodes.Const(-base)), self.expr(node.right)]]

    def binary(self, node: Any) -> Tree:
        return ["bin", _BINARY[type(node)], self.expr(node.left), self.expr(node.right)]


_EXPRESSIONS: dict[type[nodes.Node], Callable[[_Front, Any], Tree]] = {
    nodes.Const: _Front.const,
    nodes.TemplateData: lambda front, node: ["const", node.data],
    nodes.Name: lambda front, node: ["name", front.name(node.name)],
    nodes.List: lambda front, node: ["list", [front.expr(item) for item in node.items]],
    nodes.Tuple: lambda front, node: ["tuple", [front.expr(item) for item in node.items]],
    nodes.Dict: lambda front, node: ["dict", [[front.expr(pair.key), front.expr(pair.value)] for pair in node.items]],
    nodes.Getattr: lambda front, node: ["attr", front.expr(node.node), node.attr],
    nodes.Getitem: _Front.getitem,
    nodes.Add: _Front.add,
    nodes.Neg: lambda front, node: ["neg", front.expr(node.node)],
    nodes.Pos: lambda front, node: ["pos", front.expr(node.node)],
    nodes.Not: lambda front, node: ["not", front.expr(node.node)],
    nodes.And: lambda front, node: ["and", front.expr(node.left), front.expr(node.right)],
    nodes.Or: lambda front, node: ["or", front.expr(node.left), front.expr(node.right)],
    nodes.Compare: _Front.compare,
    nodes.Concat: lambda front, node: ["concat", [front.expr(part) for part in node.nodes]],
    nodes.CondExpr: _Front.cond,
    nodes.Filter: _Front.filter,
    nodes.Test: _Front.test,
    nodes.Call: _Front.call,
    **dict.fromkeys(_BINARY, _Front.binary),
    nodes.Pow: _Front.power,
}


def _is_constant(node: nodes.Expr) -> bool:
    """Whether the value is the same in every render."""
    try:
        node.as_const()
    except nodes.Impossible:
        return False
    return True


def _names(target: nodes.Node) -> list[str]:
    return [name.name for name in ([target] if isinstance(target, nodes.Name) else target.find_all(nodes.Name))]


def _read_by_inner_frames(body: Sequence[nodes.Node]) -> set[str]:
    frames = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock, nodes.With)
    inner = [found for node in body for found in ([node] if isinstance(node, frames) else node.find_all(frames))]
    return {name.name for found in inner for name in found.find_all(nodes.Name) if name.ctx == "load"}


def _undeclared(body: Sequence[nodes.Node]) -> set[str]:
    """The names that a macro reads and that are not its own, as Jinja's compiler finds them for `caller` and so on."""
    from jinja2.compiler import find_undeclared

    return set(find_undeclared(body, ("caller", "kwargs", "varargs")))
