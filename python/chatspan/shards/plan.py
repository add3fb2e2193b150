"""What is to be encoded and how; written beside the shards, so that a stopped run goes on with the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from chatspan._core import __version__
from chatspan.attribute.turns import EndOfTurn
from chatspan.encode.escapes import SpecialTokens
from chatspan.encode.truncation import Truncation
from chatspan.encoder import ChatEncoder
from chatspan.encoding import What
from chatspan.errors import OutputError
from chatspan.media.processors import settings_text
from chatspan.rows.marks import hex_of
from chatspan.rows.options import Format as RowFormat
from chatspan.rows.options import NullContent, TextParts, ToolArguments
from chatspan.supervised.options import SupervisedOptions, TrainOn

Format = Literal["parquet", "arrow"]
Manifest = Mapping[str, Any]

MANIFEST = "chatspan.json"
# Hidden, so that `datasets` takes nothing of a run that is not finished for a data set.
UNFINISHED = ".unfinished"

# Where the command line calls an option otherwise.
_OPTIONS = {"file_format": "format"}

_EDGE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class EncodePlan:
    """What is to be encoded and how. All of it decides what the shards hold.

    Attributes:
        source, split, subset: the data set, see :func:`chatspan.rows.sources.open_source`.
        column, row_format, tool_arguments, null_content, text_parts: how rows are read, see
            :class:`chatspan.RowOptions`.
        tokenizer, processor, template: by the names that a person gave; what is in them is in the manifest too.
        loss, end_of_turn, train_on, loss_weight: which tokens have labels, and weights beside them, see
            :class:`chatspan.ChatCollator`.
        max_length, truncation, special_tokens: see :meth:`chatspan.ChatEncoder.encode`.
        file_format: ``"parquet"``, ``"arrow"``.
        rows_per_shard: rows of the source a shard.
    """

    source: str
    tokenizer: str | None = None
    processor: str | None = None
    template: str | None = None
    column: str | None = None
    row_format: RowFormat | None = None
    tool_arguments: ToolArguments = "auto"
    null_content: NullContent = "auto"
    text_parts: TextParts = "auto"
    split: str = "train"
    subset: str | None = None
    loss: What = "turn"
    end_of_turn: EndOfTurn = "token"
    train_on: TrainOn = "all"
    loss_weight: bool = False
    max_length: int | None = None
    truncation: Truncation = "error"
    special_tokens: SpecialTokens = "as_rendered"
    file_format: Format = "parquet"
    rows_per_shard: int = 1000

    def supervised(self) -> SupervisedOptions:
        """How rows are read and encoded, and what of them is trained.

        Raises:
            OptionError: options that cannot be.
        """
        return SupervisedOptions(
            column=self.column,
            format=self.row_format,
            tool_arguments=self.tool_arguments,
            null_content=self.null_content,
            text_parts=self.text_parts,
            loss_on=self.loss,
            end_of_turn=self.end_of_turn,
            train_on=self.train_on,
            loss_weight=self.loss_weight,
            max_length=self.max_length,
            truncation=self.truncation,
            special_tokens=self.special_tokens,
        )


def manifest_of(plan: EncodePlan, encoder: ChatEncoder) -> dict[str, Any]:
    """The plan, and by what its inputs are known again."""
    tokenizer, own = encoder.tokenizer, encoder.pipeline.chat_template
    template = own if own is not None else tokenizer.chat_template
    inputs: dict[str, Any] = {
        "source": _source_print(plan.source),
        "tokenizer": _digest(tokenizer.backend_tokenizer.to_str().encode()),
        "template": _digest(json.dumps(template, sort_keys=True).encode()),
    }
    if encoder.processor is not None:
        inputs["processor"] = _digest(settings_text(encoder.processor).encode())
    return {"chatspan": __version__, "options": asdict(plan), "inputs": inputs}


def require_same(manifest: Manifest, out: Path) -> None:
    """Refuses to go on in a folder whose run was another one.

    Raises:
        OutputError: it was; with what differs.
    """
    found = read_manifest(out)
    for name, value in manifest["options"].items():
        before = found.get("options", {}).get(name)
        # The same file may be named in another way; what is in it decides.
        if name not in manifest["inputs"] and before != value:
            option = _OPTIONS.get(name, name.replace("_", "-"))
            raise _other(out, f"a run with --{option} {before}, this is {value}")
    for name, value in manifest["inputs"].items():
        if found.get("inputs", {}).get(name) != value:
            raise _other(out, f"a run of another {name}, by what is in it")
    if found.get("chatspan") != manifest["chatspan"]:
        raise _other(out, f"a run of chatspan {found.get('chatspan')}, this is {manifest['chatspan']}")


def _other(out: Path, what: str) -> OutputError:
    return OutputError(f"{out} holds {what}: use another --out, or --force to start over")


def read_manifest(out: Path) -> dict[str, Any]:
    """What a run wrote of itself.

    Raises:
        OutputError: the folder holds something else.
    """
    try:
        found = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(f"{out} exists and holds no run of chatspan: use another --out") from None
    except (ValueError, OSError) as error:
        raise OutputError(f"{out / MANIFEST} cannot be read ({error}): use --force to start over") from None
    if not isinstance(found, dict):
        raise OutputError(f"{out / MANIFEST} is not what chatspan writes: use --force to start over")
    return found


def fingerprint(manifest: Manifest) -> str:
    """What tells runs apart, in the form that ``datasets`` has for it."""
    return _digest(json.dumps([manifest["options"], manifest["inputs"]], sort_keys=True).encode())


def run_of(manifest: Manifest) -> str:
    """What tells runs apart whose shards must not be mixed; names of inputs do not count, what is in them does."""
    inputs = manifest.get("inputs", {})
    options = {name: value for name, value in manifest["options"].items() if name not in inputs}
    return hex_of(json.dumps([options, inputs, manifest.get("chatspan")], sort_keys=True).encode())


def require_apart(out: Path, source: str, *inputs: str | None) -> None:
    """Refuses a folder in which an input lies, since a run removes files there, or that lies in the source.

    Args:
        source, inputs: what a person named; files, folders, or none.

    Raises:
        OutputError: one of them does.
    """
    folder = out.resolve()
    for name in (source, *inputs):
        path = None if name is None else _resolved(name)
        if path is not None and (folder in path.parents or (path == folder and path.is_dir())):
            raise OutputError(f"the input {name} is inside {out}, the folder to write: use another --out")
    path = _resolved(source)
    if path is not None and path in folder.parents:
        raise OutputError(f"{out} is inside the input {source} and would become a part of it: use another --out")


def _resolved(name: str) -> Path | None:
    """A file or a folder of this name; a template's own text is none."""
    try:
        path = Path(name)
        return path.resolve() if path.exists() else None
    except (OSError, ValueError):
        return None


def _source_print(name: str) -> dict[str, Any]:
    """By what a source is known again at once: sizes, and of a file its edges. All else is in the shards' records."""
    path = Path(name)
    if path.is_dir():
        sizes = {str(each.relative_to(path)): each.stat().st_size for each in sorted(path.rglob("*")) if each.is_file()}
        return {"files": _digest(json.dumps(sizes).encode())}
    if not path.is_file():
        return {"name": name}
    size = path.stat().st_size
    with path.open("rb") as file:
        edges = file.read(_EDGE_BYTES)
        file.seek(max(0, size - _EDGE_BYTES))
        edges += file.read(_EDGE_BYTES)
    return {"bytes": size, "edges": _digest(edges)}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
