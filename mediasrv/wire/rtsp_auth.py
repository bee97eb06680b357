"""The client's side of Basic and Digest authentication in RTSP (RFC 7617, RFC 7616, RFC 2069 for what is old)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN: Final = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))|([\w-]+)')
_HASHES: Final = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a WWW-Authenticate header; `scheme` and the names are in small letters."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def algorithm(self) -> str:
        return self.parameters.get("algorithm", "MD5").upper()

    @property
    def strength(self) -> int:
        """Higher is better, 0 cannot be answered."""
        if self.scheme == "basic":
            return 1
        qop = self.parameters.get("qop")
        answerable = (
            self.scheme == "digest"
            and "nonce" in self.parameters
            and self.algorithm.removesuffix("-SESS") in _HASHES
            and (qop is None or "auth" in _words(qop))
        )
        return (3 if self.algorithm.startswith("SHA-256") else 2) if answerable else 0


class Authenticator:
    """Answers one server's challenges for one user. Never shows the password.

    `new_cnonce` makes a fresh client nonce; it is given only by tests.
    """

    def __init__(
        self, username: str, password: str, new_cnonce: Callable[[], str] = lambda: secrets.token_hex(8)
    ) -> None:
        self._username = username
        self._password = password
        self._new_cnonce = new_cnonce
        self._challenge: Challenge | None = None
        self._uses = 0
        self._cnonce = ""
        self._accepted = False

    def __repr__(self) -> str:
        return f"Authenticator(username={self._username!r})"

    @property
    def has_credentials(self) -> bool:
        return bool(self._username)

    def accepted(self) -> None:
        """The server took an authorised request: a later 401 then means an expired nonce, not a wrong password."""
        self._accepted = self._challenge is not None

    def adopt(self, headers: Sequence[str], *, authorised: bool) -> bool:
        """Takes the best challenge of these WWW-Authenticate headers.

        True where the request is worth repeating: it went without `Authorization` (`authorised` false), or the server
        says that the nonce is stale, or gives a new one after it had accepted the old. A refused password is not tried
        twice: cameras lock accounts.
        """
        clean = [_CONTROLS.sub("", header) for header in headers]  # what is adopted goes into our requests
        challenge = max(parse_challenges(clean), key=lambda each: each.strength, default=None)
        if challenge is None or not challenge.strength or not self.has_credentials:
            return False
        known = self._challenge.parameters.get("nonce") if self._challenge else None
        fresh = challenge.parameters.get("nonce") != known
        stale = challenge.parameters.get("stale", "").lower() == "true"
        if authorised and not (fresh and (stale or self._accepted)):
            return False
        self._challenge, self._uses, self._cnonce = challenge, 0, self._new_cnonce()
        return True

    def authorization(self, method: str, uri: str) -> str | None:
        """The Authorization header's value for this request, None before any challenge."""
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return "Basic " + base64.b64encode(f"{self._username}:{self._password}".encode()).decode()
        return self._digest(self._challenge, method, uri)

    def _digest(self, challenge: Challenge, method: str, uri: str) -> str:
        given = challenge.parameters
        realm, nonce, algorithm = given.get("realm", ""), given["nonce"], challenge.algorithm
        session = algorithm.endswith("-SESS")
        # The session variants hash the first client nonce into the secret, so it stays (RFC 7616, 3.4.2).
        cnonce = self._cnonce if session or not self._uses else self._new_cnonce()
        self._uses += 1
        count = f"{self._uses:08x}"
        secret = digest_hash(algorithm, self._username, realm, self._password)
        if session:
            secret = digest_hash(algorithm, secret, nonce, cnonce)
        target = digest_hash(algorithm, method, uri)
        answer = [("username", self._username), ("realm", realm), ("nonce", nonce), ("uri", uri)]
        bare = [("algorithm", given["algorithm"])] if "algorithm" in given else []
        if "qop" in given:
            response = digest_hash(algorithm, secret, nonce, count, cnonce, "auth", target)
            bare += [("qop", "auth"), ("nc", count)]
        else:
            response = digest_hash(algorithm, secret, nonce, target)
        if "qop" in given or session:
            answer.append(("cnonce", cnonce))
        answer.append(("response", response))
        if "opaque" in given:
            answer.append(("opaque", given["opaque"]))
        quoted = [f'{name}="{_escape(value)}"' for name, value in answer]
        return "Digest " + ", ".join(quoted + [f"{name}={value}" for name, value in bare])


def parse_challenges(headers: Sequence[str]) -> Iterator[Challenge]:
    """All challenges, in order; a header may hold several (RFC 9110, 11.6.1). A word without `=` begins the next."""
    for header in headers:
        challenge: Challenge | None = None
        for name, quoted, plain, scheme in _TOKEN.findall(header):
            if scheme:
                if challenge is not None:
                    yield challenge
                challenge = Challenge(scheme.lower())
            elif challenge is not None:
                challenge.parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) or plain
        if challenge is not None:
            yield challenge


def digest_hash(algorithm: str, *values: str) -> str:
    """The hash, in hex, of the values with colons between; `algorithm` is MD5 or SHA-256, perhaps with -SESS."""
    return _HASHES[algorithm.removesuffix("-SESS")](":".join(values).encode()).hexdigest()


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",")]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
