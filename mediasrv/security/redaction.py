"""Takes secrets out of text before it is logged: URL tokens, credentials in URLs, Authorization and cookie values."""

from __future__ import annotations

import base64
import logging
import re
from typing import Final

_RULES: Final = (
    (re.compile(r"([?&](?:token|password|passwd|pass|pwd|access_token)=)[^&\s\"'#]+", re.IGNORECASE), r"\1***"),
    # As some cameras want it in the path: /user=admin_password=secret_channel=1_stream=0.sdp
    (
        re.compile(
            r"(/user=[^&/\s\"'?#]*?[_&]pass(?:word|wd)?=)[^\s\"'?#]+?(?=[_&]channel=|[\s\"'?#]|$)", re.IGNORECASE
        ),
        r"\1***",
    ),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@\"']+@", re.IGNORECASE), r"\1***@"),
    (re.compile(r"\b(Bearer|Basic|Digest) +[^\s\"'].*", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"(mediasrv_session=)[^;\s\"']+"), r"\1***"),
    (re.compile(r"(/(?:invite|s|hls/t)/)[A-Za-z0-9_-]{20,}"), r"\1***"),
    (re.compile(r"\bmsrv_[A-Za-z0-9_-]{20,}"), "msrv_***"),
)


_TELLING: Final = 4
"""So many characters of a secret are too many."""


def redact(text: str) -> str:
    """`text` with everything that looks like a secret replaced by `***`."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def tells(words: str, username: str, password: str) -> bool:
    """Whether these words of a camera hold the login that it was given, or the beginning of it where they were cut."""
    basic = base64.b64encode(f"{username}:{password}".encode()).decode()
    return any(_holds(words, secret) for secret in (password, basic)) if password else False


def _holds(words: str, secret: str) -> bool:
    return secret in words or any(words.endswith(secret[:size]) for size in range(_TELLING, len(secret)))


class RedactingFormatter(logging.Formatter):
    """Redacts the finished line, traceback included. The last net, not a licence to log secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
