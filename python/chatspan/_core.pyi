from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pairs: TypeAlias = Sequence[Sequence[int]] | Sequence[tuple[int, int]] | NDArray[Any]
Straddle: TypeAlias = Literal["first", "touch", "inside", "error"]
Blanks: TypeAlias = Literal["unknown", "kept", "stripped"]

__version__: str

class Offsets:
    """The token → character table of one render, checked once when it is made.

    Args:
        offsets: for each token its half-open character range: a list of pairs, as a tokenizer's
            ``return_offsets_mapping=True`` gives it, or an integer array ``[T, 2]``. A token with an empty range
            stands for no character (tokenizers give ``(0, 0)`` for tokens they add).
        text_length: the text's length in characters, to check the ends against.

    Raises:
        OffsetsError: with ``token_index``.
        OptionError: ``text_length`` is no length.

    Example:
        >>> import chatspan
        >>> chatspan.Offsets([(0, 2), (2, 5)], text_length=5)
        Offsets(2 tokens over 5 characters)
    """

    def __new__(cls, offsets: Pairs, *, text_length: int | None = None) -> Offsets: ...
    def __len__(self) -> int: ...
    def to_array(self) -> NDArray[np.int32]:
        """int32 ``[T, 2]``, the character range of each token."""

def locate(
    text: str,
    contents: Sequence[str],
    *,
    anchors: Sequence[tuple[str, str]] | None = None,
    blanks: Blanks = "unknown",
) -> NDArray[np.int64]:
    """The place of each content in a rendered text, if that is certain.

    Contents stand in the text in the order given and do not overlap; the template may have trimmed blanks (what
    ``str.isspace`` says) at their ends. Where more than one placement fits, none is picked.

    Args:
        text: the render.
        contents: the contents, in the order in which they were rendered.
        anchors: for each content the scaffold right before and right after it, ``""`` where not known.
        blanks: what the template does with blanks at the ends of contents: ``"unknown"``, ``"kept"``,
            ``"stripped"``. With ``"unknown"`` a content with such blanks is ambiguous wherever the text has
            blanks there, since they may be the content's or the template's; anchors decide it too.

    Returns:
        int64 ``[N, 2]``, half-open ranges in characters (code points); ``(-1, -1)`` for a blank content.

    Raises:
        ContentNotFoundError: a content is not behind the ones before it. With ``content_index``, ``candidates``.
        AmbiguousContentError: a content has more than one place. With ``content_index``, ``candidates``.
        TextError: a string has a lone surrogate.

    Example:
        >>> import chatspan
        >>> chatspan.locate("<user>Hi there<end><bot>Hello<end>", [" Hi there\\n", "Hello"]).tolist()
        [[6, 14], [24, 29]]
    """

def token_spans(offsets: Pairs | Offsets, spans: Pairs, *, straddle: Straddle = "touch") -> NDArray[np.int64]:
    """The tokens of each span.

    Args:
        offsets: an :class:`Offsets`, or what makes one.
        spans: half-open character ranges ``[N, 2]``; ``(-1, -1)`` for one that is not there.
        straddle: what becomes of a token with characters on both sides of a span's edge: ``"touch"`` takes it in,
            ``"inside"`` leaves it out, ``"first"`` lets its first character decide, ``"error"`` raises.

    Returns:
        int64 ``[N, 2]``, half-open ranges of token positions; an empty range for a span without tokens,
        ``(-1, -1)`` for one that is not there.

    Raises:
        OffsetsError, SpanError, StraddleError.

    Example:
        >>> import chatspan
        >>> chatspan.token_spans([(0, 2), (2, 5), (5, 6)], [(2, 6), (3, 6)], straddle="inside").tolist()
        [[1, 3], [2, 3]]
    """

def token_mask_of_kinds(
    offsets: Offsets,
    message_index: NDArray[np.int32],
    kind: NDArray[np.uint8],
    messages: Sequence[int],
    kinds: Sequence[int],
) -> NDArray[np.bool_]:
    """For each token whether it is of one of these messages and kinds, given each token's; bool ``[T]``.

    A token without characters is of none.
    """

