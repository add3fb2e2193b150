"""What servers answer when they score a prompt: vLLM's, SGLang's, and what TRL's client makes of vLLM's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from chatspan.errors import LossError, quoted

# Ids and their log-probs.
Entries = dict[int, float]
# vLLM writes it for -inf, which JSON has no name for.
_NO_PROBABILITY = -9999.0
_VLLM_ASK = (
    "ask for it with prompt_logprobs=20 (up to the server's --max-logprobs), return_token_ids=True and max_tokens=1"
)
_SGLANG_ASK = "ask for it with return_logprob=True, logprob_start_len=0 and top_logprobs_num=20"


@dataclass(frozen=True)
class Scored:
    """A prompt that was scored.

    Attributes:
        place: in the response, as errors name it.
        ids: those that were scored.
        start: the position in the prompt of the first of them; ``None`` if they end where the prompt does.
        at: of an index of ``ids`` the entries of the distribution that predicts that token.
    """

    place: str
    ids: list[int]
    start: int | None
    at: Callable[[int], Entries]


def scored_of(responses: Any) -> list[Scored]:
    """Each prompt that was scored, in the order of the responses.

    Raises:
        LossError: a response in none of the forms; with the field that is missing or wrong, and how to ask for it.
    """
    if isinstance(responses, (list, tuple)):
        parts = enumerate(_list(responses, None, "responses"))
        return [each for index, response in parts for each in _of(response, f"responses[{index}]")]
    return _of(responses, "response")


def _of(response: Any, place: str) -> list[Scored]:
    """Of a response to one prompt, or to several, which is a list of SGLang's."""
    if isinstance(response, list) and response:
        parts = enumerate(_list(response, None, place))
        return [each for index, part in parts for each in _of_one(part, f"{place}[{index}]")]
    return _of_one(response, place)


def _of_one(response: Any, place: str) -> list[Scored]:
    response = _plain(response)
    if not isinstance(response, Mapping):
        raise LossError(
            f"{place} is {quoted(response)}: expected the parsed JSON response of vLLM or SGLang, a RequestOutput "
            "of vLLM, or what VLLMClient.get_sequence_logprobs of TRL returns"
        )
    if response.get("error") is not None or response.get("object") == "error":
        raise LossError(f"{place} is an error of the server: {quoted(response.get('error') or response)}")
    if "logprob_token_ids" in response and "actual_token_ids" in response:
        return _trl(response, place)
    if isinstance(response.get("meta_info"), Mapping):
        return [_sglang(response, place)]
    choices = response.get("choices")
    if choices is None:
        return [_vllm(response, place)]
    choices = _list(choices, None, f"{place}.choices")
    if not choices:
        raise LossError(f"{place}.choices is []: expected one choice for each prompt")
    whole = {key: response.get(key) for key in ("prompt_logprobs", "prompt_token_ids")} if len(choices) == 1 else {}
    plain = [_plain(choice) for choice in choices]
    for index, choice in enumerate(plain):
        if not isinstance(choice, Mapping):
            raise LossError(f"{place}.choices[{index}] is {quoted(choice)}: expected a choice, which is a mapping")
    return [
        _vllm({**whole, **{key: value for key, value in choice.items() if value is not None}}, f"{place}.choices[{n}]")
        for n, choice in enumerate(plain)
    ]


