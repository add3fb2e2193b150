"""What inference servers answer → completions: vLLM's and SGLang's responses, with the ids that were sampled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatspan.errors import PromptMismatchError, RolloutError, first_difference, quoted
from chatspan.rows.dialects.openai import normalized
from chatspan.rows.options import RowOptions
from chatspan.rows.steps.fitted import fitted
from chatspan.tokenize.sampled_ids import whole_ids

# vLLM puts it where it has no log-prob.
_NO_LOGPROB = -9999.0
_TOKEN_ID = "token_id:"
_ASK = "ask the server for them with return_token_ids=True"


@dataclass(frozen=True)
class Completion:
    """What was sampled from a prompt; what :meth:`chatspan.Rollout.add_completion` takes.

    Attributes:
        token_ids: the sampled ids, with the stop token, where one was sampled.
        logprobs: of each of them; ``None`` where the server was not asked for any.
        finish_reason: why sampling ended: ``"stop"``, ``"length"``, ``"tool_calls"``, ``"abort"`` …
        message: the message that the server parsed of them; ``None`` where it parsed none.
        prompt_ids: what was shown; ``None`` where the server does not say.
    """

    token_ids: list[int]
    logprobs: list[float] | None = None
    finish_reason: str | None = "stop"
    message: dict[str, Any] | None = None
    prompt_ids: list[int] | None = None


def completions_of(response: Any, *, prompt_ids: Any = None) -> list[Completion]:
    """The completions of a server's response, in its order.

    Args:
        response: of vLLM, ``/v1/chat/completions`` or ``/v1/completions`` that were asked with
            ``return_token_ids=True``, or ``/inference/v1/generate``; of SGLang, the first two with the same option, or
            ``/generate``. As JSON was read, or as an object of ``openai``.
        prompt_ids: what was to be sampled from: another prompt of the server's is an error.

    Raises:
        RolloutError: it is none of these; with the field that is missing, or that is of another form.
        PromptMismatchError: the server was shown another prompt.

    Example:
        >>> from chatspan.rollout.servers import completions_of
        >>> answered = {"text": "4", "output_ids": [19, 151645], "meta_info": {
        ...     "finish_reason": {"type": "stop", "matched": 151645},
        ...     "output_token_logprobs": [[-0.25, 19, None], [-0.125, 151645, None]]}}
        >>> [completion] = completions_of(answered)
        >>> completion.token_ids, completion.logprobs, completion.finish_reason
        ([19, 151645], [-0.25, -0.125], 'stop')
    """
    found = _read(_plain(response))
    if prompt_ids is not None:
        wanted = whole_ids(None, prompt_ids)
        for index, completion in enumerate(found):
            _require_prompt(completion, wanted, index)
    return found


def _read(response: Any) -> list[Completion]:
    if isinstance(response, list) and response and all(_is_generated(each) for each in response):
        return [_generated(each, f"[{index}].") for index, each in enumerate(response)]
    if _is_generated(response):
        return [_generated(response, "")]
    if not isinstance(response, Mapping):
        raise RolloutError(
            f"the response of a server must be a mapping, or a list of SGLang's, got {quoted(response)}: pass what "
            "response.json() or the client returns"
        )
    if response.get("error") is not None or response.get("object") == "error":
        raise RolloutError(f"the server answered with an error: {quoted(response.get('error') or response)}")
    choices = response.get("choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        raise RolloutError(
            f"the response has no choices and no output_ids; its fields: {', '.join(map(repr, response))}: pass "
            "a complete response of vLLM or SGLang, not a part of a stream"
        )
    return [_chosen(_plain(choice), response, f"choices[{index}].") for index, choice in enumerate(choices)]


def _plain(value: Any) -> Any:
    """Objects of ``openai`` and pydantic as what they were made of."""
    return value.model_dump() if hasattr(value, "model_dump") else value


def _is_generated(response: Any) -> bool:
    is_mapping = isinstance(response, Mapping) and "choices" not in response
    return is_mapping and isinstance(response.get("meta_info"), Mapping)


def _generated(response: Mapping[str, Any], place: str) -> Completion:
    """A response of SGLang's ``/generate``."""
    meta = response["meta_info"]
    scored = meta.get("output_token_logprobs")
    where = f"{place}meta_info.output_token_logprobs"
    if scored is not None and not all(isinstance(each, Sequence) and len(each) >= 2 for each in scored):
        raise RolloutError(f"{where} is {quoted(scored)}: expected [log-prob, id, text] for each token")
    given = response.get("output_ids")
    # Older versions have the ids beside the log-probs alone.
    if given is None and scored is not None:
        given = [each[1] for each in scored]
    if given is None:
        raise RolloutError(
            f"{place}output_ids is missing, and there is no {where}: ask with return_logprob=True, or update SGLang"
        )
    reason = meta.get("finish_reason")
    reason = reason.get("type") if isinstance(reason, Mapping) else reason
    ids = _ids(given, f"{place}output_ids", reason)
    if scored is not None and [each[1] for each in scored] != ids:
        raise RolloutError(f"{where} belongs to other ids than {place}output_ids: take both from the same response")
    logprobs = None if scored is None else _logprobs([each[0] for each in scored], len(ids), where)
    return Completion(ids, logprobs, reason, None, _prompt(response.get("prompt_token_ids"), place))