def token_mask(offsets: Pairs | Offsets, spans: Pairs, *, straddle: Straddle = "touch") -> NDArray[np.bool_]:
    """For each token whether its characters are in the union of the spans.

    ``"touch"``: any of them; ``"inside"``: all of them; ``"first"``: the first one; ``"error"`` raises where only some
    are. Spans may overlap
    and come in any order. A token without characters is in no span.

    Returns:
        bool ``[T]``.

    Raises:
        OffsetsError, SpanError, StraddleError.

    Example:
        >>> import chatspan
        >>> chatspan.token_mask([(0, 0), (0, 2), (2, 5)], [(2, 4)]).tolist()
        [False, False, True]
    """

def control_tokens_in(
    input_ids: NDArray[np.int64], offsets: Offsets, is_control: NDArray[np.bool_], data: NDArray[np.int64]
) -> list[int]:
    """The control tokens that touch characters of the caller's data.

    Args:
        is_control: by id; ids past its end are none.
        data: int64 ``[N, 2]``, half-open ranges of characters, rising.

    Returns:
        the indices of these tokens. A token without characters touches those around it.
    """

def look_up_numpy() -> None:
    """Looks the functions of numpy up that arrays are made with, which is else done when the first one is made."""

def before_fork(patience: float) -> None:
    """Has the core at rest: waits, without the GIL, until no other thread works in it, and keeps all out.

    Args:
        patience: how many seconds to wait at most.
    """

def after_fork_in_parent() -> None:
    """Work goes on, also where the fork failed."""

def after_fork_in_child() -> bool:
    """Work goes on in the child, on one thread for each caller.

    Returns:
        whether the core was at rest. If it was not, the locks of native tokenizers may be held for ever.
    """

class NativeTokenizer:
    """A tokenizer in Rust with the ids and offsets of HF's. Not there in builds without the feature ``native``.

    Args:
        json: a ``tokenizer.json``.
        cache_bytes: how much memory may be taken to remember texts between added tokens.

    Raises:
        BackendError: the configuration is not known to come out as HF's; with the reason.
    """

    def __new__(cls, json: str, *, cache_bytes: int) -> NativeTokenizer: ...
    def is_unproven(self) -> bool:
        """Whether its pattern is one that nobody has compared: it encodes nothing until :meth:`set_alike`."""
    def classes(self) -> list[str]:
        """The classes of characters in its patterns, each a pattern that matches one character: ``\\s``,
        ``[^\\p{L}]``, ``(?i:[st])``.
        """
    def set_alike(self, characters: str) -> None:
        """Says which characters it cuts as HF does: from here on it encodes texts of these. Only the first call
        counts.
        """
    def cut(self, text: str) -> NDArray[np.uintp] | None:
        """The words that a text is cut into before merging, uint64 ``[W]``: the byte behind each.

        ``None``: it is not cut, or the words cannot be told.
        """
    def is_of(self, json: str) -> bool:
        """Whether this ``tokenizer.json`` would make the same one: what ids and offsets depend on is the same."""
    def encode_batch(
        self, texts: Sequence[str | NativeRender], segments: Sequence[Segments] | None
    ) -> list[
        tuple[NDArray[np.int64], Offsets, tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]] | None] | None
    ]:
        """int64 ids, offsets and, where segments are given, what :func:`attribute` gives, of each text
        or render, on all cores.

        ``None`` for a text whose offsets cannot be told for certain.
        """
    def label_batch(
        self,
        texts: Sequence[str | NativeRender],
        segments: Sequence[Segments],
        messages: Sequence[Sequence[int]],
        *,
        end_of_turn: str,
        max_length: int | None = None,
        cut: str | None = None,
        with_whose: bool = False,
    ) -> LabelledRows:
        """The tokens of texts or renders, on all cores, and of each the turns of some messages as what is trained.

        Args:
            messages: for each row the assistants' messages whose turns are trained.
            end_of_turn: ``"token"``, ``"all"``, ``"none"``; with another one no row has labels.
            max_length: how many tokens a row may have.
            cut: where more are cut off: ``"left"``, ``"right"``; ``None``: longer rows have no labels.
            with_whose: whether it is found of each token whose it is.
        """
    def encode_plain(self, text: str) -> list[int] | None:
        """The ids of a text in which nothing is an added token."""
    def token(self, id: int) -> str | None:
        """The token of an id, as it stands in the vocabulary."""
    def cache_stats(self) -> dict[str, int]:
        """``hits``, ``misses``, ``bytes``, ``entries``."""

