"""Pictures of a data set: how long its rows are, and how much of them is in the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.errors import EmptyBatchError, OptionError, is_a
from chatspan.rows.row import listed_rows

_BINS = 40


def plot_lengths(collator: Any, rows: Sequence[Any], *, ax: Any = None) -> Any:
    """A histogram of how many tokens each row takes, with the collator's ``max_length``, if it has one.

    Args:
        collator: one with ``lengths``, such as :class:`chatspan.ChatCollator`.
        rows: as it takes them.
        ax: matplotlib's axes to draw on; new ones if not given.

    Returns:
        The axes.

    Raises:
        OptionError: matplotlib is not installed, no rows, or a collator that tells no lengths.
        ChatspanError: as ``collator.lengths``.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> collator = chatspan.ChatCollator(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}
        >>> chatspan.plot_lengths(collator, [row, row]).get_ylabel()
        'rows'
    """
    axes, rows = _axes(ax), _required(collator, rows)
    lengths = np.asarray(collator.lengths(rows))
    axes.hist(lengths, bins=_BINS)
    most = getattr(getattr(collator, "config", getattr(collator, "_options", None)), "max_length", None)
    if most is not None:
        axes.axvline(most, linestyle="--", color="gray", label=f"max_length={most}")
        axes.legend()
    axes.set(xlabel="tokens", ylabel="rows", title=f"{len(lengths):,} rows, {int(lengths.sum()):,} tokens")
    return axes


def plot_loss_share(collator: Any, rows: Sequence[Any], *, ax: Any = None) -> Any:
    """A histogram of which part of each row's tokens is in the loss; rows that are left out count as 0.

    Args, returns and errors as of :func:`plot_lengths`.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> collator = chatspan.ChatCollator(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}
        >>> chatspan.plot_loss_share(collator, [row]).get_title()
        '1 rows, 15% of the tokens in the loss'
    """
    axes, rows = _axes(ax), _required(collator, rows)
    counts = np.array([_in_loss(collator, row) for row in rows], dtype=np.int64)
    shares: NDArray[np.float64] = counts[:, 0] / np.maximum(counts[:, 1], 1)
    axes.hist(shares, bins=_BINS, range=(0, 1))
    total = counts[:, 0].sum() / max(1, counts[:, 1].sum())
    axes.set(
        xlabel="part of a row's tokens in the loss",
        ylabel="rows",
        title=f"{len(shares):,} rows, {total:.0%} of the tokens in the loss",
    )
    return axes


def _in_loss(collator: Any, row: Any) -> tuple[int, int]:
    """How many tokens of a row are in the loss, of how many."""
    try:
        batch = collator([row])
    except EmptyBatchError:
        return (0, 0)
    seen = batch["attention_mask"] if "attention_mask" in batch else batch["input_ids"] >= 0
    if "labels" in batch:
        return (int((batch["labels"] != -100).sum()), int(seen.sum()))
    mask = batch.get("response_idx_mask")
    return (0 if mask is None else int(mask.sum()), int(seen.sum()))


def _axes(ax: Any) -> Any:
    try:
        from matplotlib import axes, pyplot
    except ImportError:
        raise OptionError('pictures need matplotlib: pip install "chatspan[plot]"') from None
    if ax is not None and not is_a(ax, axes.Axes):
        raise OptionError(f"ax is {type(ax).__name__}: pass axes of matplotlib, or None for new ones")
    return pyplot.subplots()[1] if ax is None else ax


def _required(collator: Any, rows: Any) -> Sequence[Any]:
    if not callable(collator) or not callable(getattr(collator, "lengths", None)):
        raise OptionError(f"collator is {type(collator).__name__}: pass a collator, such as ChatCollator(tokenizer)")
    found: Sequence[Any] = listed_rows(rows)
    if not len(found):
        raise OptionError("rows are an empty list: pass at least one row")
    return found
