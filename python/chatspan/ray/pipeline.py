"""A ``ray.data.Dataset`` of conversations → one of ids and labels."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, get_args

import pyarrow as pa

from chatspan.encode.pipeline import EncodingPipeline
from chatspan.errors import OptionError, quoted
from chatspan.options import BackendOption, Boundaries, OffPromptPolicy, one_of
from chatspan.ray.cluster import NUM_CPUS, cpu_count
from chatspan.ray.rows import ROW_INDEX, require_dataset, with_row_index
from chatspan.ray.worker import EncoderSettings, OnError, RowEncoder
from chatspan.rows.options import checked
from chatspan.supervised.options import SupervisedOptions
from chatspan.tokenize.pretrained import load_pretrained

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from chatspan.attribute.turns import EndOfTurn
    from chatspan.encode.escapes import SpecialTokens
    from chatspan.encode.truncation import Truncation
    from chatspan.rows.options import RowKeywords
    from chatspan.supervised.options import EmptyRows, SupervisedLossOn, TrainOn


def encode(
    dataset: Any,
    *,
    tokenizer: Any,
    loss_on: SupervisedLossOn = "turn",
    end_of_turn: EndOfTurn = "token",
    max_length: int | None = None,
    truncation: Truncation = "error",
    empty_rows: EmptyRows = "error",
    special_tokens: SpecialTokens = "as_rendered",
    chat_template: str | Mapping[str, str] | None = None,
    backend: BackendOption = "auto",
    off_prompt: OffPromptPolicy = "keep",
    boundaries: Boundaries = "as_rendered",
    train_on: TrainOn = "all",
    loss_weight: bool = False,
    on_error: OnError = "raise",
    concurrency: int | tuple[int, int] | None = None,
    num_cpus: float = NUM_CPUS,
    batch_size: int = 256,
    **row_options: Unpack[RowKeywords],
) -> Any:
    """Encodes conversations on all machines of a Ray cluster, with labels; with one encoder in each worker.

    Each row comes out once, with what :meth:`chatspan.ChatEncoder.as_map_fn` makes of it, also if workers are killed:
    Ray makes a worker anew and begins its batches again. Nothing is done before the result is read or written, and all
    of it each time: ``materialize()`` keeps it.

    Args:
        dataset: a ``ray.data.Dataset`` of conversations in the forms that :class:`chatspan.ChatCollator` takes, or
            what :func:`chatspan.ray.read` gives.
        tokenizer: an HF fast tokenizer, or its name or folder, which only this machine has to know.
        loss_on, end_of_turn, max_length, truncation, special_tokens, off_prompt, train_on, loss_weight, row_options:
            see :class:`chatspan.ChatCollator`.
        empty_rows: what becomes of rows with nothing to train on: ``"error"``, ``"drop"``.
        chat_template, backend, boundaries: see :class:`chatspan.ChatEncoder`.
        on_error: what becomes of a row that fails. ``"raise"``: its error ends the run, and has its ``row_index``.
            ``"reject"``: it comes out too, with nulls, and there are two more columns, ``error`` (the error's name,
            null where there is none) and ``error_message``.
        concurrency: how many workers; a pair is at least and at most. By default 1 to the cores of the cluster.
        num_cpus: what Ray reserves for each, in cores; half a one by default.
        batch_size: rows that are sent to a worker at once, and begun again if it is killed.

    Returns:
        a ``ray.data.Dataset`` with ``row_index`` (int64), ``input_ids``, ``labels``, ``message_index`` (lists of int32)
        and ``kind`` (lists of uint8), as ``chatspan encode`` writes them; with weights or ``loss_weight=True`` also
        ``loss_weight`` (lists of float32). Ray does not keep the order of rows; ``sort("row_index")`` brings it back.
        If ``dataset`` has a column ``row_index``, it is that one, else :func:`chatspan.ray.with_row_index` adds it,
        which executes ``dataset``.

    Raises:
        OptionError: options that cannot be, no ``ray.data.Dataset``, or a ``row_index`` that is not of whole numbers.
        TokenizerError: the tokenizer cannot be loaded, has no chat template, or returns no offsets.
        EngineError: Ray is not installed.
        ChatspanError: when the result is read, as :class:`chatspan.ChatCollator`. For these to keep their types, and
            for no block to be left out, ``raise_original_map_exception`` and ``max_errored_blocks`` of the data set's
            ``context`` are set.

    Example:
        >>> import ray, chatspan.ray  # doctest: +SKIP
        >>> rows = ray.data.from_items([{"messages": [{"role": "user", "content": "2 + 2?"},
        ...                                           {"role": "assistant", "content": "It is 4."}]}])  # doctest: +SKIP
        >>> encoded = chatspan.ray.encode(rows, tokenizer="examples/tokenizer")  # doctest: +SKIP
        >>> encoded.sort("row_index").write_parquet("encoded")  # doctest: +SKIP
    """
    require_dataset(dataset)
    options = SupervisedOptions(
        loss_on=loss_on,
        end_of_turn=end_of_turn,
        max_length=max_length,
        truncation=truncation,
        empty_rows=empty_rows,
        special_tokens=special_tokens,
        off_prompt=off_prompt,
        train_on=train_on,
        loss_weight=loss_weight,
        **checked(row_options),
    )
    if not one_of(on_error, get_args(OnError)):
        raise OptionError(f'on_error={quoted(on_error)}: use "raise" or "reject"')
    if not isinstance(num_cpus, (int, float)) or not 0 < num_cpus < float("inf"):
        raise OptionError(
            f"num_cpus={num_cpus!r}: expected the number of cores per worker, or a fraction of one, above 0"
        )
    if type(batch_size) is not int or batch_size < 1:
        raise OptionError(f"batch_size={batch_size!r}: expected the number of rows, at least 1")
    pool = _pool(concurrency)
    settings = EncoderSettings(
        tokenizer=_loaded(tokenizer, chat_template, backend, boundaries),
        chat_template=chat_template,
        backend=backend,
        boundaries=boundaries,
        options=options,
        on_error=on_error,
    )
    encoded = _indexed(dataset).map_batches(
        RowEncoder,
        fn_constructor_args=(settings,),
        compute=pool,
        num_cpus=num_cpus,
        batch_size=batch_size,
        batch_format="pyarrow",
    )
    # That nothing is lost and nothing comes twice if a worker is killed is Ray Data's own default for workers of this
    # kind (max_restarts=-1, max_task_retries=-1; to say so is deprecated): a worker that is gone is made anew, and what
    # it had not given back whole is begun again, where the same batch has to give the same rows, as here.
    # What users may have set is `max_errored_blocks`, with which Ray leaves out blocks that fail.
    encoded.context.raise_original_map_exception = True
    encoded.context.max_errored_blocks = 0
    return encoded


def _loaded(tokenizer: Any, chat_template: Any, backend: BackendOption, boundaries: Boundaries) -> Any:
    """The tokenizer, of which an encoder can be made: what is wrong with it is said here, not by each worker."""
    if isinstance(tokenizer, (str, PathLike)):
        tokenizer = load_pretrained(str(tokenizer))
    EncodingPipeline(tokenizer, chat_template=chat_template, backend=backend, boundaries=boundaries)
    return tokenizer


def _pool(concurrency: Any) -> Any:
    from ray.data import ActorPoolStrategy

    least, most = (1, cpu_count()) if concurrency is None else (concurrency, concurrency)
    if isinstance(concurrency, tuple) and len(concurrency) == 2:
        least, most = concurrency
    if any(type(count) is not int for count in (least, most)) or not 1 <= least <= most:
        raise OptionError(f"concurrency={concurrency!r}: expected the number of workers, or (at least, at most)")
    return ActorPoolStrategy(min_size=least, max_size=most)


def _indexed(dataset: Any) -> Any:
    schema = dataset.schema()
    if schema is None or ROW_INDEX not in schema.names:
        return with_row_index(dataset)
    kind = schema.types[schema.names.index(ROW_INDEX)]
    if not (isinstance(kind, pa.DataType) and pa.types.is_integer(kind)):
        raise OptionError(f"the column {ROW_INDEX!r} has to be of whole numbers, one for each row, and is {kind}")
    return dataset
