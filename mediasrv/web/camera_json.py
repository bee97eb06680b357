"""Cameras, streams and profiles as docs/api.md shows them. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from mediasrv.cameras.attestation import Attestation
from mediasrv.cameras.views import CameraView, DeviceView, Profile, RecordingView, StreamView
from mediasrv.media.access_unit import StreamRef
from mediasrv.media.profile import MediaProfile
from mediasrv.reasons import Reason, reason
from mediasrv.security.policy import Permission
from mediasrv.security.redaction import redact
from mediasrv.web.fields import format_time

_SHOWN: Final = (
    Permission.LIVE_VIEW,
    Permission.FOOTAGE_VIEW,
    Permission.FOOTAGE_EXPORT,
    Permission.CAMERA_MANAGE,
    Permission.EVENT_VIEW,
    Permission.PTZ_CONTROL,
    Permission.HOLD_MANAGE,
)
"""What the page asks of a camera; seeing it at all is not worth saying."""


def camera_json(
    view: CameraView,
    permissions: frozenset[Permission],
    viewers: Mapping[StreamRef, int],
) -> dict[str, Any]:
    warned = Permission.CAMERA_MANAGE in permissions
    return {
        "id": view.camera_id,
        "name": view.name,
        "kind": view.kind,
        "address": redact(view.address),
        "place": view.place_id,
        "origin": view.origin,
        "enabled": view.enabled,
        "recording": view.recording.to_json(),
        "record_audio": view.record_audio,
        "audio_recorded": view.audio_recorded,
        "attestation": _attestation_json(view.attestation),
        "transport": view.transport,
        "tls_fingerprint": view.tls_fingerprint,
        "record_stream": view.record_stream,
        "grid_stream": view.grid_stream,
        "permissions": shown_permissions(permissions),
        "streams": {
            stream: _stream_json(shown, viewers.get(StreamRef(view.camera_id, stream), 0))
            for stream, shown in view.streams.items()
        },
        "profile": None if view.profile is None else profile_json(view.profile, warned=warned),
        "device": None if view.device is None else _device_json(view.device),
    }


def shown_permissions(permissions: frozenset[Permission]) -> list[Permission]:
    """Those that the page asks about, in one order."""
    return [permission for permission in _SHOWN if permission in permissions]


def profile_json(profile: Profile, *, warned: bool) -> dict[str, Any]:
    """That a camera can be entered with a factory password is told to nobody but those who can mend it."""
    shown = {"main": _media_json(profile.main), "sub": profile.sub and _media_json(profile.sub)}
    warnings = [reason_json(reason(code)) for code in profile.warnings] if warned else []
    return dataclasses.asdict(profile) | shown | {"warnings": warnings}


def _media_json(profile: MediaProfile) -> dict[str, Any]:
    """Some cameras want the password within the address."""
    urls = {"url": redact(profile.url), "snapshot_url": redact(profile.snapshot_url)}
    return dataclasses.asdict(profile) | urls


def reason_json(why: Reason | None) -> dict[str, str] | None:
    return None if why is None else dataclasses.asdict(why)


def _device_json(device: DeviceView) -> dict[str, Any]:
    clock = device.clock
    return {
        "clock": {
            "state": clock.state,
            "reason": reason_json(clock.reason),
            "offset_s": clock.offset_s,
            "uncertainty_s": clock.uncertainty_s,
            "read_at": format_time(clock.read_us),
        },
        "services": {
            name: {"state": service.state, "reason": reason_json(service.reason)}
            for name, service in device.services.items()
        },
    }


def _stream_json(view: StreamView, viewers: int) -> dict[str, Any]:
    video, audio = view.video, view.audio
    return {
        "state": view.state,
        "reason": reason_json(view.reason),
        "since": format_time(view.since_us) if view.since_us else None,
        "video": video and {"codec": video.codec, "width": video.width, "height": video.height},
        "audio": audio and {"codec": audio.codec},
        "transport": view.transport or None,
        "viewers": viewers,
        "recording": _recording_json(view.recording),
    }


def _recording_json(view: RecordingView) -> dict[str, Any]:
    return {
        "state": view.state,
        "reason": reason_json(view.reason),
        "received_until": format_time(view.received_until_us),
        "durable_until": format_time(view.durable_until_us),
        "stored_until": format_time(view.stored_until_us),
        "indexed_until": format_time(view.indexed_until_us),
    }


def _attestation_json(given: Attestation | None) -> dict[str, Any] | None:
    if given is None:
        return None
    return {"version": given.version, "by": given.by or None, "at": format_time(given.at_us)}
