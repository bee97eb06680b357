"""ICE-lite (RFC 8445, 2.5): answers a peer's checks and decides to which of its addresses media may go.

Rules against being used to flood a stranger (RFC 8445, 19; RFC 7675):
- nothing is sent to an address that no authentic check came from;
- one STUN transaction counts once: repeated from another address, it proves nothing about that address;
- before DTLS is done, an address is sent at most three times the bytes that came from it;
- media moves to another address only after authentic SRTCP or DTLS from there.

Over TCP (RFC 6544, passive) the same rules hold: each connection is a path.

It checks no path. But where media goes already it may `ask`, by a Binding request, how long a round trip takes: any
full agent answers at once (RFC 8445, 7.3), where reports come once a second.

Pure: values and `now_s` (monotonic) in, values out.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mediasrv.errors import ProtocolError
from mediasrv.wire.stun import (
    BINDING_REQUEST,
    BINDING_SUCCESS,
    StunMessage,
    build_binding_request,
    build_error,
    build_success,
)

Address = tuple[Any, ...]
"""A socket address as the socket gives it: (host, port) or (host, port, flow, scope)."""
PathKey = tuple[Address, bytes]
"""Remote address, and what of ours it came to: one peer may reach us by several. Of UDP that is our own address,
packed, of TCP the connection."""

AMPLIFICATION: Final = 3
_TRANSACTIONS: Final = 64
_PATHS: Final = 16
_PACKETS_A_TURN: Final = 250
_QUESTIONS: Final = 32
_PRIORITY: Final = 1
"""The least there is: of a path that its peer knows and prefers by its own rules."""


class Transport(Protocol):
    """Where datagrams leave. Never raises and never waits: what cannot be sent now is lost, and counted."""

    def send(self, datagram: bytes, path: Path) -> None: ...

    def send_run(self, joined: bytes, size: int, path: Path) -> None:
        """Sends datagrams of `size` bytes, the last maybe shorter, that lie joined in one buffer."""


@dataclass(slots=True, eq=False)
class Path:
    """A remote address that sent an authentic check.

    `local` names what of ours it was sent to and `segmented` says whether the kernel cuts runs of packets for it
    (UDP GSO); both belong to the transport and mean nothing here. `packets_left` is how many packets are still taken
    from there before the next `refill`.
    """

    address: Address
    local: bytes
    transport: Transport
    checked_s: float
    segmented: bool = True
    nominated: bool = False
    received_bytes: int = 0
    sent_bytes: int = 0
    packets_left: int = _PACKETS_A_TURN

    @property
    def key(self) -> PathKey:
        return self.address, self.local


@dataclass(frozen=True, slots=True)
class Credentials:
    """`fragment` and `password` are ours, the others are the peer's (RFC 8445, 7.2.2)."""

    fragment: str
    password: str
    remote_fragment: str
    remote_password: str

    @property
    def username(self) -> str:
        """As it stands in checks of the peer."""
        return f"{self.fragment}:{self.remote_fragment}"

    @property
    def remote_username(self) -> str:
        """As it stands in what is asked of the peer."""
        return f"{self.remote_fragment}:{self.fragment}"