def _plain(value: Any) -> Any:
    """Objects of ``openai``, pydantic and vLLM as what they were made of."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if hasattr(value, "prompt_logprobs") and hasattr(value, "prompt_token_ids"):
        return {"prompt_logprobs": value.prompt_logprobs, "prompt_token_ids": value.prompt_token_ids}
    return value


def _vllm(given: Mapping[str, Any], place: str) -> Scored:
    """A choice, or a whole response: ``prompt_logprobs[i]`` is of token i, predicted by those before it."""
    for key in ("prompt_logprobs", "prompt_token_ids"):
        if given.get(key) is None:
            raise LossError(f"{place}.{key} is missing: {_VLLM_ASK}; its fields: {', '.join(map(repr, given))}")
    ids = _ids(given["prompt_token_ids"], f"{place}.prompt_token_ids")
    rows = _list(given["prompt_logprobs"], len(ids), f"{place}.prompt_logprobs")

    def at(index: int) -> Entries:
        where = f"{place}.prompt_logprobs[{index}]"
        row = rows[index]
        if not isinstance(row, Mapping):
            raise LossError(f"{where} is {quoted(row)}: expected the ids and their log-probs; {_VLLM_ASK}")
        entries = {_id(key, where): _log_prob(_of_entry(value), where) for key, value in row.items()}
        if ids[index] not in entries:
            raise LossError(f"{where} is without the id {ids[index]} of its own token: it belongs to another token")
        return entries

    return Scored(place, ids, 0, at)


def _of_entry(value: Any) -> Any:
    return value.get("logprob") if isinstance(value, Mapping) else getattr(value, "logprob", value)


def _sglang(given: Mapping[str, Any], place: str) -> Scored:
    """``/generate``: ``input_top_logprobs[i]`` is of the i-th of the ids in ``input_token_logprobs``."""
    meta, where = given["meta_info"], f"{place}.meta_info"
    own, top = meta.get("input_token_logprobs"), meta.get("input_top_logprobs")
    for key, value in (("input_token_logprobs", own), ("input_top_logprobs", top)):
        if value is None:
            raise LossError(f"{where}.{key} is missing: {_SGLANG_ASK}; its fields: {', '.join(map(repr, meta))}")
    own = [_triple(each, f"{where}.input_token_logprobs") for each in _list(own, None, f"{where}.input_token_logprobs")]
    top = _list(top, len(own), f"{where}.input_top_logprobs")
    ids = _ids([token for _, token in own], f"{where}.input_token_logprobs")
    total = meta.get("prompt_tokens", len(ids))
    if type(total) is not int or total != len(ids):
        raise LossError(
            f"{where}.input_token_logprobs has {len(ids)} of the prompt's {quoted(total)} tokens, and those "
            f"before them cannot be compared: {_SGLANG_ASK}"
        )

    def at(index: int) -> Entries:
        here = f"{where}.input_top_logprobs[{index}]"
        entries = {
            token: _log_prob(value, here) for value, token in (_triple(e, here) for e in _list(top[index], None, here))
        }
        entries.setdefault(own[index][1], _log_prob(own[index][0], f"{where}.input_token_logprobs[{index}]"))
        return entries

    return Scored(place, ids, 0, at)


def _triple(given: Any, place: str) -> tuple[Any, int]:
    """``[log-prob, id, text]`` → log-prob and id."""
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) < 2:
        raise LossError(f"{place} has {quoted(given)}: expected [log-prob, id, text] for each entry")
    return given[0], _id(given[1], place)


def _trl(given: Mapping[str, Any], place: str) -> list[Scored]:
    """``VLLMClient.get_sequence_logprobs``: lists for each sequence, of its tokens from ``prompt_lengths`` on."""
    names = ("logprobs", "logprob_token_ids", "actual_logprobs", "actual_token_ids")
    parts = {name: _list(given.get(name), None, f"{place}.{name}") for name in names}
    count = len(parts["actual_token_ids"])
    for name, part in parts.items():
        _list(part, count, f"{place}.{name}")
    return [_trl_sequence({name: part[n] for name, part in parts.items()}, n, place) for n in range(count)]


def _trl_sequence(given: Mapping[str, Any], number: int, place: str) -> Scored:
    where = {name: f"{place}.{name}[{number}]" for name in given}
    actual_ids = [
        _single(each, where["actual_token_ids"])
        for each in _list(given["actual_token_ids"], None, where["actual_token_ids"])
    ]
    ids = _ids(actual_ids, where["actual_token_ids"])
    rows = {name: _list(part, len(ids), where[name]) for name, part in given.items()}

    def at(index: int) -> Entries:
        here = f"{where['logprobs']}[{index}]"
        values = _list(rows["logprobs"][index], None, here)
        tokens = _list(rows["logprob_token_ids"][index], len(values), f"{where['logprob_token_ids']}[{index}]")
        entries = {}
        for value, token in zip(values, tokens, strict=True):
            log_prob = _log_prob(value, here)
            # What a token has fewer entries than others is filled up with -inf and the id 0.
            if log_prob > -math.inf:
                entries[_id(token, here)] = log_prob
        own = _single(rows["actual_logprobs"][index], where["actual_logprobs"])
        entries.setdefault(ids[index], _log_prob(own, where["actual_logprobs"]))
        return entries

    return Scored(f"{place}[{number}]", ids, None, at)


def _single(given: Any, place: str) -> Any:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 1:
        raise LossError(f"{place} has {quoted(given)}: expected a list of one for each token")
    return given[0]


def _list(given: Any, count: int | None, place: str) -> list[Any]:
    if hasattr(given, "tolist") and not getattr(given, "is_meta", False):
        given = given.tolist()
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise LossError(f"{place} is {quoted(given)}: expected a list")
    found = list(islice(given, len(given)))
    if count is not None and len(found) != count:
        raise LossError(f"{place} has {len(found)} values for {count} tokens: take all of the same response")
    return found


def _ids(given: Any, place: str) -> list[int]:
    return [_id(each, place) for each in _list(given, None, place)]


def _id(given: Any, place: str) -> int:
    """An id as JSON has it: as a number, or as the name of a field."""
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) < 19:
        return int(given)
    if type(given) is not int or not 0 <= given < 2**63:
        raise LossError(f"{place} has {quoted(given)} where a token id is expected")
    return given


def _log_prob(given: Any, place: str) -> float:
    """A log-prob; -inf for a probability of 0. Whether it can be one is the loss's to check."""
    if type(given) not in (int, float) or not given < -_NO_PROBABILITY:
        raise LossError(f"{place} has the log-prob {quoted(given)}: expected a number")
    return -math.inf if given <= _NO_PROBABILITY else float(given)
