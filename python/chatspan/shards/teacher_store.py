"""A teacher's top-k on disk: scored once, found again by the ids in front of each token."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chatspan.distillation.teachers.prompts import TeacherPrompt, teacher_prompts
from chatspan.distillation.teachers.top_k import TeacherTopK, TokenEntries, arranged, entries_of, require_prompts
from chatspan.errors import LossError, OptionError, OutputError, one_line, quoted
from chatspan.shards.whole_files import make_folders, remove_temporaries, write_whole

_FORM = b"chatspan.teacher_top_k/1"
_SCHEMA = pa.schema(
    [
        ("key", pa.binary(32)),
        ("topk_ids", pa.list_(pa.int64())),
        ("topk_logprobs", pa.list_(pa.float32())),
    ]
)


class TeacherStore:
    """A teacher's top-k of tokens, in a folder of Parquet files.

    A token's entries depend on the ids in front of it alone, so they are kept under the SHA-256 of the ids up to and
    with the token. What is found is therefore of exactly these ids, whatever the batch: another hint, another chat
    template or another tokenizer finds nothing. Batches may be put together otherwise than they were scored, padded or
    packed, in any epoch.

    Each call of :meth:`add` writes one file, whole or not at all; a run that was ended goes on with what
    :meth:`missing` names. Several processes may add to one folder. All entries are held in memory.

    Args:
        folder: made if it is not there.
        teacher: a name for the model, such as ``"Qwen/Qwen3-32B"``; a folder of another one is refused.

    Raises:
        OptionError: a folder or a name that cannot be.
        OutputError: the folder cannot be used, or is another teacher's.

    Example:
        >>> import tempfile, torch
        >>> batch = {"ctx_teacher_input_ids": torch.tensor([[5, 6, 7]]),
        ...          "ctx_teacher_attention_mask": torch.tensor([[1, 1, 1]]),
        ...          "teacher_logit_idx": torch.tensor([[1]]), "teacher_response_idx": torch.tensor([[2]]),
        ...          "response_idx_mask": torch.tensor([[True]])}
        >>> store = TeacherStore(tempfile.mkdtemp(), teacher="a model")
        >>> [prompt] = store.missing(batch)
        >>> prompt.input_ids
        [5, 6, 7]
        >>> answered = {"choices": [{"prompt_token_ids": [5, 6, 7], "prompt_logprobs": [
        ...     None, {"6": {"logprob": -0.5}}, {"9": {"logprob": -0.25}, "7": {"logprob": -2.0}}]}]}
        >>> store.add([prompt], answered)
        >>> store.missing(batch), store.top_k_of(batch).ids
        ([], tensor([[[9, 7]]]))
    """

    def __init__(self, folder: str | os.PathLike[str], *, teacher: str) -> None:
        if not isinstance(folder, (str, os.PathLike)):
            raise OptionError(f"folder={quoted(folder)}: expected the path of a folder")
        if not isinstance(teacher, str) or not teacher:
            raise OptionError(f"teacher={quoted(teacher)}: pass the teacher's name, such as 'Qwen/Qwen3-32B'")
        self._folder, self._teacher = Path(folder), teacher
        self._found: dict[bytes, tuple[int, int]] = {}
        self._tables: list[_Entries] = []
        try:
            make_folders(self._folder)
            if not self._folder.is_dir():
                raise OutputError(f"{self._folder} is a file: name a folder")
            for path in sorted(self._folder.glob("top_k-*.parquet")):
                self._keep(_read(path, teacher))
        except OSError as error:
            raise OutputError(f"{self._folder} cannot be used ({one_line(error)}): use another folder") from None

    def __len__(self) -> int:
        """Of how many tokens there are entries."""
        return len(self._found)

    def missing(self, batch: Mapping[str, Any]) -> list[TeacherPrompt]:
        """The prompts of a batch that are to be scored yet: those with a token that is not in the store.

        Raises:
            LossError: see :func:`chatspan.distillation.teachers.teacher_prompts`.
        """
        prompts = teacher_prompts(batch)
        return [prompt for prompt in prompts if any(key not in self._found for key in _keys(prompt))]

    def add(self, prompts: Sequence[TeacherPrompt], responses: Any) -> None:
        """Writes what a server answered to prompts, in one file; some hundred at a time make files of a good size.

        Args:
            prompts: that were sent.
            responses: to them, as :func:`chatspan.distillation.teachers.top_k_of` takes them.

        Raises:
            LossError: the responses are not to these prompts; nothing is written.
            OutputError: the file cannot be written.
        """
        prompts = require_prompts(prompts)
        rows: dict[bytes, TokenEntries] = {}
        for prompt, entries in zip(prompts, entries_of(responses, prompts), strict=True):
            rows |= dict(zip(_keys(prompt), entries, strict=True))
        if not rows:
            return
        table = pa.Table.from_pydict(
            {
                "key": list(rows),
                "topk_ids": [[token for token, _ in entries] for entries in rows.values()],
                "topk_logprobs": [[log_prob for _, log_prob in entries] for entries in rows.values()],
            },
            _SCHEMA.with_metadata({b"form": _FORM, b"teacher": self._teacher.encode()}),
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_statistics=False)
        # Named after the tokens: whoever scores them again writes the same file.
        name = f"top_k-{hashlib.sha256(b''.join(sorted(rows))).hexdigest()[:24]}.parquet"
        try:
            write_whole(self._folder / name, sink.getvalue())
            remove_temporaries(self._folder, name)
        except OSError as error:
            raise OutputError(f"{self._folder / name} cannot be written ({one_line(error)})") from None
        self._keep(_Entries(table))

    def top_k_of(self, batch: Mapping[str, Any]) -> TeacherTopK:
        """The teacher's top-k of a batch.

        Raises:
            LossError: a token that is not in the store; with row and in-loss token.
        """
        found: dict[tuple[int, int], TokenEntries] = {}
        for prompt in teacher_prompts(batch):
            for entry, position, key in zip(prompt.entries, prompt.positions, _keys(prompt), strict=True):
                if key not in self._found:
                    raise LossError(
                        f"row {prompt.row}, in-loss token {entry}: {self._folder} has nothing for token "
                        f"{position} of the teacher's ids: score what missing(batch) lists"
                    )
                table, row = self._found[key]
                found[prompt.row, entry] = self._tables[table].of(row)
        return arranged(found, tuple(batch["response_idx_mask"].shape))

    def _keep(self, entries: _Entries) -> None:
        number = len(self._tables)
        self._tables.append(entries)
        self._found |= {key: (number, row) for row, key in enumerate(entries.keys)}


class _Entries:
    """The entries of a file, without an object for each."""

    def __init__(self, table: Any) -> None:
        self.keys: list[bytes] = table["key"].to_pylist()
        ids, log_probs = (table[name].combine_chunks() for name in ("topk_ids", "topk_logprobs"))
        self._ends = np.asarray(ids.offsets)
        if not np.array_equal(self._ends, np.asarray(log_probs.offsets)):
            raise OutputError("ids and log-probs of other numbers")
        self._ids, self._log_probs = np.asarray(ids.values), np.asarray(log_probs.values)

    def of(self, row: int) -> TokenEntries:
        """Of one token."""
        at = slice(self._ends[row], self._ends[row + 1])
        return list(zip(self._ids[at].tolist(), self._log_probs[at].tolist(), strict=True))


def _read(path: Path, teacher: str) -> _Entries:
    """A file of a store.

    Raises:
        OutputError: it is none, or another teacher's.
    """
    try:
        table = pq.read_table(path)
        known = table.schema.metadata or {}
        if known.get(b"form") != _FORM or not table.schema.equals(_SCHEMA):
            raise OutputError("another form")
        entries = _Entries(table)
    except (OutputError, pa.ArrowException, OSError) as error:
        raise OutputError(
            f"{path} is not a file of a teacher's top-k ({one_line(error)}): use another folder, or "
            "remove the file to score its tokens again"
        ) from None
    if known[b"teacher"] != teacher.encode():
        raise OutputError(
            f"{path} belongs to the teacher {quoted(known[b'teacher'].decode(errors='replace'))}, not to "
            f"{quoted(teacher)}: use a folder for each teacher"
        )
    return entries


def _keys(prompt: TeacherPrompt) -> Iterator[bytes]:
    """Of each in-loss token, in the order of ``positions``, the SHA-256 of the ids up to and with it."""
    ids = np.asarray(prompt.input_ids, dtype="<i8")
    digest, done = hashlib.sha256(), 0
    found: dict[int, bytes] = {}
    for position in sorted(prompt.positions):
        digest.update(ids[done : position + 1].tobytes())
        done = position + 1
        found[position] = digest.copy().digest()
    return (found[position] for position in prompt.positions)