class TurnScaffold:
    """What a template writes around assistants' messages, and the tokens that have a meaning in its renders."""

    def __new__(
        cls,
        openings: Sequence[tuple[tuple[str, str], tuple[str, str] | None]],
        ends: Sequence[str],
        open_tag: str,
        close_tag: str,
        control_tokens: Sequence[str],
        call_ends: Sequence[str],
    ) -> TurnScaffold: ...

# The fields of a ``chatspan.attribute.segments.Region``.
Region: TypeAlias = tuple[int, int, int | None, tuple[int, int] | None, bool, str | None, bool]

class Segments:
    """A render cut by message and kind, without gaps.

    Args:
        edges: int64 ``[S + 1]``, rising, from 0 to the text's length: segment ``s`` is ``[edges[s], edges[s + 1])``.
        message_index: int32 ``[S]``, the message that a segment belongs to, -1 for none.
        kind: uint8 ``[S]``, what it is there; 0 is scaffold.
        regions: by message, what the template wrote while it rendered it.
        homeless: the assistants' messages that have text in the render and no region.
        leads: blanks in front of words: a token that begins in them and goes on into the word is the word's.

    Raises:
        SpanError: a segment is empty, backwards, or without a message or kind. With ``span_index``.
    """

    def __new__(
        cls,
        edges: NDArray[np.int64],
        message_index: NDArray[np.int32],
        kind: NDArray[np.uint8],
        regions: dict[int, Region] = ...,
        homeless: Sequence[int] = ...,
        leads: Sequence[tuple[int, int]] = ...,
    ) -> Segments: ...
    unknown: list[tuple[str, str]]
    """What stands before turns whose opening is not known yet."""
    undecided: list[int]
    """The messages that only the row's own prompts tell the opening of."""
    homeless: list[int]
    """The assistants' messages that have text in the render and no part of it."""
    is_settled: bool
    """Whether nothing has to be found out by other renders."""
    def __len__(self) -> int: ...
    def to_arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
        """``edges``, ``message_index`` and ``kind``."""
    def turns(self, messages: Sequence[int], end_of_turn: str) -> list[tuple[int, int]] | None:
        """The characters of the turns of those messages that were rendered; see ``chatspan.attribute.turns``.

        ``None`` where the header or the end of one cannot be told, or ``end_of_turn`` needs to know what follows.
        """
    def without_results(self, start: int, end: int) -> list[tuple[int, int]]:
        """A range of characters without what a runtime wrote in it."""
    def regions(self) -> dict[int, Region]:
        """For each message that was rendered the fields of a ``chatspan.attribute.segments.Region``."""
    def region(self, message_index: int) -> Region | None:
        """Of one message; ``None`` if it was not rendered."""

class TemplateProgram:
    """A template, ready to be evaluated.

    Args:
        program: what :func:`chatspan.render.native.program.program_of` gives.

    Raises:
        ValueError: it is no program.
    """

    def __new__(cls, program: str) -> TemplateProgram: ...

def render_templates(
    jobs: Sequence[tuple[TemplateProgram, TemplateInput, bool, TurnScaffold | None, tuple[int, int, int]]],
    answer: Callable[[str, str], str],
) -> list[tuple[str, NativeRender | str]]:
    """Renders on all cores, without the GIL.

    Args:
        jobs: a template, what it is given, whether a generation prompt is wanted; with scaffold the render is cut by
            message and kind at once. At most so many steps, levels and bytes, see :class:`chatspan.TemplateLimits`.
        answer: what only Python knows: ``"strftime"`` of a format, ``"repr"``, ``"upper"`` and so on of a text.

    Returns:
        for each ``"rendered"`` and the render; ``"raised"`` or ``"lacking"``, and what is said; ``"limit"``, and which,
        as ``"steps=500000000"``.
    """

