"""The roles that a template names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import jinja2.nodes as nodes


def named_roles(tree: nodes.Template) -> frozenset[str]:
    """The words that a template compares a role with, chooses messages by, or keeps something by for a role."""
    names = _names_of_roles(tree)
    found: list[nodes.Node] = []
    for compared in tree.find_all(nodes.Compare):
        operands = [compared.expr, *(operand.expr for operand in compared.ops)]
        if any(_is_role(operand, names) for operand in operands):
            found += operands
    for chosen in tree.find_all(nodes.Filter):
        if chosen.name in ("selectattr", "rejectattr") and any(_text_of(arg) == "role" for arg in chosen.args[:1]):
            # Behind the attribute comes the name of a test.
            found += chosen.args[2:]
    dicts = {
        target.name: assigned.node
        for assigned in tree.find_all(nodes.Assign)
        for target in [assigned.target]
        if isinstance(target, nodes.Name) and isinstance(assigned.node, nodes.Dict)
    }
    for item in tree.find_all(nodes.Getitem):
        kept = dicts.get(item.node.name) if isinstance(item.node, nodes.Name) else item.node
        if isinstance(kept, nodes.Dict) and _is_role(item.arg, names):
            found += [pair.key for pair in kept.items]
    words = (_text_of(each) for node in found for each in _parts(node))
    return frozenset(word for word in words if re.fullmatch(r"[\w-]+", word))


def _names_of_roles(tree: nodes.Template) -> frozenset[str]:
    """The names of variables that are roles: that are called so, or that a role is assigned to."""
    names: frozenset[str] = frozenset()
    while True:
        found = {
            target.name
            for assigned in tree.find_all(nodes.Assign)
            for target in [assigned.target]
            if isinstance(target, nodes.Name) and _is_role(assigned.node, names)
        }
        if found <= names:
            return names
        names |= found


def _is_role(node: nodes.Node, names: frozenset[str]) -> bool:
    """Whether an expression is a role, perhaps in other letters or without blanks."""
    if isinstance(node, nodes.Filter):
        return node.node is not None and _is_role(node.node, names)
    if isinstance(node, nodes.Call):
        called = node.node
        if isinstance(called, nodes.Getattr) and called.attr == "get":
            return any(_text_of(arg) == "role" for arg in node.args[:1])
        return isinstance(called, nodes.Getattr) and _is_role(called.node, names)
    if isinstance(node, nodes.Getattr):
        return node.attr == "role"
    if isinstance(node, nodes.Getitem):
        return _text_of(node.arg) == "role"
    return isinstance(node, nodes.Name) and (node.name in names or "role" in node.name)


def _parts(node: nodes.Node) -> Iterator[nodes.Node]:
    yield from node.items if isinstance(node, (nodes.List, nodes.Tuple)) else [node]


def _text_of(node: nodes.Node) -> str:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else ""
