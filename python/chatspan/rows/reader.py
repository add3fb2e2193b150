"""The one reader: a row as people have it → a :class:`~chatspan.rows.conversations.Chat`, and what was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chatspan._core import survey
from chatspan.errors import ChatspanError, RowError, one_line
from chatspan.rows.conversations import Chat, Form
from chatspan.rows.dialects import alpaca, anthropic, openai, sharegpt
from chatspan.rows.dialects.calls import tools_of
from chatspan.rows.dialects.found import DialectError, Found
from chatspan.rows.habits import Habits, KnowsHabits
from chatspan.rows.media_types import COLUMN_NAMES, TEACHERS
from chatspan.rows.messages import RESERVED_KWARGS, Message, name_text, shown
from chatspan.rows.notes import Note
from chatspan.rows.options import Format, RowKeywords, RowOptions, checked
from chatspan.rows.row import RawRow
from chatspan.rows.steps import listings
from chatspan.rows.steps.columns import BESIDE, CONVERSATIONS, conversation_of, unread_notes
from chatspan.rows.steps.errors import without_errors
from chatspan.rows.steps.fitted import fitted
from chatspan.rows.steps.flags import weights_of
from chatspan.rows.steps.held import hold, taken
from chatspan.rows.steps.media import media_of, refuse_media, with_media, with_parts
from chatspan.rows.steps.media_data import with_data
from chatspan.rows.steps.nulls import may_have_nulls, without_nulls
from chatspan.rows.steps.plain import UnmeantError, decoded, is_missing, plain_data
from chatspan.rows.steps.roles import check_roles

if TYPE_CHECKING:
    from typing_extensions import Unpack

_TEXTS = ("chat", "system", "trace_id", "prompt", "completion", *alpaca.COLUMNS)
_OTHERS = ("history", "answers", "steps", "agent", "schema_version", "session_id", "chosen", "rejected")
# Columns that hold JSON text where a table has to keep what differs from row to row.
_JSON = frozenset({*CONVERSATIONS, *BESIDE, *_OTHERS}) - {"system", "trace_id", "schema_version", "session_id"}
_READ = frozenset({*CONVERSATIONS, *BESIDE, *_TEXTS, *_OTHERS}) - COLUMN_NAMES
# Those that may be lists of messages.
_LISTS = frozenset({*CONVERSATIONS, "prompt", "completion", "teacher_messages"})
_NULLS = (
    "nulls that a table may have added (it gives all dicts of a column the same keys) are removed; "
    "JSON text and Json() columns keep theirs"
)


class RowReader:
    """Reads rows of any dialect.

    Args:
        options: how.
        template: who knows the habits of the chat template that the rows are for; ``None``: there is none yet, as
            where rows are converted.
        per_token: keys of messages that are no template's: :attr:`Chat.side_arrays` has their values, as they are.

    Example:
        >>> from chatspan.rows.reader import RowReader
        >>> from chatspan.rows.row import RawRow
        >>> row = {"system": "Be brief.", "conversations": [{"from": "human", "value": "2 + 2?"}]}
        >>> RowReader().read(RawRow(0, "row 0", row)).messages
        [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': '2 + 2?'}]
    """

    def __init__(
        self,
        options: RowOptions | None = None,
        template: KnowsHabits | None = None,
        *,
        per_token: Sequence[str] = (),
    ) -> None:
        self.options = options if options is not None else RowOptions()
        self._template = template
        self._per_token = tuple(per_token)

    @property
    def takes_media(self) -> bool:
        """Whether messages may have images, videos and audio, for a processor."""
        return getattr(self._template, "processor", None) is not None

    def as_given(self) -> RowReader:
        """A reader of rows whose messages are as their template took them: nothing of them is put into other words."""
        options = RowOptions(tool_arguments="as_given", null_content="as_given", text_parts="as_given")
        return RowReader(options, self._template, per_token=self._per_token)

    def read(self, raw: RawRow) -> Chat:
        """The conversation of a row.

        Raises:
            RowError: there is none, or it is of a wrong form; with ``row_index``, and ``message_index`` where it is
                about a message.
        """
        try:
            line = raw.value if isinstance(raw.value, bytes) else None
            return self._read(raw.parsed(), line, raw.folder)
        except (DialectError, UnmeantError) as error:
            raise raw.error(error.message).at(message_index=error.message_index) from None
        except ChatspanError as error:
            raise error.at(row_index=raw.index, row_place=raw.place) from None
        except RecursionError:
            raise raw.error("its data is nested too deeply") from None
        # Whatever an object in a row raises when it is read costs this row, and no other.
        except Exception as error:
            raise raw.error(f"it cannot be read: {type(error).__name__}: {one_line(error)}") from error

    def _read(self, given: Mapping[str, Any], line: bytes | None, folder: str | None) -> Chat:
        """A row's columns → its conversation.

        Args:
            line: the JSON line that they were, if they were one.
            folder: see :class:`chatspan.rows.row.RawRow`.
        """
        notes: list[Note] = []
        row = self._columns(given, line, notes)
        found, form = conversation_of(row, self.options.column, self.options.format, list(given))
        notes += found.notes
        read = set(found.columns)
        keywords, documents = _keywords(row), _documents(row)
        tools = _tools(row, found.tools, read)
        if not found.messages:
            raise RowError(f"its {', '.join(map(repr, sorted(found.columns)))} hold no message")
        seen, keys = found.seen, None if found.seen is None else found.seen.keys
        messages = found.messages if seen and seen.is_normal else openai.normalized(found.messages, notes)
        messages, shift = _with_system(messages, row, read)
        loss_messages = self._loss_messages(row, found, form, shift, len(messages))
        twice = sharegpt.tools_in_system_note(messages[0].get("content"), tools)
        if twice is not None:
            notes.append(twice)
        habits, media = self._habits(tools, keywords), media_of(given)
        if media or self.takes_media or seen is None:
            messages = self._with_media(messages, media, notes, folder, is_for_text=habits is not None)
        messages, tool_errors, failed = without_errors(messages, keys)
        messages, side_arrays = taken(messages, self._per_token)
        messages, weights = weights_of(messages, notes, keys)
        if seen is None or not (seen.is_fitted and seen.has_usual_roles):
            messages = self._fitted(messages, habits, notes)
        kind: Form = "trace" if form == "trace" or tool_errors else "messages"
        teacher = row.get("teacher_messages")
        teacher_loss_messages = row.get("teacher_loss_messages")
        if teacher is not None:
            kind = "pair"
            teacher, shift = self._teacher(row, given, folder, habits, notes)
            if isinstance(teacher_loss_messages, list):
                teacher_loss_messages = _shifted(teacher_loss_messages, shift)
        notes += unread_notes(given, read | (BESIDE - {"system", "functions", "tools"}))
        return Chat(
            messages=messages,
            tools=tools,
            documents=documents,
            keywords=keywords,
            weights=weights,
            side_arrays=side_arrays,
            loss_messages=loss_messages,
            teacher_messages=teacher,
            teacher_loss_messages=teacher_loss_messages,
            tool_errors=tool_errors,
            failed_results=failed,
            form=kind,
            trace_id=None if row.get("trace_id") is None else name_text(row["trace_id"]),
            notes=notes,
            row=given,
        )

    def _with_media(
        self,
        messages: list[Message],
        media: Mapping[str, list[Any]],
        notes: list[Note],
        folder: str | None,
        *,
        is_for_text: bool,
    ) -> list[Message]:
        """The messages with the row's images and the like as parts; refused where only text can be encoded."""
        own: list[Note] = []
        messages = with_parts(messages, media, own)
        is_read = any(note.code == "media_marks_read" for note in own)
        notes += [note for note in own if note not in notes]
        processor = getattr(self._template, "processor", None)
        if processor is not None:
            return with_data(with_media(messages, {} if is_read else media), folder, processor)
        if is_for_text:
            refuse_media(messages, media)
        elif media and not is_read:
            notes.append(Note("column_unread", f"{', '.join(sorted(media))}: the columns for these are not read"))
        return messages

    def messages(self, value: Any, what: str, chat: Chat) -> list[Message]:
        """A further list of messages of a row, read as its own.

        Args:
            what: what errors call it.

        Raises:
            RowError: it is no list of messages; with ``message_index``.
        """
        return self._further(value, what, self._habits(chat.tools, chat.keywords), [])

    def _habits(self, tools: Sequence[Any] | None, keywords: Mapping[str, Any]) -> Habits | None:
        return None if self._template is None else self._template.habits(tools, keywords)

    def _further(self, value: Any, what: str, habits: Habits | None, notes: list[Note]) -> list[Message]:
        return self._read_on(openai.normalized(listings.read(plain_data(value), what).messages, notes), habits, notes)

    def _read_on(self, messages: list[Message], habits: Habits | None, notes: list[Note]) -> list[Message]:
        messages, _, _ = without_errors(messages)
        messages, _ = taken(messages, self._per_token)
        messages, _ = weights_of(messages, notes)
        return self._fitted(messages, habits, notes)

    def _teacher(
        self,
        row: Mapping[str, Any],
        given: Mapping[str, Any],
        folder: str | None,
        habits: Habits | None,
        notes: list[Note],
    ) -> tuple[list[Message], int]:
        """The teacher's messages, and by how much their indices are shifted."""
        try:
            found = listings.read(row["teacher_messages"], "teacher_messages")
            messages, shift = _with_system(openai.normalized(found.messages, notes), row, set())
            if self.takes_media:
                # Its own media, or the student's.
                media = media_of(given) | media_of(given, TEACHERS)
                messages = self._with_media(messages, media, notes, folder, is_for_text=True)
            return self._read_on(messages, habits, notes), shift
        except RowError as error:
            # The index is none of the row's own messages.
            raise RowError(
                error.message if "teacher_messages" in error.message else f"its 'teacher_messages': {error.message}"
            ) from None

    def _fitted(self, messages: list[Message], habits: Habits | None, notes: list[Note]) -> list[Message]:
        check_roles(messages, habits, notes)
        return fitted(messages, self.options, habits, notes)

    def _loss_messages(
        self, row: Mapping[str, Any], found: Found, form: Format, shift: int, count: int
    ) -> Sequence[int] | None:
        """The messages that the row itself names, or those of its completion."""
        column = self.options.column or next((each for each in CONVERSATIONS if each in found.columns), None)
        own = len(decoded(row[column])) if column is not None else len(found.messages)
        indices = _indices(row.get("loss_messages"), "loss_messages", own)
        if indices is None:
            return None if found.completion_from is None else range(found.completion_from + shift, count)
        if column is not None:
            indices = listings.positions(row[column], self.options.format and form, indices)
        return _shifted(indices, shift)

    def _columns(self, given: Mapping[str, Any], line: bytes | None, notes: list[Note]) -> dict[str, Any]:
        """The columns that may be read, as plain data, without a table's nulls, with JSON text decoded."""
        column = self.options.column
        # A NaN is no JSON, but json.dumps writes it where pandas had one.
        is_plain = line is not None and b"NaN" not in line
        row = {
            str(key): value for key, value in given.items() if (key in _READ or key == column) and not is_missing(value)
        }
        # Of plain data whether they have nulls.
        has_nulls = None if is_plain or self._per_token else survey(row)
        if not is_plain and has_nulls is None:
            if self._per_token:
                row = hold(row, {*_LISTS, column}, self._per_token)
            row = plain_data(row)
        if has_nulls is not False and (line is None or may_have_nulls(line)):
            lists = (column, *CONVERSATIONS, "prompt", "completion")
            own = next((each for each in lists if isinstance(row.get(each or ""), list)), None)
            row, places = without_nulls(row, own)
            if places:
                notes.append(Note("nulls_taken_out", _NULLS, places[0]))
        for key, value in row.items():
            if key in _JSON or key == column:
                row[key] = decoded(value)
            elif key in ("prompt", "completion") and isinstance(plain := decoded(value), list) and _are_dicts(plain):
                row[key] = plain
        return row


def _are_dicts(value: Sequence[Any]) -> bool:
    return bool(value) and all(isinstance(item, Mapping) for item in value)


def _keywords(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's ``chat_template_kwargs``."""
    found = row.get("chat_template_kwargs")
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise RowError(f"its 'chat_template_kwargs' must be a dict, got {shown(found)}")
    for key in found:
        if not isinstance(key, str):
            raise RowError(f"its 'chat_template_kwargs' must have names as keys, got {shown(key)}")
    reserved = sorted(RESERVED_KWARGS.intersection(found))
    if reserved:
        hint = "; pass tools as the row's own column 'tools'" if "tools" in reserved else ""
        raise RowError(f"its 'chat_template_kwargs' must not contain {', '.join(reserved)}{hint}")
    return dict(found)


def _documents(row: Mapping[str, Any]) -> list[Any] | None:
    """The row's ``documents``."""
    found = row.get("documents")
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise RowError(f"its 'documents' must be a list of dicts with 'title' and 'text', got {shown(found)}")
    return found


def _tools(row: Mapping[str, Any], of_dialect: list[Any] | None, read: set[str]) -> list[Any] | None:
    """The tools: of the column, in any dialect's shape; or those that the dialect has elsewhere."""
    tools, functions = row.get("tools"), row.get("functions")
    if of_dialect is not None:
        return of_dialect or None
    if tools is not None:
        read.add("tools")
        if not isinstance(tools, list):
            raise RowError(f"its 'tools' must be a list, got {shown(tools)}")
        return tools_of(tools)
    if functions is not None:
        read.add("functions")
        return openai.tools_of_functions(functions) if functions else None
    return None


def _with_system(messages: list[Message], row: Mapping[str, Any], read: set[str]) -> tuple[list[Message], int]:
    """The messages with the text of a column ``system`` as message 0, and by how much indices are shifted."""
    text = "" if "system" in read or "system" not in row else anthropic.system_text(row["system"])
    if not text.strip():
        read.add("system")
        return messages, 0
    if messages and messages[0].get("role") in ("system", "developer"):
        if messages[0].get("content") == text:
            read.add("system")
        return messages, 0
    read.add("system")
    return [{"role": "system", "content": text}, *messages], 1


def _indices(given: Any, column: str, count: int) -> list[int] | None:
    """The indices that the row itself gives, of its own messages."""
    if given is None:
        return None
    if not isinstance(given, list) or not all(type(index) is int for index in given):
        raise RowError(f"its {column!r} must be a list of message indices, got {shown(given)}")
    for index in given:
        if not 0 <= index < count:
            raise RowError(f"its {column!r} names message {index}, but there are {count}, from 0 on")
    return list(given)


def _shifted(indices: Sequence[Any], shift: int) -> list[Any]:
    return [index + shift if type(index) is int else index for index in indices]


def read_row(
    row: Any,
    *,
    encoder: KnowsHabits | None = None,
    **options: Unpack[RowKeywords],
) -> Chat:
    """Reads one row as every collator, data set function and command does.

    Args:
        row: a mapping, dataclass, row of pandas or pyarrow, in any dialect that chatspan knows.
        encoder: a :class:`chatspan.ChatEncoder`, whose template then decides what ``"auto"`` options do; without one
            JSON text in calls becomes an object, and contents stay as they are.
        options: the fields of :class:`chatspan.RowOptions`.

    Raises:
        RowError: the row has no conversation, or one of a wrong form.
        OptionError: an option that cannot be.

    Example:
        >>> import chatspan
        >>> chat = chatspan.read_row({"messages": [{"role": "assistant", "content": None, "tool_calls": [
        ...     {"type": "function", "function": {"name": "find", "arguments": '{"city": "Bern"}'}}]}]})
        >>> chat.messages[0]["tool_calls"][0]["function"]["arguments"]
        {'city': 'Bern'}
        >>> print(chat.notes[0])
        message 0, tool_calls[0]: a call's arguments are JSON text and are read as an object
    """
    return RowReader(RowOptions(**checked(options)), encoder).read(RawRow(0, "the row", row))
