"""The processor's own call on chats, with a tokenizer that notes which text it is handed and what it makes of it."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from chatspan.errors import ExpansionError, one_line, quoted
from chatspan.media.remembered import remember_parts
from chatspan.render.request import Messages, RenderRequest
from chatspan.tokenize.backends import Backend

# A list for each chat; what is known of videos stands beside them in transformers 4.52 to 4.57.
_MEDIA = ("images", "videos", "video_metadata")
# A list of all; ``audios`` in transformers before 4.54.
_AUDIO = ("audio", "audios")
# A template that writes the last message alone.
_LAST_TEXT = "{{- messages[-1]['content'][0]['text'] -}}"
# Where the copy of a processor notes what it is called with.
_SEEN = "_chatspan_seen"


class ProcessorInputs(NamedTuple):
    """What ``apply_chat_template`` hands to a processor of chats.

    Attributes:
        texts: their renders.
        media: by the keyword of the processor's call, ``images`` and ``videos``, a list for each chat, and ``audio``, a
            list of all. Loaded; without what none has.
        options: the other keywords.
    """

    texts: Sequence[str]
    media: Mapping[str, list[Any]]
    options: Mapping[str, Any]

    @property
    def is_by_chat(self) -> bool:
        """Whether there is a list for each chat: older versions leave out those of chats without media."""
        return all(len(self.media[name]) == len(self.texts) for name in _MEDIA if name in self.media)


class RecordedRow(NamedTuple):
    """A text that a processor tokenized.

    Attributes:
        ids: int64 ``[T]``, without padding.
        offsets: int64 ``[T, 2]``, the characters of ``text``.
        replacements: what each placeholder became, if the processor says so.
    """

    text: str
    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    replacements: Sequence[str] | None


class Made(NamedTuple):
    """What a processor made of chats: all that it returned, and each one's text."""

    outputs: Mapping[str, Any]
    rows: Sequence[RecordedRow]


class _Recorder:
    """Stands for the tokenizer in a shallow copy of its processor."""

    def __init__(self, tokenizer: Any) -> None:
        vars(self)["_tokenizer"] = tokenizer
        vars(self)["recorded"] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_tokenizer"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._tokenizer, name, value)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __call__(self, text: Any = None, *args: Any, **kwargs: Any) -> Any:
        texts = [text] if isinstance(text, str) else list(text or ())
        made = self._tokenizer(text, *args, **kwargs)
        if made.encodings is None:
            raise ExpansionError("the processor's tokenizer returns no offsets: load it with the fast tokenizer")
        self.recorded += zip(texts, made.encodings, strict=False)
        return made


def inputs_of(
    processor: Any,
    conversations: Sequence[tuple[Messages, str]],
    request: RenderRequest,
    source: str,
    options: Mapping[str, Any],
) -> ProcessorInputs:
    """What a processor's own ``apply_chat_template`` hands to it of chats, media loaded.

    Args:
        conversations: the messages of each, and their render.
        request: the keywords of the template, which are those of all; its messages do not count.
        source: the chat template.
        options: keywords of the processor's call.

    Raises:
        ExpansionError: it raises, as where a medium cannot be loaded.
    """
    chats = [[dict(message) for message in messages] for messages, _ in conversations]
    options = {"return_tensors": "pt", **options}
    try:
        try:
            seen = _noted(processor, chats, request, source, options)
        # Transformers before 5 take no contents but lists of parts.
        except (TypeError, KeyError):
            if all(isinstance(message.get("content"), list) for messages in chats for message in messages):
                raise
            rendered = [_of_parts(messages, text) for messages, (_, text) in zip(chats, conversations, strict=True)]
            plain = RenderRequest((), template_kwargs=request.template_kwargs)
            seen = _noted(processor, rendered, plain, _LAST_TEXT, options)
    # What processors raise, and what loads media, has no common base.
    except Exception as error:
        raise _raised(processor, error) from error
    texts = seen.pop("text", None)
    if texts is None:
        raise ExpansionError(
            f"{type(processor).__name__}.apply_chat_template does not call the processor with text=…, so it is "
            "unknown what it tokenizes"
        )
    # What the caller gave as a keyword stays one.
    given = {name: seen.pop(name, None) for name in (*_MEDIA, *_AUDIO) if name not in options}
    return ProcessorInputs(list(texts), {name: list(each) for name, each in given.items() if each}, seen)


