"""The flame graph of the docs is drawn of stacks as py-spy writes them."""

from __future__ import annotations

from xml.etree import ElementTree

import flame
from zoo import REPO

STACKS = """\
0x7f (libc.so.6);<module> (flame.py:9);load (other.py:1) 500
<module> (flame.py:9);_tensors (native.py:3);ChatCollator.__call__ (chatspan/supervised/collator.py:209);read_all \
(chatspan/rows/reader.py:1) 10
<module> (flame.py:9);_tensors (native.py:3);ChatCollator.__call__ (chatspan/supervised/collator.py:209);passes \
(chatspan/tokenize/backends.py:2);encode <T> (chatspan/tokenize/native.py:5);0xff (chatspan/_core.abi3.so);0xfe \
(chatspan/_core.abi3.so) 60
<module> (flame.py:9);_tensors (native.py:3);ChatCollator.__call__ (chatspan/supervised/collator.py:212);passes \
(chatspan/tokenize/backends.py:3);encode <T> (chatspan/tokenize/native.py:9);array (numpy/core.py:3);c_array \
(numpy/core.so) 20
<module> (flame.py:9);_tensors (native.py:3);ChatCollator.__call__ (chatspan/supervised/collator.py:215) 10\
""".splitlines()


def test_the_steps_of_a_row() -> None:
    """What is outside of the call does not count, and frames of a library count to the step that calls it."""
    root = flame.tree(STACKS)
    assert root.count == 100
    assert flame.steps(root, 2.0) == {"read": (0.2, 0.0), "tokenize": (1.6, 1.2), "labels": (0.2, 0.0)}


def test_functions_that_pass_through_are_left_out() -> None:
    root = flame.tree(STACKS)
    assert {name: each.count for (name, _), each in root.called.items()} == {"read_all": 10, "encode <T>": 80}
    inside = root.called["encode <T>", "tokenize"].called
    assert {name: each.count for (name, _), each in inside.items()} == {"Rust": 60, "array": 20}


def test_the_picture() -> None:
    """Boxes stand in the order of the way, have the widths of their shares, and names are text."""
    drawn = ElementTree.fromstring(flame.svg(flame.tree(STACKS), "A row & more", 2.0))
    name = "{http://www.w3.org/2000/svg}"
    found = {}
    for group in drawn.iter(f"{name}g"):
        title, box = group.find(f"{name}title"), group.find(f"{name}rect")
        if title is not None and box is not None:
            found[title.text] = (float(box.attrib["x"]), float(box.attrib["width"]) + flame.GAP)
    inner = flame.WIDTH - 2 * flame.MARGIN
    assert list(found) == [
        "ChatCollator.__call__, labels: 2.000 ms, 100.0%",
        "read_all, read: 0.200 ms, 10.0%",
        "encode <T>, tokenize: 1.600 ms, 80.0%",
        "Rust, tokenize: 1.200 ms, 60.0%",
        "array, tokenize: 0.400 ms, 20.0%",
    ]
    starts, widths = zip(*found.values(), strict=True)
    assert [round(each / inner, 3) for each in widths] == [1.0, 0.1, 0.8, 0.6, 0.2]
    assert [round((each - flame.MARGIN) / inner, 3) for each in starts] == [0.0, 0.0, 0.1, 0.1, 0.7]


def test_the_picture_of_the_docs_is_drawn_by_the_tool() -> None:
    """Made by ``python tools/flame.py``; the times are those of a machine."""
    text = (REPO / "docs" / "images" / "encode-flame.svg").read_text(encoding="utf-8")
    drawn = ElementTree.fromstring(text)
    assert flame.STYLE in text
    assert any(each.text and each.text.startswith(flame.ROOT) for each in drawn.iter())
    assert "(images/encode-flame.svg)" in (REPO / "docs" / "performance.md").read_text(encoding="utf-8")
