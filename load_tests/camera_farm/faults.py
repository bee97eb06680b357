"""Faults to order: what each does to a camera.

Over the control door a fault is `{"kind": "stall", …}`; one that lasts is taken back with `"on": false`, by itself
after `for_s` seconds where that is given. See docs/testing.md for all of them, and orders.py for the command line.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from load_tests.camera_farm.camera import SimulatedCamera
from load_tests.camera_farm.onvif.spoiled import BOMBS
from load_tests.camera_farm.plan import switch
from load_tests.camera_farm.rtsp.media_session import KINDS
from load_tests.camera_farm.troubles import OnvifTroubles, Redirect

Options = Mapping[str, Any]
Apply = Callable[[SimulatedCamera, Options], "Awaitable[None] | None"]


@dataclass(frozen=True, slots=True)
class Fault:
    """`says` is its docstring: what it does and which options it takes."""

    apply: Apply
    lasting: bool
    says: str


FAULTS: dict[str, Fault] = {}


async def apply_fault(camera: SimulatedCamera, kind: str, options: Options) -> None:
    """Raises KeyError for a kind that is none of FAULTS, ValueError for options that make no sense."""
    done = FAULTS[kind].apply(camera, options)
    if inspect.isawaitable(done):
        await done


def _fault(kind: str, *, lasting: bool = False) -> Callable[[Apply], Apply]:
    def register(apply: Apply) -> Apply:
        FAULTS[kind] = Fault(apply, lasting, inspect.getdoc(apply) or "")
        return apply

    return register


def _is_on(options: Options) -> bool:
    return switch(str(options.get("on", True)))


def _names(value: object) -> frozenset[str]:
    """A list, or words with `|` or a comma between."""
    words = str(value).replace("|", ",").split(",") if isinstance(value, str) else list(value)  # type: ignore[call-overload]
    return frozenset(str(word).strip() for word in words)


# --- sessions and their connections --------------------------------------------------------------------


@_fault("drop")
def _drop(camera: SimulatedCamera, _options: Options) -> None:
    """Breaks the connection of every session without a word."""
    for session in camera.sessions:
        session.drop()


@_fault("stall", lasting=True)
def _stall(camera: SimulatedCamera, options: Options) -> None:
    """Media stops, connections stay. `tracks` (all, or of video, audio, metadata); `lasting=on`: for sessions yet to
    come as well."""
    tracks = options.get("tracks", "all")
    kinds = frozenset(KINDS) if tracks == "all" else _names(tracks)
    if not _is_on(options):
        kinds = frozenset()
    if switch(str(options.get("lasting", False))) or not _is_on(options):
        camera.troubles.stalled = kinds
    for session in camera.sessions:
        session.stall(kinds)


@_fault("junk")
def _junk(camera: SimulatedCamera, options: Options) -> None:
    """`bytes` (777) that are no packet, in the middle of the stream."""
    for session in camera.sessions:
        session.send_junk(int(options.get("bytes", 777)))


@_fault("half_open", lasting=True)
def _half_open(camera: SimulatedCamera, options: Options) -> None:
    """Connections of the moment lead nowhere any more, and nobody is told; new ones are answered. Off: they break."""
    for connection in camera.connections:
        if _is_on(options):
            connection.fall_silent()
        elif connection.is_silent:
            connection.abort()


@_fault("ask_client")
def _ask_client(camera: SimulatedCamera, options: Options) -> None:
    """The camera sends its clients a request: `method` (OPTIONS)."""
    for connection in camera.connections:
        connection.ask_client(str(options.get("method", "OPTIONS")))


# --- packets on their way ------------------------------------------------------------------------------


@_fault("lose")
def _lose(camera: SimulatedCamera, options: Options) -> None:
    """The first `packets` (1) of the next picture are lost."""
    for session in camera.sessions:
        session.lose_packets = int(options.get("packets", 1))


@_fault("loss", lasting=True)
def _loss(camera: SimulatedCamera, options: Options) -> None:
    """A `share` (0.01) of all packets is lost, over UDP and TCP."""
    camera.troubles.line.set(loss=float(options.get("share", 0.01)) if _is_on(options) else 0.0)


@_fault("reorder", lasting=True)
def _reorder(camera: SimulatedCamera, options: Options) -> None:
    """A `share` (0.05) of all packets comes `by` (3) packets late; over UDP only."""
    share = float(options.get("share", 0.05)) if _is_on(options) else 0.0
    camera.troubles.line.set(reorder=share, reorder_by=int(options.get("by", 3)))


@_fault("duplicate", lasting=True)
def _duplicate(camera: SimulatedCamera, options: Options) -> None:
    """A `share` (0.01) of all packets comes twice; over UDP only."""
    camera.troubles.line.set(duplicates=float(options.get("share", 0.01)) if _is_on(options) else 0.0)


# --- time ----------------------------------------------------------------------------------------------


@_fault("wrap", lasting=True)
def _wrap(camera: SimulatedCamera, options: Options) -> None:
    """Sessions yet to come wrap their RTP time after `in_s` (2) seconds, sequence numbers after `packets` (100)."""
    wrap = (float(options.get("in_s", 2.0)), int(options.get("packets", 100)))
    camera.troubles.wrap = wrap if _is_on(options) else None


@_fault("jump")
def _jump(camera: SimulatedCamera, options: Options) -> None:
    """RTP time leaps by `by_s` (3600) seconds, back where negative; sequence numbers go on."""
    for session in camera.sessions:
        session.jump(float(options.get("by_s", 3600.0)))


@_fault("new_ssrc")
def _new_ssrc(camera: SimulatedCamera, _options: Options) -> None:
    """The encoder starts anew: other SSRC, sequence number and RTP time, in the same session."""
    for session in camera.sessions:
        session.new_sources()


@_fault("drift", lasting=True)
def _drift(camera: SimulatedCamera, options: Options) -> None:
    """The camera's crystal is `ppm` (500) millionths fast, slow where negative: media, reports and wall clock."""
    camera.set_drift(float(options.get("ppm", 500.0)) if _is_on(options) else 0.0)