def _chosen(choice: Any, response: Mapping[str, Any], place: str) -> Completion:
    """A choice of an OpenAI-compatible server, or of vLLM's ``generate``."""
    if not isinstance(choice, Mapping):
        raise RolloutError(f"{place[:-1]} is {quoted(choice)}: expected a choice, which is a mapping")
    reason = choice.get("finish_reason")
    if choice.get("token_ids") is None:
        raise RolloutError(f"{place}token_ids is missing: {_ASK}; its fields: {', '.join(map(repr, choice))}")
    ids = _ids(choice["token_ids"], f"{place}token_ids", reason)
    shown = choice.get("prompt_token_ids")
    return Completion(
        ids,
        _logprobs_of(_plain(choice.get("logprobs")), ids, f"{place}logprobs"),
        reason,
        _message(_plain(choice.get("message")), place),
        _prompt(response.get("prompt_token_ids") if shown is None else shown, place),
    )


def _ids(given: Any, place: str, reason: Any) -> list[int]:
    # What was aborted may have none.
    if isinstance(given, Sequence) and not given and reason in ("length", "abort"):
        return []
    try:
        return whole_ids(None, given)
    except RolloutError:
        raise RolloutError(f"{place} is {quoted(given)}: expected the sampled ids, at least one") from None


def _prompt(given: Any, place: str) -> list[int] | None:
    return None if given is None else _ids(given, f"{place}prompt_token_ids", None)


def _logprobs_of(given: Any, ids: Sequence[int], place: str) -> list[float] | None:
    """The log-probs of a choice, ``None`` if it has none: ``content`` of a chat, ``token_logprobs`` of a completion."""
    if not isinstance(given, Mapping):
        return None
    if given.get("content") is not None:
        entries = [_plain(each) for each in given["content"]]
        place = f"{place}.content"
        if not all(isinstance(each, Mapping) for each in entries):
            raise RolloutError(f"{place} is {quoted(entries)}: expected a mapping with logprob for each token")
        _require_ids([_id_of(each) for each in entries], ids, place)
        return _logprobs([each.get("logprob") for each in entries], len(ids), place)
    if given.get("token_logprobs") is not None:
        place = f"{place}.token_logprobs"
        tokens = given.get("tokens") or []
        _require_ids([_id_of({"token": token}) for token in tokens], ids, place)
        return _logprobs(given["token_logprobs"], len(ids), place)
    return None


def _id_of(entry: Mapping[str, Any]) -> int | None:
    """The id that an entry of log-probs names; ``None`` where it has the token's text."""
    token = entry.get("token")
    if isinstance(token, str) and token.startswith(_TOKEN_ID) and token.removeprefix(_TOKEN_ID).isdecimal():
        return int(token.removeprefix(_TOKEN_ID))
    named = entry.get("token_id")
    return named if type(named) is int else None


def _require_ids(named: Sequence[int | None], ids: Sequence[int], place: str) -> None:
    """The log-probs are those of the ids, as far as they say."""
    for index, (name, each) in enumerate(zip(named, ids, strict=False)):
        if name is not None and name != each:
            raise RolloutError(f"{place}[{index}] is of the id {name}, and {each} was sampled there", token_index=index)


def _logprobs(given: Any, count: int, place: str) -> list[float]:
    if not isinstance(given, Sequence) or len(given) != count:
        received = f"{len(given)} values" if isinstance(given, Sequence) else quoted(given)
        raise RolloutError(
            f"{place} has {received} for {count} sampled ids: request log-probs of these alone, without echo"
        )
    for index, each in enumerate(given):
        is_number = isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each)
        if not is_number or each == _NO_LOGPROB:
            raise RolloutError(
                f"{place}[{index}] is {quoted(each)}, which is not a log-prob of a sampled token", token_index=index
            )
    return [float(each) for each in given]


def _message(given: Any, place: str) -> dict[str, Any] | None:
    """A message that the server parsed, in the form of templates: without nulls, arguments as objects."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise RolloutError(f"{place}message is {quoted(given)}: expected a mapping with a role")
    kept = {key: value for key, value in given.items() if value is not None and value != []}
    kept.setdefault("role", "assistant")
    kept.setdefault("content", "")
    if "reasoning" in kept:
        # vLLM's name of it; templates read the other.
        kept.setdefault("reasoning_content", kept["reasoning"])
    [message] = fitted(normalized([kept], []), RowOptions(), None, [])
    return message


def _require_prompt(completion: Completion, wanted: list[int], index: int) -> None:
    shown = completion.prompt_ids
    if shown is None or shown == wanted:
        return
    at = first_difference(shown, wanted)
    error = PromptMismatchError(
        f"completion {index}: the server was shown {len(shown)} ids instead of the prompt's {len(wanted)}, and "
        f"they differ from token {at} on: send the prompt's ids, not its messages, which the server renders itself",
        token_index=at,
    )
    error.kind = "prompt_mismatch"
    raise error
