"""What a chat template may take, so that one which never ends, or fills the memory, is an error."""

from __future__ import annotations

from dataclasses import dataclass, fields

from chatspan.errors import OptionError, TemplateError, quoted

# A level takes two KiB of the stack, of which a thread may have two MiB; a text's places are numbers of 32 bits.
_MOST = {"steps": 2**63 - 1, "depth": 600, "bytes": 2**31 - 1}


@dataclass(frozen=True, kw_only=True)
class TemplateLimits:
    """What one render of a chat template may take in the core.

    Attributes:
        steps: how many steps, which stand for time, some nanoseconds each: a statement, an expression, an item that is
            gone through or compared, 2 to 16 bytes of a text that is searched, compared or changed.
        depth: how many statements and expressions inside of each other, those of macros that are called included; at
            most 600. A macro that calls itself takes three to ten for each call.
        bytes: how many bytes of memory the texts, lists and dicts that it makes may take, with those that it throws
            away again; at most ``2**31 - 1``. One of the render itself counts as four, since Python may keep as many.

    Raises:
        OptionError: a limit is no whole number, or out of its range.

    Example:
        >>> import chatspan
        >>> chatspan.TemplateLimits(steps=5_000_000).bytes
        1073741824
    """

    steps: int = 500_000_000
    depth: int = 400
    bytes: int = 2**30

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise OptionError(f"{name}={quoted(value)}: expected a whole number from 1 to {most}")


def require_limits(limits: object) -> TemplateLimits:
    """The limits that are given, or those of every template.

    Raises:
        OptionError: they are something else.
    """
    if limits is None:
        return TemplateLimits()
    if not isinstance(limits, TemplateLimits):
        names = ", ".join(f"{field.name}=…" for field in fields(TemplateLimits))
        raise OptionError(f"template_limits={quoted(limits)}: pass a chatspan.TemplateLimits({names})")
    return limits


def limit_error(reached: str) -> TemplateError:
    """The error of a template that reached a limit, such as ``"steps=500000000"``."""
    name = reached.partition("=")[0]
    return TemplateError(
        f"the chat template was stopped at its limit {reached}: it may never end; if it needs more, "
        f"raise it with ChatEncoder(template_limits=chatspan.TemplateLimits({name}=…))"
    )
