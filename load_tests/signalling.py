"""How a cheap viewer gets its answer: WHEP, or the HTTP API of Janus's streaming plugin. Blocking; any thread may ask.

Raises OSError (urllib's, or what was answered) where there is none.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
import urllib.request
from typing import Any, Final, Protocol

from load_tests.webrtc_client import WebRtcClient

_ANSWER_S: Final = 10.0
_STREAMING: Final = "janus.plugin.streaming"


class Signalling(Protocol):
    def join(self, client: WebRtcClient, audio: bool) -> None:
        """Exchanges offer and answer; the client may then check."""


class Whep:
    """One POST a viewer."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        self._headers = {"Content-Type": "application/sdp"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def join(self, client: WebRtcClient, audio: bool) -> None:
        client.accept(_post(self._url, client.offer(audio=audio).encode(), self._headers).decode())


class Janus:
    """All viewers are handles of one session; Janus offers, the viewer answers (Janus's documentation, "RESTful")."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = f"{url}/{self._call(url, {'janus': 'create'})['data']['id']}"
        self._offers: dict[int, str] = {}
        self._lock = threading.Lock()

    def join(self, client: WebRtcClient, audio: bool) -> None:
        handle = self._call(self._session, {"janus": "attach", "plugin": _STREAMING})["data"]["id"]
        watch = {"request": "watch", "id": 1, "media": ["v", "a"] if audio else ["v"]}
        self._call(f"{self._session}/{handle}", {"janus": "message", "body": watch})
        answer = {"type": "answer", "sdp": client.answer(self._offer(handle))}
        self._call(f"{self._session}/{handle}", {"janus": "message", "body": {"request": "start"}, "jsep": answer})

    def _offer(self, handle: int) -> str:
        """Asks for events until this handle's offer came, to whoever asked for it."""
        deadline_s = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline_s:
            with self._lock:
                if handle in self._offers:
                    return self._offers.pop(handle)
            # The asking may be another thread's luck: so it is short, and comes again.
            with contextlib.suppress(TimeoutError):
                for event in json.loads(_fetch(urllib.request.Request(f"{self._session}?maxev=50"), 1.0)):  # noqa: S310
                    self._take(event)
        raise OSError("Janus makes no offer.")

    def _take(self, event: dict[str, Any]) -> None:
        data = event.get("plugindata", {}).get("data", {})
        if "error" in data:
            raise OSError(f"Janus: {data['error']}")
        if "jsep" in event:
            with self._lock:
                self._offers[event["sender"]] = event["jsep"]["sdp"]

    def _call(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps({**body, "transaction": secrets.token_hex(6)}).encode()
        answer: dict[str, Any] = json.loads(_post(url, data, {"Content-Type": "application/json"}))
        if answer["janus"] == "error":
            raise OSError(f"Janus: {answer['error']['reason']}")
        return answer


def signalling(kind: str, url: str, token: str = "") -> Signalling:
    return Janus(url) if kind == "janus" else Whep(url, token)


def _post(url: str, data: bytes, headers: dict[str, str]) -> bytes:
    return _fetch(urllib.request.Request(url, data, headers), _ANSWER_S)  # noqa: S310 - the caller's own URL


def _fetch(request: urllib.request.Request, timeout_s: float) -> bytes:
    with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - the caller's own URL
        body: bytes = response.read()
    return body
