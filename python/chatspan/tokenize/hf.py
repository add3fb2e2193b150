"""Text → ids and offsets by transformers' own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatspan._core import NativeRender, Segments
from chatspan.errors import TokenizerError
from chatspan.forks import note_tokenizers
from chatspan.tokenize.tokens import Tokens, tokens_of

# What of a tokenizer's class decides which ids a text has.
_METHODS = ("__call__", "_encode_plus", "_batch_encode_plus")


class HFBackend:
    """Any HF fast tokenizer."""

    name = "hf"

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # A subclass that encodes in its own way is asked in its own way.
        methods = [getattr(type(tokenizer), name, None) for name in _METHODS]
        self.is_plain = all(
            method is None or str(method.__module__).startswith("transformers.tokenization_") for method in methods
        )

    def encode_batch(
        self, texts: Sequence[str | NativeRender], segments: Sequence[Segments] | None = None
    ) -> list[Tokens]:
        """The tokens of texts, in one call, as ``apply_chat_template`` tokenizes a render.

        Raises:
            TokenizerError: the tokenizer's backend returns no offsets.
        """
        if not texts:
            return []
        try:
            strings = [text if isinstance(text, str) else text.text for text in texts]
            pairs = self._pairs(strings)
        except NotImplementedError as error:
            raise TokenizerError(
                f"{type(self._tokenizer).__name__} returns no offsets ({error}): load it without what replaced its "
                "backend, such as fastokens.patch_transformers(); chatspan tokenizes natively by itself"
            ) from error
        return [
            tokens_of(ids, offsets, len(text), self.name) for (ids, offsets), text in zip(pairs, strings, strict=True)
        ]

    def _pairs(self, texts: list[str]) -> list[tuple[Any, Any]]:
        """Ids and offsets as lists."""
        note_tokenizers()
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if self.is_plain and backend is not None and self._is_as_called(backend):
            found = backend.encode_batch(texts, add_special_tokens=False)
            return [(each.ids, each.offsets) for each in found]
        batch = self._tokenizer(
            texts,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return list(zip(batch["input_ids"], batch["offset_mapping"], strict=True))

    def _is_as_called(self, backend: Any) -> bool:
        """Whether the backend is in the state in which a call of the tokenizer would put it."""
        split = getattr(self._tokenizer, "split_special_tokens", False)
        return backend.truncation is None and backend.padding is None and backend.encode_special_tokens == split

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text in which there are no control tokens: normalizer, pre-tokenizer and model alone.

        As ``_encode_without_added_tokens`` of HF's fast tokenizers.
        """
        backend = self._tokenizer.backend_tokenizer
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        splits = [text]
        if backend.pre_tokenizer is not None:
            splits = [split for split, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        return [token.id for split in splits for token in backend.model.tokenize(split)]

    def token(self, token_id: int) -> str | None:
        """The token of an id, as it stands in the vocabulary."""
        token = self._tokenizer.backend_tokenizer.id_to_token(token_id)
        return None if token is None else str(token)