@_fault("clock", lasting=True)
def _clock(camera: SimulatedCamera, options: Options) -> None:
    """The wall clock is wrong, in RTCP and ONVIF: by `offset_s`, or it shows `at` (2000-01-01T00:00:00)."""
    wall_s = time.time()
    if _is_on(options) and "offset_s" in options:
        wall_s += float(options["offset_s"])
    elif _is_on(options):
        wall_s = datetime.fromisoformat(str(options.get("at", "2000-01-01T00:00:00"))).replace(tzinfo=UTC).timestamp()
    camera.show_time(wall_s)


# --- pictures ------------------------------------------------------------------------------------------


@_fault("resolution_change")
async def _resolution_change(camera: SimulatedCamera, _options: Options) -> None:
    """The next picture is a keyframe of half the size; once more: of the whole size."""
    await camera.change_resolution()


@_fault("reconfigure")
async def _reconfigure(camera: SimulatedCamera, options: Options) -> None:
    """Another camera at the same address, by options of the command line such as `codec=h265`."""
    changes = {name: str(value) for name, value in options.items() if name not in ("kind", "for_s")}
    await camera.reconfigure(camera.place.replan(camera.place.number, changes))


# --- RTSP ----------------------------------------------------------------------------------------------


@_fault("wrong_password", lasting=True)
def _wrong_password(camera: SimulatedCamera, options: Options) -> None:
    """The right credentials are refused, by RTSP and ONVIF."""
    camera.troubles.wrong_password = _is_on(options)


@_fault("stale_nonce")
def _stale_nonce(camera: SimulatedCamera, _options: Options) -> None:
    """The nonce of the moment is stale from now on."""
    if camera.rtsp_auth is not None:
        camera.rtsp_auth.expire_nonce()


@_fault("status", lasting=True)
def _status(camera: SimulatedCamera, options: Options) -> None:
    """Requests are answered with `status` (503 Service Unavailable)."""
    camera.troubles.status = str(options.get("status", "503 Service Unavailable")) if _is_on(options) else None


_fault("503", lasting=True)(_status)


@_fault("out_of_sessions", lasting=True)
def _out_of_sessions(camera: SimulatedCamera, options: Options) -> None:
    """SETUP of a session beyond `most` (0) is answered with 453."""
    camera.troubles.most_sessions = int(options.get("most", 0)) if _is_on(options) else None


@_fault("slow_accept", lasting=True)
def _slow_accept(camera: SimulatedCamera, options: Options) -> None:
    """A new connection is open, and read only after `delay_s` (5)."""
    camera.troubles.accept_delay_s = float(options.get("delay_s", 5.0)) if _is_on(options) else 0.0


@_fault("slow_answers", lasting=True)
def _slow_answers(camera: SimulatedCamera, options: Options) -> None:
    """RTSP answers take `delay_s` (2)."""
    camera.troubles.answer_delay_s = float(options.get("delay_s", 2.0)) if _is_on(options) else 0.0


