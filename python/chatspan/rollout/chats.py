"""What a row as sampled was made of: its messages, tools and keywords, for whoever renders them in another way."""

from __future__ import annotations

from typing import Any

from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encode.token_ids import TokenIds, with_token_ids
from chatspan.errors import OptionError
from chatspan.render.request import RenderRequest
from chatspan.rows.conversations import Chat


def require_encoder(encoder: Any, *, takes_processor: bool = False) -> None:
    """What renders and tokenizes is a :class:`chatspan.ChatEncoder`.

    Args:
        takes_processor: whether it may have a processor.

    Raises:
        OptionError: it is something else, or has a processor.
    """
    if not isinstance(getattr(type(encoder), "pipeline", None), property):
        raise OptionError(f"encoder is {type(encoder).__name__}: pass chatspan.ChatEncoder(tokenizer)")
    if not takes_processor:
        require_tokenizer(encoder.pipeline)


def require_tokenizer(pipeline: EncodingPipeline) -> None:
    """Prompts and turns are tokenized apart, which no processor does.

    Raises:
        OptionError: a processor tokenizes.
    """
    if pipeline.processor is not None:
        name = type(pipeline.processor).__name__
        raise OptionError(
            f"the encoder has a processor ({name}), but rollouts support only text so far: pass its tokenizer, "
            "ChatEncoder(processor.tokenizer, chat_template=processor.chat_template)"
        )


def chat_of(pipeline: EncodingPipeline, request: RenderRequest, last: int, shown_ids: TokenIds) -> Chat:
    """The conversation up to a message.

    Args:
        shown_ids: by message, ids that were shown in the row's prompt as they had been sampled before.
    """
    messages = with_token_ids(request.messages[: last + 1], shown_ids)
    keywords = dict(request.template_kwargs or {})
    if pipeline.chat_template is not None:
        # Others know the tokenizer's own template alone.
        keywords.setdefault("chat_template", pipeline.template(request.tools).source)
    return Chat(messages=messages, tools=request.tools, documents=request.documents, keywords=keywords)
