"""``chatspan teacher``: a teacher's top-k of the in-loss tokens of a data set, in a folder."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatspan.cli import options
from chatspan.cli.console import RowProgress, say, waiting
from chatspan.cli.failures import CliError, Stopped, line_of
from chatspan.cli.text import json_text, plural, printable

if TYPE_CHECKING:
    from chatspan.distillation.teachers import TeacherPrompt
    from chatspan.rows.row import RawRow
    from chatspan.shards.teacher_store import TeacherStore

_TEACHER = "Teacher"


class LossOnName(str, enum.Enum):
    """What the loss is on."""

    content = "content"
    turn = "turn"


class ApiName(str, enum.Enum):
    """The kind of server."""

    vllm = "vllm"
    sglang = "sglang"


def teacher(
    file: options.File,
    tokenizer: options.Tokenizer,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for the top-k.", show_default=False)
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", help="A model to load here.", rich_help_panel=_TEACHER, show_default=False
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            help="The URL of a server to query.",
            rich_help_panel=_TEACHER,
            show_default=False,
        ),
    ] = None,
    api: Annotated[
        ApiName, options.choice(ApiName, "--api", help="The kind of server.", rich_help_panel=_TEACHER)
    ] = ApiName.vllm,
    top_k: Annotated[
        int, typer.Option("--top-k", min=1, metavar="K", help="Entries per token.", rich_help_panel=_TEACHER)
    ] = 20,
    prompts_at_once: Annotated[
        int,
        typer.Option(
            "--prompts-at-once", min=1, metavar="N", help="Prompts per request and per file.", rich_help_panel=_TEACHER
        ),
    ] = 64,
    template: options.Template = None,
    loss_on: Annotated[
        LossOnName, options.choice(LossOnName, "--loss-on", help="As in DistillationConfig.")
    ] = LossOnName.content,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=1, metavar="N", help="As in DistillationConfig.", show_default=False),
    ] = None,
    as_json: options.Json = False,
    column: options.Column = None,
    row_format: options.RowFormat = None,
    tool_arguments: options.ToolArguments = options.ToolArgumentsName.auto,
    null_content: options.NullContent = options.NullContentName.auto,
    text_parts: options.TextParts = options.TextPartsName.auto,
    split: options.Split = "train",
    subset: options.Subset = None,
) -> None:
    """Score the in-loss tokens of a data set with a teacher, and store its top-k in a folder.

    Rows are those of SelfDistillationCollator, with 'teacher_messages'; a row without that column is shown to the
    teacher as it is. chatspan.shards.teacher_store.TeacherStore returns the top-k of any batch of them. Run the
    same command again to resume a run that was stopped.
    """
    from chatspan.cli.load import load_tokenizer, read_template
    from chatspan.distillation.collator import SelfDistillationCollator
    from chatspan.distillation.config import DistillationConfig
    from chatspan.rows.sources import open_source
    from chatspan.shards.teacher_store import TeacherStore

    if (model is None) == (server is None):
        raise CliError("use either --model NAME or --server URL for the teacher")
    with waiting(f"opening {file}"):
        source = open_source(file, split=split, subset=subset)
    how = options.row_options(column, row_format, tool_arguments, null_content, text_parts)
    config = DistillationConfig(layout="indexed", loss_on=loss_on.value, max_length=max_length, **asdict(how))
    loaded = load_tokenizer(tokenizer)
    if template is not None:
        loaded.chat_template = read_template(template)
    collate = SelfDistillationCollator(loaded, config)
    score = _scorer(model, server, api, top_k)
    store = TeacherStore(out, teacher=score.name)
    run = _Run(store, score, prompts_at_once)
    try:
        with RowProgress("scoring") as progress:
            run.all_of(source.rows(), _batches_of(collate, how), progress)
    except KeyboardInterrupt:
        kept = f"{plural(len(store), 'token')} in {out} are complete"
        raise Stopped(f"stopped; {kept}; run the same command again to resume") from None
    _report(run, out, as_json)
    if run.failed:
        raise typer.Exit(1)


def _scorer(model: str | None, server: str | None, api: ApiName, top_k: int) -> Any:
    from chatspan.distillation.teachers.scorers import LoadedTeacher, ServedTeacher

    if server is not None:
        with waiting(f"asking {server} for its model"):
            return ServedTeacher(server, api=api.value, top_k=top_k)
    with waiting(f"loading the model {model}"):
        import torch
        import transformers
        from transformers import AutoModelForCausalLM

        transformers.utils.logging.disable_progress_bar()
        try:
            loaded = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
        except (OSError, ValueError) as error:
            raise CliError(f"cannot load the model {model}: {line_of(CliError(str(error)))}") from None
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return LoadedTeacher(loaded.eval().to(device), str(model), top_k=top_k)


def _batches_of(collate: Any, how: Any) -> Callable[[RawRow], Any]:
    """Of a row its batch of one; the teacher sees what the student does, where the row has nothing else."""
    from chatspan.rows.reader import RowReader
    from chatspan.rows.row import naming

    reader = RowReader(how)

    def batch_of(raw: RawRow) -> Any:
        with naming([raw]):
            row = raw.parsed()
            if "teacher_messages" not in row:
                row = reader.read(raw).as_row()
                row = {**row, "teacher_messages": row["messages"]}
            return collate([row])

    return batch_of


@dataclass
class _Run:
    """What has been done, for the summary."""

    store: TeacherStore
    score: Callable[[list[TeacherPrompt]], Any]
    prompts_at_once: int
    rows: int = 0
    failed: int = 0
    before: int = 0

    def __post_init__(self) -> None:
        self.before = len(self.store)

    def all_of(self, rows: Iterable[RawRow], batch_of: Callable[[RawRow], Any], progress: RowProgress) -> None:
        """Scores what is missing of all rows."""
        waiting_for: list[TeacherPrompt] = []
        for raw, prompts in self._missing(rows, batch_of):
            waiting_for += prompts
            if len(waiting_for) >= self.prompts_at_once:
                self._scored(waiting_for)
                waiting_for = []
            progress.advance(1, raw.position)
        self._scored(waiting_for)

    def _missing(
        self, rows: Iterable[RawRow], batch_of: Callable[[RawRow], Any]
    ) -> Iterator[tuple[RawRow, list[TeacherPrompt]]]:
        from chatspan.errors import ChatspanError

        for raw in rows:
            self.rows += 1
            try:
                batch = batch_of(raw)
                # Without a teacher, the row has no loss.
                prompts = self.store.missing(batch) if "ctx_teacher_input_ids" in batch else []
            except ChatspanError as error:
                self.failed += 1
                say(line_of(error))
            else:
                yield raw, prompts

    def _scored(self, prompts: list[TeacherPrompt]) -> None:
        if prompts:
            self.store.add(prompts, self.score(prompts))


def _report(run: _Run, out: Path, as_json: bool) -> None:
    scored = len(run.store) - run.before
    if as_json:
        counts = {"rows": run.rows, "failed": run.failed, "tokens": len(run.store), "tokens_before": run.before}
        typer.echo(json_text({"out": str(out), **counts}))
        return
    failed = f"; {plural(run.failed, 'row')} failed" if run.failed else ""
    typer.echo(
        f"{plural(run.rows, 'row')}: {plural(scored, 'token')} scored, {run.before:,} were there; in "
        f"{printable(str(out))}{failed}"
    )