def _noted(
    processor: Any, chats: list[list[dict[str, Any]]], request: RenderRequest, source: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The keywords with which ``apply_chat_template`` calls a processor; empty: it does not."""
    twin, kind = copy.copy(processor), cast(Any, type(processor))
    twin.__class__, takes_options_apart = _noting(kind)
    keywords = dict(options)
    if takes_options_apart:
        keywords = {"return_tensors": keywords.pop("return_tensors"), "processor_kwargs": keywords}
    twin.apply_chat_template(
        chats,
        chat_template=source,
        tools=request.tools,
        documents=request.documents,
        add_generation_prompt=request.add_generation_prompt,
        continue_final_message=request.continue_final_message,
        tokenize=True,
        return_dict=True,
        **keywords,
        **request.template_kwargs,
    )
    seen: dict[str, Any] = vars(twin).get(_SEEN, {})
    return seen


def _of_parts(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Messages with the same media, whose contents are parts, and a last one that is the whole render."""
    media = [{**each, "content": each["content"] if isinstance(each.get("content"), list) else []} for each in messages]
    return [*media, {"role": "user", "content": [{"type": "text", "text": text}]}]


@functools.lru_cache(maxsize=64)
def _noting(kind: type[Any]) -> tuple[type[Any], bool]:
    """A processor's class that notes what it is called with, and whether its call's keywords stand in one of their own.

    Made once a class, since that takes as long as to encode a chat.
    """

    def note(own: Any, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        vars(own)[_SEEN] = kwargs
        return {"input_ids": []}

    noting = type(kind.__name__, (kind,), {"__call__": note, "__module__": kind.__module__})
    return noting, "processor_kwargs" in inspect.signature(kind.apply_chat_template).parameters


def joined(given: Sequence[ProcessorInputs]) -> ProcessorInputs:
    """The inputs of one call with the chats of several.

    Raises:
        ExpansionError: they need other options than each other.
    """
    first = given[0]
    for each in given[1:]:
        if dict(each.options) != dict(first.options):
            raise ExpansionError(
                f"the chats of one batch need the options {quoted(dict(first.options))} and "
                f"{quoted(dict(each.options))} of the processor, which takes one set of options per call: "
                "use batches of their own"
            )
    media: dict[str, list[Any]] = {}
    for name in _MEDIA:
        if any(name in each.media for each in given):
            media[name] = [one for each in given for one in each.media.get(name, [[] for _ in each.texts])]
    for name in _AUDIO:
        audio = [one for each in given for one in each.media.get(name, ())]
        media |= {name: audio} if audio else {}
    return ProcessorInputs([text for each in given for text in each.texts], media, first.options)


def made_of(processor: Any, given: ProcessorInputs, backend: Backend) -> Made:
    """What a processor makes of chats in one call.

    Args:
        backend: what tells the offsets of a text's ids where it makes the same ones.

    Raises:
        ExpansionError: it raises, or changes ids behind its tokenizer.
    """
    options = dict(given.options)
    if len(given.texts) > 1:
        options.setdefault("padding", True)
    if hasattr(processor, "get_text_with_replacements"):
        options["return_text_replacement_offsets"] = True
    outputs, recorded = _called(processor, given._replace(options=options))
    outputs = dict(outputs)
    if len(outputs["input_ids"]) != len(given.texts):
        raise ExpansionError(
            f"{type(processor).__name__} gives {len(outputs['input_ids'])} rows of ids for {len(given.texts)} chats: "
            "pass them one by one"
        )
    replaced = outputs.pop("text_replacement_offsets", None)
    return Made(outputs, [_row(outputs, recorded, replaced, at, backend) for at in range(len(given.texts))])


def text_made_of(processor: Any, given: ProcessorInputs, text: str) -> str:
    """The text that a processor tokenizes where the render of a chat is this one.

    Raises:
        ExpansionError: it raises.
    """
    _, recorded = _called(processor, given._replace(texts=[text]))
    texts = [each for each, _ in recorded if each]
    return texts[-1] if texts else ""


def _called(processor: Any, given: ProcessorInputs) -> tuple[Mapping[str, Any], Sequence[tuple[str, Any]]]:
    twin = copy.copy(processor)
    twin.tokenizer = recorder = _Recorder(processor.tokenizer)
    remember_parts(twin)
    media = {name: list(each) for name, each in given.media.items()}
    # Copies, since older versions take keywords out of them.
    options = {name: dict(each) if isinstance(each, dict) else each for name, each in given.options.items()}
    try:
        outputs: Mapping[str, Any] = twin(text=list(given.texts), **media, **options)
    except ExpansionError:
        raise
    # What processors raise has no common base.
    except Exception as error:
        raise _raised(processor, error) from error
    return outputs, recorder.recorded


def _raised(processor: Any, error: Exception) -> ExpansionError:
    return ExpansionError(
        f"the processor ({type(processor).__name__}) raises {type(error).__name__}: {one_line(error)}; look at the "
        "media, and at processor_kwargs"
    )


def _row(
    outputs: Mapping[str, Any], recorded: Sequence[tuple[str, Any]], replaced: Any, at: int, backend: Backend
) -> RecordedRow:
    ids = np.asarray(outputs["input_ids"][at], dtype=np.int64)
    if "attention_mask" in outputs:
        ids = ids[np.asarray(outputs["attention_mask"][at], dtype=bool)]
    # A processor may ask its tokenizer for more than the rows, as for the length of a token.
    for text, encoding in reversed(recorded):
        offsets = _offsets(text, encoding, ids, backend) if text else None
        if offsets is not None:
            return RecordedRow(text, ids, offsets, _replacements(replaced, at))
    raise ExpansionError(
        "the processor changes the ids that its tokenizer returns, so it is unknown what each of them belongs to"
    )


def _offsets(text: str, encoding: Any, ids: NDArray[np.int64], backend: Backend) -> NDArray[np.int64] | None:
    """The characters of each id, int64 ``[T, 2]``; ``None``: the tokenizer made other ids of the text."""
    if backend.name == "native":
        # Ten times as fast as to take the offsets out of an encoding, a pair of Python's own for each.
        again = backend.encode_batch([text])[0]
        if np.array_equal(again.input_ids, ids):
            return again.table.to_array().astype(np.int64)
    kept = np.array(encoding.attention_mask, dtype=bool)
    if not np.array_equal(np.array(encoding.ids, dtype=np.int64)[kept], ids):
        return None
    flat = np.fromiter(chain.from_iterable(encoding.offsets), dtype=np.int64, count=2 * len(kept))
    offsets: NDArray[np.int64] = flat.reshape(-1, 2)[kept]
    return offsets


def _replacements(replaced: Any, at: int) -> Sequence[str] | None:
    # Of texts alone some processors make a tensor of nothing.
    if not isinstance(replaced, list) or at >= len(replaced):
        return None
    return [str(each["replacement"]) for each in replaced[at]]
