"""Reads what requests carry: JSON bodies, times and numbers. Everything wrong is an InvalidRequest with a code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from mediasrv.clock import SECOND_US, from_us, to_us
from mediasrv.errors import InvalidRequest, UnsupportedMediaType
from mediasrv.media.access_unit import StreamName

LONGEST_TEXT: Final = 1000


async def read_fields(request: web.Request, known: frozenset[str]) -> Fields:
    """The JSON object of the body; a name that is not `known` is refused rather than ignored."""
    if request.content_type != "application/json":
        raise UnsupportedMediaType("The body must be application/json.")
    try:
        document = json.loads(await request.text())
    except (ValueError, LookupError, RecursionError) as error:
        raise InvalidRequest("The body is not valid JSON.", code="json_invalid") from error
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.", code="json_invalid")
    unknown = sorted(document.keys() - known)
    if unknown:
        raise InvalidRequest(f"Unknown here: {_shown(unknown[0])}; known are {', '.join(sorted(known))}.")
    return Fields(document)


class Fields:
    """Typed access to a JSON object. A missing member and null are the same: None, or the default."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def __contains__(self, name: str) -> bool:
        return name in self._document

    def text(self, name: str, default: str = "", most: int = LONGEST_TEXT) -> str:
        found = self.optional_text(name, most)
        return default if found is None else found

    def required_text(self, name: str, most: int = LONGEST_TEXT) -> str:
        found = self.optional_text(name, most)
        if not found:
            raise InvalidRequest(f"{name} is missing.")
        return found

    def optional_text(self, name: str, most: int = LONGEST_TEXT) -> str | None:
        value = self._document.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > most:
            raise InvalidRequest(f"{name} must be a text of at most {most} characters.")
        return check_text(value, name)

    def texts(self, name: str, most: int = LONGEST_TEXT) -> list[str]:
        """A list of texts; empty where there is none. How many they may be is for the caller to say."""
        values = self._document.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or not all(isinstance(one, str) and len(one) <= most for one in values):
            raise InvalidRequest(f"{name} must be a list of texts of at most {most} characters.")
        return [check_text(one, name) for one in values]

    def optional_choice(self, name: str, known: Sequence[str]) -> str | None:
        value = self.optional_text(name)
        if value is not None and value not in known:
            raise InvalidRequest(f"{name} must be {', '.join(known[:-1])} or {known[-1]}.")
        return value

    def lines(self, name: str, most: int) -> str:
        """A text that may have many lines and tabs; empty where there is none."""
        value = self._document.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > most:
            raise InvalidRequest(f"{name} must be a text of at most {most} characters.")
        check_text(re.sub(r"[\r\n\t\ufeff]", "", value), name)
        return value

    def optional_document(self, name: str) -> Mapping[str, Any] | None:
        value = self._document.get(name)
        if value is not None and not isinstance(value, dict):
            raise InvalidRequest(f"{name} must be a JSON object.")
        return value

    def optional_flag(self, name: str) -> bool | None:
        value = self._document.get(name)
        if value is not None and not isinstance(value, bool):
            raise InvalidRequest(f"{name} must be true or false.")
        return value

    def optional_int(self, name: str, least: int, most: int) -> int | None:
        value = self._document.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidRequest(f"{name} must be a whole number from {least} to {most}.")
        return value

    def optional_number(self, name: str, least: float, most: float) -> float | None:
        value = self._document.get(name)
        if value is None:
            return None
        # What is no number is in no range: not even NaN, which Python's JSON takes.
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise InvalidRequest(f"{name} must be a number from {least:g} to {most:g}.")
        return float(value)

    def optional_object(self, name: str, known: frozenset[str]) -> Fields:
        """A JSON object within this one; empty where there is none."""
        value = self._document.get(name, {})
        if value is not None and (not isinstance(value, dict) or value.keys() - known):
            raise InvalidRequest(f"{name} must be a JSON object; known in it are {', '.join(sorted(known))}.")
        return Fields(value or {})

    def optional_time(self, name: str) -> int | None:
        value = self.optional_text(name)
        return None if value is None else parse_time(value, name)

    def required_time(self, name: str) -> int:
        return parse_time(self.required_text(name), name)

    def optional_expiry(self, now_us: int) -> tuple[int | None, int | None]:
        """`expires_at`, and how many whole seconds from now that is; both None where nothing expires."""
        expires_us = self.optional_time("expires_at")
        if expires_us is None:
            return None, None
        ttl_s = (expires_us - now_us) // SECOND_US
        if ttl_s <= 0:
            raise InvalidRequest("expires_at has passed.", code="time_invalid")
        return expires_us, ttl_s


def check_text(value: str, name: str) -> str:
    """Refuses what no database or log can hold: control characters and halves of surrogate pairs."""
    if any(character < " " or "\ud800" <= character <= "\udfff" for character in value):
        raise InvalidRequest(f"{name} holds characters that cannot be kept.")
    return value


def parse_time(text: str, name: str) -> int:
    """An ISO 8601 time with a zone as microseconds since 1970. A blank is a plus that a URL lost."""
    try:
        return to_us(datetime.fromisoformat(text.replace(" ", "+")))
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"{name} must be an ISO 8601 time with a zone, such as 2026-01-31T08:00:00Z.", code="time_invalid"
        ) from error


def format_time(at_us: int | None) -> str | None:
    """Microseconds since 1970 as ISO 8601 UTC with `Z`; None stays None."""
    return None if at_us is None else from_us(at_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def query_span(request: web.Request) -> tuple[int, int]:
    """`start` and `end` of the query. Raises InvalidRequest where one is missing or the end is not later."""
    start_us = parse_time(request.query.get("start", ""), "start")
    end_us = parse_time(request.query.get("end", ""), "end")
    if start_us < 0 or end_us <= start_us:
        raise InvalidRequest("end must be later than start.", code="time_invalid")
    return start_us, end_us


def query_stream(request: web.Request) -> StreamName:
    """`stream` of the query: main where none is named, or where the choice is left to the server (`auto`): only a
    WebRTC viewer is moved between streams while it watches.
    """
    name = request.query.get("stream", "main")
    try:
        return StreamName.MAIN if name == "auto" else StreamName(name)
    except ValueError as error:
        raise InvalidRequest("stream must be main, sub or auto.", code="stream_unknown") from error


def query_int(request: web.Request, name: str, default: int | None, least: int, most: int) -> int | None:
    """A whole number of the query. Raises InvalidRequest outside its bounds."""
    found = whole_number(request.query, name, least, most)
    return default if found is None else found


def whole_number(query: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    """None where it is not named. Raises InvalidRequest outside its bounds."""
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and least <= int(text) <= most):
        raise InvalidRequest(f"{name} must be a whole number from {least} to {most}.")
    return int(text)


def _shown(name: str) -> str:
    return name[:40].encode("ascii", "replace").decode()