class TemplateInput:
    """What a template is given, read once; it shares strings with what it was read from, which do not change.

    Args:
        messages: as ``apply_chat_template`` takes them, in a list or a tuple.
        variables: those whose strings are told apart from the template's own.
        plain: those whose strings are the template's own: special tokens.
        prepare: makes JSON's types of other objects; ``None`` leaves these to traced Jinja2.
        drops_none: whether fields of messages that are ``None`` are left out.
        reasoning_keys: the names of a message's reasoning, if it is given under all that templates read.

    Raises:
        ValueError: there is something that the core lacks.
    """

    def __new__(
        cls,
        messages: Sequence[Any],
        variables: dict[str, Any],
        plain: dict[str, Any],
        prepare: Callable[[Any], Any] | None,
        drops_none: bool,
        reasoning_keys: list[str],
    ) -> TemplateInput: ...
    def roles(self) -> tuple[str, ...] | None:
        """The role of each message, ``""`` where it has none; ``None`` where one is no string."""
    def aliases(self) -> list[tuple[int, str, str]]:
        """The fields of messages that are another one of the same message: index, name, name of the other."""
    def to_python(self) -> dict[str, Any]:
        """What it was read from, made anew: ``messages`` and the variables."""

class NativeRender:
    """What a template wrote, and where it came from when it is asked. Positions are characters."""

    @property
    def text(self) -> str: ...
    @property
    def length(self) -> int:
        """How many characters it has."""
    def text_from(self, start_char: int) -> str:
        """The text from a character on; the front of it is not made into a text of Python."""
    def starts_with(self, other: NativeRender) -> bool:
        """Whether it begins with all of another."""
    @property
    def input(self) -> TemplateInput: ...
    @property
    def prompt_start_char(self) -> int:
        """Where the generation prompt begins; -1 if there is none."""
    def owners(self) -> list[tuple[int, int]]:
        """``(start_char, message_index)``: from there on, the message being rendered."""
    def generation(self) -> list[tuple[int, int]]:
        """The characters of each generation block."""
    def contents(self) -> list[tuple[int, int, int]]:
        """What comes from messages' contents, in order: ``(message_index, start_char, end_char)``."""
    def data(self, structural_roles: Sequence[str]) -> NDArray[np.int64]:
        """The characters that the caller's data contributed, as ``chatspan.render.origins.data_ranges``: ``[N, 2]``."""
    def fields(self) -> list[tuple[int, int, int, tuple[str | int, ...], int]] | None:
        """The runs, each with its field: ``(start_char, end_char, message_index, path, field_start_char)``.

        ``None`` where a container was written, whose text has fields of its own.
        """
    def fields_behind(self, start_char: int) -> list[tuple[int, int, int, tuple[str | int, ...], int]]:
        """The runs that end behind a character, as in :meth:`fields`; a container that was written is one field."""
    def runs(
        self, find: Callable[[int, tuple[str | int, ...]], Any], make_dump: Callable[[Any, str, Any], Any]
    ) -> list[tuple[int, int, Any, int]]:
        """The runs, see ``chatspan.render.origins``.

        Args:
            find: what stands at a place, by message and path.
            make_dump: the origin of a container that was written: container, text, style.
        """
    def segments(
        self, scaffold: TurnScaffold, found: Mapping[str, Any] | None = None, *, again: bool = False
    ) -> Segments:
        """The render cut by message and kind, as :func:`attribute_render`: as it was when it was made; anew with
        ``found``, or ``again`` with another scaffold.
        """

def _panic(message: str) -> None:
    """Panics, as a fault in the core would. For tests of the border."""

def attribute_render(
    text: str,
    runs: list[tuple[int, int, Any, int]],
    owners: Sequence[tuple[int, int]],
    roles: Sequence[str],
    shapes: Sequence[str],
    scaffold: TurnScaffold,
    prompt_start: int | None,
    found: Mapping[str, Any] | None = None,
) -> Segments:
    """Cuts a render by message and kind.

    Args:
        text, runs, owners: of a ``chatspan.render.rendered.Render``; see there.
        roles, shapes: of each message; see ``chatspan.attribute.openings.shape_of``.
        prompt_start: the character where the generation prompt begins, if there is one.
        found: what other renders showed: ``openings`` by message, ``stops``, where an assistant's own part ends before
            results, and ``owners`` in place of those of the render, or ``None``.

    Raises:
        SpanError: owners that are no messages or out of order, or not as many shapes as roles.
    """

