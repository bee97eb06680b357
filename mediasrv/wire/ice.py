"""ICE-lite (RFC 8445, 2.5): answers a peer's checks and decides to which of its addresses media may go.

Rules against being used to flood a stranger (RFC 8445, 19; RFC 7675):
- nothing is sent to an address that no authentic check came from;
- one STUN transaction counts once: repeated from another address, it proves nothing about that address;
- before DTLS is done, an address is sent at most three times the bytes that came from it;
- media moves to another address only after authentic SRTCP or DTLS from there.

Pure: values and `now_s` (monotonic) in, values out.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from mediasrv.errors import ProtocolError
from mediasrv.wire.stun import BINDING_REQUEST, StunMessage, build_error, build_success

Address = tuple[Any, ...]
"""A socket address as the socket gives it: (host, port) or (host, port, flow, scope)."""
PathKey = tuple[Address, bytes]
"""Remote address, and our own address that it sent to: one peer may reach us by several."""

AMPLIFICATION: Final = 3
_TRANSACTIONS: Final = 64
_PATHS: Final = 16


@dataclass(slots=True, eq=False)
class Path:
    """A remote address that sent an authentic check.

    `local` names our address it was sent to and `segmented` says whether the kernel cuts runs of packets for it
    (UDP GSO); both belong to the socket and mean nothing here.
    """

    address: Address
    local: bytes
    checked_s: float
    segmented: bool = True
    nominated: bool = False
    received_bytes: int = 0
    sent_bytes: int = 0

    @property
    def key(self) -> PathKey:
        return self.address, self.local


class IceLite:
    """The ICE side of one peer. `fragment` and `password` are ours, `remote_fragment` is the one of its offer."""

    def __init__(self, fragment: str, password: str, remote_fragment: str) -> None:
        self.fragment = fragment
        self.password = password
        self.remote_fragment = remote_fragment
        self._username = f"{fragment}:{remote_fragment}"
        self._key = password.encode()
        self._transactions: OrderedDict[bytes, PathKey] = OrderedDict()
        self._paths: dict[PathKey, Path] = {}
        self.verified = False
        """Whether DTLS is done: the peer proved that it receives what is sent to it."""
        self.selected: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self._paths.values())

    def path(self, key: PathKey) -> Path | None:
        return self._paths.get(key)

    def check(self, request: StunMessage, key: PathKey, now_s: float) -> bytes:
        """The answer to a check (RFC 8445, 7.3). Raises ProtocolError where none is due."""
        self._authenticate(request)
        if request.unknown or request.controlled:
            return build_error(request, 420 if request.unknown else 487, self._key)
        fresh = self._count_transaction(request.transaction_id, key)
        path = self._paths.get(key) or self._add_path(key, now_s)
        if fresh:
            path.checked_s = now_s
            path.received_bytes += len(request.data)
            path.nominated |= request.use_candidate
        response = build_success(request, (path.address[0], path.address[1]), self._key)
        if not self.may_send(path, len(response)):
            raise ProtocolError("A peer repeats a check without end.")
        return response

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

    def _authenticate(self, request: StunMessage) -> None:
        """Only who knows the password is answered at all, errors included: a forged source gets nothing."""
        if request.kind != BINDING_REQUEST:
            raise ProtocolError("A STUN message is no Binding request.")
        named = hmac.compare_digest(request.username.encode(), self._username.encode())
        if not (named and request.is_authentic(self._key)):
            raise ProtocolError("A STUN check is not authentic.")

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

    def _add_path(self, key: PathKey, now_s: float) -> Path:
        if len(self._paths) >= _PATHS:
            raise ProtocolError("A peer checks from too many addresses.")
        path = self._paths[key] = Path(*key, now_s)
        return path