class IceLite:
    """The ICE side of one peer. What `restart` brings holds beside what was, until the peer first uses it."""

    def __init__(self, credentials: Credentials) -> None:
        self._current = credentials
        self._next: Credentials | None = None
        self._retired: list[str] = []
        self._transactions: OrderedDict[bytes, PathKey] = OrderedDict()
        self._questions: deque[tuple[bytes, PathKey, float]] = deque(maxlen=_QUESTIONS)
        self._paths: dict[PathKey, Path] = {}
        self.verified = False
        """Whether DTLS is done: the peer proved that it receives what is sent to it."""
        self.selected: Path | None = None

    @property
    def credentials(self) -> Credentials:
        """Those that the peer was told last."""
        return self._next or self._current

    @property
    def fragments(self) -> list[str]:
        """Every fragment of ours since the last restart, whether it still holds or not."""
        return [*self._retired, self._current.fragment, *([self._next.fragment] if self._next else [])]

    def restart(self, credentials: Credentials) -> list[str]:
        """Takes the credentials of an ICE restart (RFC 8445, 9). The fragments that no longer hold."""
        gone = [*self._retired, *([self._next.fragment] if self._next else [])]
        self._retired.clear()
        self._next = credentials
        return gone

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self._paths.values())

    def path(self, key: PathKey) -> Path | None:
        return self._paths.get(key)

    def check(self, request: StunMessage, key: PathKey, transport: Transport, now_s: float) -> bytes:
        """The answer to a check (RFC 8445, 7.3) that came by `transport`. Raises ProtocolError where none is due."""
        password = self._authenticate(request)
        if request.unknown or request.controlled:
            return build_error(request, 420 if request.unknown else 487, password)
        fresh = self._count_transaction(request.transaction_id, key)
        path = self._paths.get(key) or self._add_path(key, transport, now_s)
        if fresh:
            path.checked_s = now_s
            path.received_bytes += len(request.data)
            path.nominated |= request.use_candidate
        response = build_success(request, (path.address[0], path.address[1]), password)
        if not self.may_send(path, len(response)):
            raise ProtocolError("A peer repeats a check without end.")
        return response

    def ask(self, now_s: float) -> bytes | None:
        """A Binding request for the selected path; None while there is none, or its peer is not known to be there."""
        path = self.selected
        if path is None or not self.verified:
            return None
        transaction_id, mine = secrets.token_bytes(12), self._current
        self._questions.append((transaction_id, path.key, now_s))
        return build_binding_request(
            transaction_id, mine.remote_username, mine.remote_password.encode(), priority=_PRIORITY, controlling=False
        )

    def take_answer(self, answer: StunMessage, key: PathKey) -> float:
        """When that was asked which is answered here. Raises ProtocolError where nothing was, or by somebody else."""
        asked = next((each for each in self._questions if each[:2] == (answer.transaction_id, key)), None)
        if asked is None or answer.kind != BINDING_SUCCESS:
            raise ProtocolError("A STUN message answers nothing that was asked.")
        if not answer.is_authentic(self._current.remote_password.encode()):
            raise ProtocolError("A STUN answer is not authentic.")
        self._questions.remove(asked)
        return asked[2]

    def may_send(self, path: Path, size_bytes: int) -> bool:
        """Whether so much may go to this address now; counts it if so."""
        if not self.verified and path.sent_bytes + size_bytes > AMPLIFICATION * path.received_bytes:
            return False
        path.sent_bytes += size_bytes
        return True

    def prove(self, path: Path) -> bool:
        """Authentic DTLS or SRTCP came over `path`: media may go there from now on. True where that is a move."""
        if path is self.selected or (self.selected is not None and not path.nominated):
            return False
        self.selected = path
        return True

    def consent_lost(self, now_s: float, consent_s: float) -> bool:
        """Whether the selected address gave no fresh check for `consent_s` (RFC 7675, 5.1)."""
        return self.selected is not None and now_s - self.selected.checked_s > consent_s

    def forget_paths(self, before_s: float) -> list[PathKey]:
        """Drops paths that were not checked since `before_s`, never the selected one, and names them."""
        stale = [path.key for path in self.paths if path.checked_s < before_s and path is not self.selected]
        for key in stale:
            del self._paths[key]
        return stale

    def forget_path(self, key: PathKey) -> None:
        """A path that is broken. The selected one stays, so that its silence is seen."""
        if self.selected is None or self.selected.key != key:
            self._paths.pop(key, None)

    def refill(self) -> None:
        """To be called now and then: bounds how many packets are taken from an address between two calls."""
        for path in self._paths.values():
            path.packets_left = _PACKETS_A_TURN

    def _authenticate(self, request: StunMessage) -> bytes:
        """The password it was made with. Only who knows one is answered at all, errors included: a forged source
        gets nothing."""
        if request.kind != BINDING_REQUEST:
            raise ProtocolError("A STUN message is no Binding request.")
        if self._next is not None and _is_of(request, self._next):
            self._retired.append(self._current.fragment)
            self._current, self._next = self._next, None
        elif not _is_of(request, self._current):
            raise ProtocolError("A STUN check is not authentic.")
        return self._current.password.encode()

    def _count_transaction(self, transaction_id: bytes, key: PathKey) -> bool:
        """True the first time. Raises ProtocolError where it comes again from elsewhere: it was copied."""
        known = self._transactions.get(transaction_id)
        if known is None:
            self._transactions[transaction_id] = key
            if len(self._transactions) > _TRANSACTIONS:
                self._transactions.popitem(last=False)
            return True
        if known != key:
            raise ProtocolError("A STUN transaction came again from another address.")
        return False

    def _add_path(self, key: PathKey, transport: Transport, now_s: float) -> Path:
        if len(self._paths) >= _PATHS:
            raise ProtocolError("A peer checks from too many addresses.")
        path = self._paths[key] = Path(*key, transport, now_s)
        return path


def _is_of(request: StunMessage, credentials: Credentials) -> bool:
    named = hmac.compare_digest(request.username.encode(), credentials.username.encode())
    return named and request.is_authentic(credentials.password.encode())