@_fault("refuse_transport", lasting=True)
def _refuse_transport(camera: SimulatedCamera, options: Options) -> None:
    """SETUP with `transport` (udp; or tcp, or both) is answered with 461."""
    refused = _names(options.get("transport", "udp")) if _is_on(options) else frozenset()
    camera.troubles.refused_transports = refused


@_fault("redirect", lasting=True)
def _redirect(camera: SimulatedCamera, options: Options) -> None:
    """DESCRIBE is answered with `status` (302 Moved Temporarily) to `to`: a URL, or a camera such as cam-2."""
    status = str(options.get("status", "302 Moved Temporarily"))
    camera.troubles.redirect = Redirect(status, _targets(camera, options)) if _is_on(options) else None


@_fault("redirect_request")
def _redirect_request(camera: SimulatedCamera, options: Options) -> None:
    """The camera sends REDIRECT to its clients, with `to` as above."""
    location = f"Location: {_targets(camera, options)['main']}"
    for connection in camera.connections:
        connection.ask_client("REDIRECT", headers=[location])


def _targets(camera: SimulatedCamera, options: Options) -> dict[str, str]:
    to = str(options.get("to", ""))
    if "://" in to:
        return dict.fromkeys(camera.streams, to)
    if to not in camera.place.siblings:
        raise ValueError(f"to={to} is neither a URL nor a camera of the farm")
    other = camera.place.siblings[to]
    return {name: other.stream_url(name, other.place.host) for name in camera.streams}


@_fault("new_certificate")
def _new_certificate(camera: SimulatedCamera, _options: Options) -> None:
    """Another key and certificate for RTSPS."""
    camera.renew_certificate()


# --- the whole camera ----------------------------------------------------------------------------------


@_fault("offline", lasting=True)
async def _offline(camera: SimulatedCamera, options: Options) -> None:
    """Connections break and are refused, as of a camera without power behind a router. Off: it is back."""
    await (camera.go_offline() if _is_on(options) else camera.go_online())


@_fault("online")
async def _online(camera: SimulatedCamera, _options: Options) -> None:
    """The camera is back."""
    await camera.go_online()


@_fault("vanish", lasting=True)
async def _vanish(camera: SimulatedCamera, options: Options) -> None:
    """As `offline`, but nothing is answered, not even by a refusal."""
    await (camera.vanish() if _is_on(options) else camera.go_online())


# --- ONVIF ---------------------------------------------------------------------------------------------


@_fault("onvif_slow", lasting=True)
def _onvif_slow(camera: SimulatedCamera, options: Options) -> None:
    """Answers take `delay_s` (5); those of the operations `only`, where given."""
    _limit(camera.troubles.onvif, options)
    camera.troubles.onvif.delay_s = float(options.get("delay_s", 5.0)) if _is_on(options) else 0.0


@_fault("onvif_undeclared", lasting=True)
def _onvif_undeclared(camera: SimulatedCamera, options: Options) -> None:
    """Answers use namespace prefixes that they do not declare."""
    camera.troubles.onvif.undeclared = _is_on(options)


@_fault("onvif_broken", lasting=True)
def _onvif_broken(camera: SimulatedCamera, options: Options) -> None:
    """Answers of `services` (media; of device, media, media2, events, ptz) end in the middle."""
    camera.troubles.onvif.broken = _names(options.get("services", "media")) if _is_on(options) else frozenset()


@_fault("onvif_missing", lasting=True)
def _onvif_missing(camera: SimulatedCamera, options: Options) -> None:
    """The camera has no `services` (events), says so, and answers 404 there."""
    camera.troubles.onvif.missing = _names(options.get("services", "events")) if _is_on(options) else frozenset()


@_fault("onvif_bomb", lasting=True)
def _onvif_bomb(camera: SimulatedCamera, options: Options) -> None:
    """Answers are XML bombs of a `bomb` (entities; external, deep, huge, trickle); those of `only`, where given."""
    bomb = str(options.get("bomb", "entities"))
    if bomb not in BOMBS:
        raise ValueError(f"bomb={bomb} is none of {', '.join(BOMBS)}")
    _limit(camera.troubles.onvif, options)
    camera.troubles.onvif.bomb = bomb if _is_on(options) else ""


def _limit(troubles: OnvifTroubles, options: Options) -> None:
    troubles.only = _names(options["only"]) if "only" in options else frozenset()
