"""Why a camera cannot be pulled: statuses, silence and failed connections as reasons (docs/reasons.md)."""

from __future__ import annotations

from typing import Final

from mediasrv.errors import CameraError
from mediasrv.wire.rtsp import ResponseReceived

OK: Final = 200
UNAUTHORIZED: Final = 401
AGGREGATE_REFUSED: Final = 459
TRANSPORT_REFUSED: Final = 461
_REDIRECTS: Final = frozenset((301, 302, 303, 305))
_USE_PROXY: Final = 305
_NOT_FOUND: Final = frozenset((404, 410, 454))
_OVERLOADED: Final = frozenset((453, 503))


class Redirected(CameraError):
    """The camera sends its client to `location`; `by_proxy`: to ask there for the same stream (305)."""

    def __init__(self, location: str, *, by_proxy: bool = False) -> None:
        super().__init__("The camera sent the server to another address.", code="redirected")
        self.location = location
        self.by_proxy = by_proxy


class TransportRefused(CameraError):
    """None of the transports that may be used can be had."""

    def __init__(self, transports: str) -> None:
        super().__init__(f"The camera does not send its stream over {transports}.", code="transport_refused")


class SilentTransport(CameraError):
    """The camera agreed to play, and not one packet came."""

    def __init__(self, transport: str, silent_s: float) -> None:
        blocked = "; a firewall may keep UDP away" if transport == "udp" else ""
        super().__init__(
            f"The camera is connected but has sent nothing over {transport.upper()} for {silent_s:.0f} s{blocked}.",
            code="stalled",
        )
        self.transport = transport


def refusal(answer: ResponseReceived, has_credentials: bool) -> CameraError:
    """The reason of a status that is not 200. The camera's own words are printable by then."""
    method = answer.request.method
    if answer.status in _REDIRECTS and answer.header("location"):
        return Redirected(answer.header("location"), by_proxy=answer.status == _USE_PROXY)
    if answer.status == UNAUTHORIZED and has_credentials:
        return CameraError("The camera refused the user name or the password.", code="credentials_wrong")
    if answer.status == UNAUTHORIZED:
        return CameraError("The camera asks for a user name and a password.", code="credentials_missing")
    said = f"The camera answered {method} with {answer.status} {answer.reason}".rstrip(" .")
    return CameraError(f"{said}.", code=_code_of(answer.status))


def _code_of(status: int) -> str:
    if status in _NOT_FOUND:
        return "stream_not_found"
    return "camera_busy" if status in _OVERLOADED else "rtsp_refused"


def connect_failure(error: OSError, timeout_s: float) -> CameraError:
    if isinstance(error, ConnectionRefusedError):
        return CameraError("The host answers, but nothing listens on this port.", code="port_closed")
    if isinstance(error, TimeoutError):
        return CameraError(f"The camera did not answer within {timeout_s:g} s.", code="host_unreachable")
    return CameraError("The camera's address cannot be reached.", code="host_unreachable")