def attribute(
    offsets: Offsets | Pairs, segments: Segments
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]:
    """Whose each token is, given the render cut into segments.

    Args:
        offsets: as for :class:`Offsets`.

    Returns:
        int32 ``[T]`` message indices, uint8 ``[T]`` kinds, both those of a token's first character (a token without
        characters is scaffold of the message at its place), and int64 ``[K]``, the indices of tokens whose characters
        have more than one message or kind.

    Raises:
        OffsetsError: a token is past the last segment. With ``token_index``.
    """

class LabelledRows:
    """Rows with their labels. Not there in builds without the feature ``native``."""

    def counts(self) -> list[tuple[int, int, int] | None]:
        """Of each row how many tokens are kept, how many of them are trained, and how many were cut off.

        ``None`` for one that has no labels: its turns cannot be told, it is too long, or its offsets are not certain.
        """
    def padded(self, rows: Sequence[int], width: int, pad_id: int, on_left: bool) -> list[NDArray[np.int64]]:
        """Some of the rows as ids, attention mask and labels: int64 ``[B, width]`` each.

        Args:
            on_left: whether they stand at the right.

        Raises:
            IndexError: there is no such row, or it has no labels.
            ValueError: a row is longer.
        """
    def columns(
        self, rows: Sequence[int]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]] | None:
        """Some of the rows, one behind the other.

        Returns:
            where each row begins and the last one ends (int32 ``[B + 1]``), and of each token its id, its label, its
            message (int32) and its kind (uint8), 0 if that was not found. ``None``: there are more tokens than int32
            counts.

        Raises:
            IndexError: there is no such row, or it has no labels.
        """

def pad_rows(
    sets: Sequence[tuple[Sequence[NDArray[np.int64]], int]], width: int, on_left: bool
) -> list[NDArray[np.int64]]:
    """Padded arrays.

    Args:
        sets: int64 ``[T]`` rows of different lengths, and what stands where a row has nothing.
        width: of the arrays.
        on_left: whether the rows stand at the right.

    Returns:
        for each set int64 ``[B, width]``.

    Raises:
        ValueError: a row is longer.
        MemoryError: there is no memory for so many columns.
    """

# int64 [T] ids, their offsets, the segments, and int64 [N, 4] verbatim runs: start and end in the render, the field's
# number, the character of the field
Side = tuple[NDArray[np.int64], Offsets, Segments, NDArray[np.int64]]

def pair_tokens(student: Side, teacher: Side, message_map: NDArray[np.int32]) -> NDArray[np.int64]:
    """The tokens that are the same on both sides; see ``chatspan.align``.

    Args:
        student, teacher: fields have the same number on both sides where they are the same field of the same message.
        message_map: int32 ``[M]``, for each of the student's messages the teacher's that it is; -1: none.

    Returns:
        int64 ``[K, 2]``, rising on both sides: the student's token and the teacher's. Ids are equal.

    Raises:
        OffsetsError: there are not as many offsets as ids.
    """

def align_columns(
    student: NDArray[np.int64],
    teacher: NDArray[np.int64],
    student_blocks: Sequence[tuple[int, int]],
    teacher_blocks: Sequence[tuple[int, int]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """One row of columns for a student's and a teacher's tokens; see ``chatspan.distillation.layouts``.

    Args:
        student, teacher: int64 ``[S]``, ``[T]``, the ids of either side.
        student_blocks, teacher_blocks: the in-loss tokens of either side, half-open, in order.

    Returns:
        int64 ``[S]`` and ``[T]``, the column of each token, and the number of columns.

    Raises:
        AlignmentError: with ``block_index``.
        ValueError: there are not as many blocks on both sides.
    """

def read_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8, as ``json.loads`` gives it.

    ``None``: it is null, or it is for ``json.loads`` to read, or to say what is wrong with it.
    """

def survey(columns: dict[str, Any]) -> bool | None:
    """Whether a dict somewhere in the values has a null that is no ``content``.

    ``None``: a value is not plain data (texts, numbers that are neither NaN nor of more than 64 bits, truth values, and
    lists and dicts of these), or nested too deeply.
    """

def survey_messages(messages: list[Any]) -> tuple[list[str], list[str], bool, bool, bool] | None:
    """What messages have that are dicts with texts as keys and a text as role.

    Returns:
        their keys, some perhaps twice; their roles; whether each has a content that is a text; whether a content is
        neither a text nor null; whether another field is null. ``None``: one is something else, or they have very many
        keys or roles.
    """
