"""Odd objects as arguments of public functions: the call returns, or it is refused."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

import chatspan
import torch
from cases import config, trace, user
from cases import failed as failed_turn
from chatspan import ChatEncoder, ChatspanError
from chatspan.loss import sdpo_loss
from chatspan.trl import response_rows, sdpo_rows
from hostile_rows import Hostile

from attack.fuzzers import small
from attack.fuzzers.odd_objects import is_own, odd_object, shown
from attack.tries import Attempt, Outcome, Setting, failed, refused, right, told_of

MESSAGES = [user("2 + 2?"), {"role": "assistant", "content": "It is 4."}]
ROWS = [{"messages": MESSAGES}]
TRACES = [trace(user("Go."), {"role": "tool", "content": "error: no"}, failed_turn("Again."))]
TEXT, OFFSETS = "It is 4.", [[0, 2], [2, 5], [5, 8]]
# How often a row is not that of a call, but a hostile one.
_HOSTILE = 0.5


class Target(NamedTuple):
    """A public function.

    Attributes:
        call: calls it with named arguments, and what it makes with something usual.
        required: the arguments that it must have.
        of: whose parameters its arguments are.
        rows: the argument that is rows of a data set.
    """

    call: Callable[..., Any]
    required: Mapping[str, Any]
    of: Callable[..., Any]
    rows: str | None = None


def start(setting: Setting) -> Attempt:
    """A try is a call of a public function in which one to three arguments are odd."""
    chosen = targets()

    def attempt(number: int) -> Outcome:
        chance = setting.random(number)
        name = chance.choice(list(chosen))
        return tried(name, chosen[name], arguments(chosen[name], chance))

    return attempt


def targets() -> dict[str, Target]:
    """The public functions, by what a reader calls them."""
    tokenizer = small.tokenizer()
    encoder = ChatEncoder(tokenizer)
    encoding = encoder.encode(MESSAGES)
    found: dict[str, Target] = {
        "ChatEncoder": Target(
            lambda **given: ChatEncoder(**given).encode(MESSAGES), {"tokenizer": tokenizer}, ChatEncoder
        ),
        "encode": Target(encoder.encode, {"messages": MESSAGES}, encoder.encode),
        "encode_batch": Target(encoder.encode_batch, {"conversations": [MESSAGES]}, encoder.encode_batch),
        "as_map_fn": Target(lambda **given: encoder.as_map_fn(**given)(_columns(ROWS)), {}, encoder.as_map_fn),
        "a map": Target(
            lambda rows: encoder.as_map_fn()(_columns(rows)), {"rows": ROWS}, lambda rows: None, rows="rows"
        ),
        "decode": Target(encoder.decode, {"ids": encoding.input_ids}, encoder.decode),
        "read_row": Target(chatspan.read_row, {"row": ROWS[0]}, chatspan.read_row, rows="row"),
        "align": Target(
            chatspan.align, {"student": encoding, "teacher": encoding, "message_map": {0: 0, 1: 1}}, chatspan.align
        ),
        **{
            name: Target(getattr(encoding, name), required, getattr(encoding, name))
            for name, required in (
                ("mask", {}),
                ("labels", {"mask": encoding.mask()}),
                ("weights", {"weights": {1: 0.5}}),
                ("turn_ranges", {"message_index": 1}),
                ("end_of_turn", {"message_index": 1}),
            )
        },
    }
    return {**found, **_of_texts(), **_of_collators(tokenizer), **_of_losses(tokenizer)}


def _of_texts() -> dict[str, Target]:
    spans = {"offsets": OFFSETS, "spans": [[2, 5]]}
    return {
        "locate": Target(chatspan.locate, {"text": TEXT, "contents": ["is", "4"]}, chatspan.locate),
        "token_mask": Target(chatspan.token_mask, spans, chatspan.token_mask),
        "token_spans": Target(chatspan.token_spans, spans, chatspan.token_spans),
        "Offsets": Target(lambda **given: chatspan.Offsets(**given).to_array(), {"offsets": OFFSETS}, chatspan.Offsets),
    }


def _of_collators(tokenizer: Any) -> dict[str, Target]:
    own, distilling = chatspan.ChatCollator(tokenizer), chatspan.SelfDistillationCollator(tokenizer)
    composing = chatspan.ComposerDataCollator(tokenizer, config())

    def distilled(**options: Any) -> Any:
        return chatspan.SelfDistillationCollator(tokenizer, chatspan.DistillationConfig(**options))(ROWS)

    def composed(**options: Any) -> Any:
        return chatspan.ComposerDataCollator(tokenizer, chatspan.CollatorConfig(**options))(TRACES)

    def collator(made: Any, rows: Any) -> Target:
        return Target(lambda **given: made(given["rows"]), {"rows": rows}, lambda rows: None, rows="rows")

    return {
        "ChatCollator": Target(
            lambda **given: chatspan.ChatCollator(**given)(ROWS), {"tokenizer": tokenizer}, chatspan.ChatCollator
        ),
        "DistillationConfig": Target(distilled, {}, chatspan.DistillationConfig),
        "CollatorConfig": Target(composed, {"hint_generator": config().hint_generator}, chatspan.CollatorConfig),
        "a batch": collator(own, ROWS),
        "a batch to distil": collator(distilling, ROWS),
        "a batch of traces": collator(composing, TRACES),
        "lengths": Target(own.lengths, {"rows": ROWS}, own.lengths, rows="rows"),
        "has_signal": Target(own.has_signal, {"row": ROWS[0]}, own.has_signal, rows="row"),
        "explain": Target(own.explain, {"row": ROWS[0]}, own.explain, rows="row"),
        "pack_dataset": Target(
            chatspan.pack_dataset, {"rows": ROWS, "max_length": 100, "collator": own}, chatspan.pack_dataset, "rows"
        ),
        "HintedPrompts": Target(
            lambda **given: chatspan.HintedPrompts(**given).encode([MESSAGES[:1]], ["Mind it."]),
            {"tokenizer": tokenizer},
            chatspan.HintedPrompts,
        ),
        "response_rows": Target(response_rows, {"rows": ROWS}, response_rows, "rows"),
        "sdpo_rows": Target(sdpo_rows, {"traces": TRACES, "config": config()}, sdpo_rows, "traces"),
        "RowOptions": Target(chatspan.RowOptions, {}, chatspan.RowOptions),
        "TemplateLimits": Target(chatspan.TemplateLimits, {}, chatspan.TemplateLimits),
        "check_layout": Target(
            chatspan.check_layout, {"model_config": None, "layout": "indexed"}, chatspan.check_layout
        ),
    }


def _of_losses(tokenizer: Any) -> dict[str, Target]:
    batch = chatspan.ComposerDataCollator(tokenizer, config())(TRACES)
    logits = torch.zeros(*batch["input_ids"].shape, 8)
    given = {"student_logits": logits, "teacher_logits": logits, "batch": batch}
    return {"sdpo_loss": Target(sdpo_loss, given, sdpo_loss)}


def _columns(rows: Any) -> Any:
    """Rows as ``datasets`` hands them to a function; what is none stays."""
    if type(rows) is list and rows and all(type(row) is dict for row in rows):
        return {name: [row.get(name) for row in rows] for name in rows[0]}
    return rows


def arguments(target: Target, chance: Random) -> dict[str, Any]:
    """The arguments of a call, of which some are odd."""
    given = {
        name: value if not isinstance(value, (dict, list)) else copy.copy(value)
        for name, value in target.required.items()
    }
    if target.rows is not None and chance.random() < _HOSTILE:
        row = Hostile(chance.randrange(1 << 32)).row()
        given[target.rows] = row if target.rows == "row" else [row, *chance.choice([[], ROWS])]
        return given
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = [name for name, each in inspect.signature(target.of).parameters.items() if each.kind not in kinds]
    for name in chance.sample(names, min(len(names), chance.choice([1, 1, 1, 2, 3]))):
        if isinstance(given.get(name), (dict, list)) and given[name] and chance.random() < 0.5:
            # Inside of it.
            place = chance.choice(list(given[name] if isinstance(given[name], dict) else range(len(given[name]))))
            given[name][place] = odd_object(chance)
        else:
            given[name] = odd_object(chance)
    return given


def tried(name: str, target: Target, given: dict[str, Any]) -> Outcome:
    """What comes of a call."""
    # What is on the way between two calls is on no terminal.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            target.call(**given)
        except (ChatspanError, TypeError) as error:
            str(error)
            return refused(f"{type(error).__name__}")
        except BaseException as error:
            if is_own(error):
                return refused("the object's own error, as it raised it")
            said = "\n".join(f"  {argument}={shown(value)}" for argument, value in given.items())
            return failed(f"{name}\n{said}\n{told_of(error)}")
    return right("it returned")
