"""Chats with media whose texts are marked words, so that whose each token is can be told from its text."""

from __future__ import annotations

from typing import Any

from processors import medium


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def said(role: str, *parts: Any) -> dict[str, Any]:
    return {"role": role, "content": [text(part) if isinstance(part, str) else part for part in parts]}


def chats(media: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    first, last = media[0], media[-1]
    return {
        "one": [said("user", medium(first, 0), "Zqfirst what is it?"), said("assistant", "Zqans one. é😀 done")],
        "several": [
            said("user", medium(first, 0), "Zqa mid", medium(last, 1), " Zqb tail"),
            said("assistant", "Zqans two"),
            said("user", "Zqc again ", medium(first, 2)),
            said("assistant", "Zqans three\n\nend"),
        ],
        "adjacent": [
            said("user", medium(first, 0), medium(first, 1), "\n", medium(first, 3), "\n\n"),
            said("assistant", "\n"),
            said("user", "Zqplain"),
            said("assistant", "Zqlast"),
        ],
        "of the assistant": [
            said("user", "Zqdraw it"),
            said("assistant", "Zqhere ", medium(first, 3), " Zqit is"),
        ],
        "none": [said("user", "Zqhello"), {"role": "assistant", "content": "Zqgood day"}],
    }
