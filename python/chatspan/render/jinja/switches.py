"""The keywords with which a template decides what it writes, and the values that it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jinja2.nodes as nodes

# A text that no template asks for.
ANY_TEXT = "Zk"
# Tests that ask for the truth of a value, or for one of two.
_OF_TRUTH = frozenset({"true", "false", "boolean", "sameas"})
_OF_PRESENCE = frozenset({"defined", "undefined"})
_DEFAULTS = frozenset({"default", "d"})
# Filters that pass a value on, so that what is asked of it is asked of the keyword.
_PASSING = _DEFAULTS | {"lower", "upper", "trim", "string", "int"}


def switches(tree: nodes.Template, names: Iterable[str]) -> Mapping[str, tuple[Any, ...]]:
    """Values of the keywords that a template reads: True and False where their truth is asked for, and the words and
    numbers that they are compared with; where it is not their truth, also a word or a number that is none of these.

    Args:
        names: what the template may read from its caller; what it assigns itself before is none.
    """
    asked = _Asked(tree)
    return {name: tuple(asked.values(name)) for name in names if asked.is_of_caller(name)}


class _Asked:
    """What a template asks of the names that it reads."""

    def __init__(self, tree: nodes.Template) -> None:
        # The values by the names that they are assigned to.
        self._assigned = [
            (node.target.name, node.node) for node in tree.find_all(nodes.Assign) if isinstance(node.target, nodes.Name)
        ]
        self._stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
        self._compared = [[node.expr, *(each.expr for each in node.ops)] for node in tree.find_all(nodes.Compare)]
        tests = list(tree.find_all(nodes.Test))
        asked_for: list[nodes.Node | None] = [test.node for test in tests if test.name in _OF_PRESENCE]
        asked_for += [each.node for each in tree.find_all(nodes.Filter) if each.name in _DEFAULTS]
        self._asked_for = {node.name for node in asked_for if isinstance(node, nodes.Name)}
        branches: list[nodes.If | nodes.CondExpr | nodes.For] = []
        for kind in (nodes.If, nodes.CondExpr, nodes.For):
            branches += tree.find_all(kind)
        # Outside of a branch, too, as in `{% set is_on = tools and thinking %}`.
        logical = tree.find_all((nodes.And, nodes.Or, nodes.Not))
        self._truths = [each for node in (*(branch.test for branch in branches), *logical) for each in _operands(node)]
        self._truths += [test.node for test in tests if test.name in _OF_TRUTH]

    def is_of_caller(self, name: str) -> bool:
        """Whether the template takes a name from its caller: it assigns it nowhere, or asks whether it is there."""
        return name not in self._stored or name in self._asked_for

    def values(self, name: str) -> Iterator[Any]:
        """Values of a name that the template tells apart."""
        names = self._names_of(name)
        # True and 1 are equal, and two values.
        compared = list({(type(value), value): value for value in self._constants(names)}.values())
        numbers = [value for value in compared if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if any(isinstance(value, bool) for value in compared) or any(_is_of(node, names) for node in self._truths):
            yield from (True, False)
        elif numbers:
            yield max(numbers) + 1
        else:
            yield ANY_TEXT
        yield from (value for value in compared if not isinstance(value, bool))

    def _names_of(self, name: str) -> frozenset[str]:
        """The names that a value goes by, once it was assigned."""
        names = frozenset([name])
        while True:
            found = {target for target, value in self._assigned if _is_of(value, names)}
            if found <= names:
                return names
            names |= found

    def _constants(self, names: frozenset[str]) -> Iterator[Any]:
        """The texts, numbers and truth values that a value is compared with."""
        for operands in self._compared:
            if any(_is_of(operand, names) for operand in operands):
                values = [value for operand in operands for value in _values_of(operand)]
                yield from (value for value in values if isinstance(value, (str, int, float)))


def _values_of(node: nodes.Node) -> Iterator[Any]:
    """A constant, or those of a list; the parser makes one constant of a list of constants."""
    if isinstance(node, (nodes.List, nodes.Tuple)):
        for item in node.items:
            yield from _values_of(item)
    elif isinstance(node, nodes.Const):
        yield from node.value if isinstance(node.value, (list, tuple)) else [node.value]


def _is_of(node: nodes.Node | None, names: frozenset[str]) -> bool:
    """Whether an expression has the value of one of these names, perhaps in other letters or with a default."""
    if isinstance(node, nodes.Name):
        return node.name in names
    if isinstance(node, nodes.Filter):
        return node.name in _PASSING and _is_of(node.node, names)
    if isinstance(node, nodes.CondExpr):
        return _is_of(node.expr1, names) or _is_of(node.expr2, names)
    if isinstance(node, nodes.Or):
        return _is_of(node.left, names)
    if isinstance(node, nodes.Call):
        return isinstance(node.node, nodes.Getattr) and not node.args and _is_of(node.node.node, names)
    return False


def _operands(node: nodes.Node | None) -> Iterator[nodes.Node | None]:
    """The expressions of whose truth an expression is made."""
    if isinstance(node, (nodes.And, nodes.Or)):
        yield from _operands(node.left)
        yield from _operands(node.right)
    elif isinstance(node, nodes.Not):
        yield from _operands(node.node)
    else:
        yield node
