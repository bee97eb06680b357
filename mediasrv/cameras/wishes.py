"""From wishes to rows of the catalogue, and from a row to its login."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from mediasrv.cameras.attestation import Attestation
from mediasrv.cameras.camera import Camera
from mediasrv.cameras.drivers import Login
from mediasrv.cameras.streams import check_plan, check_streams
from mediasrv.cameras.views import CameraChanges, NewCamera, Profile
from mediasrv.security.accounts import Actor
from mediasrv.security.credentials import CredentialVault


class Wishes:
    """`read_secret` resolves a reference of the cameras file."""

    def __init__(self, vault: CredentialVault, read_secret: Callable[[str], str]) -> None:
        self._vault = vault
        self._read_secret = read_secret

    def new_row(
        self, wish: NewCamera, camera_id: str, profile: Profile, cell: str, by: Actor, now_us: int
    ) -> dict[str, Any]:
        has_login = bool(wish.username or wish.password)
        return {
            "camera_id": camera_id,
            "cell": cell,
            "place_id": wish.place_id,
            "name": wish.name or camera_id,
            "kind": wish.kind,
            "address": wish.address,
            "sub_address": wish.sub_address or None,
            "credentials": self._vault.seal(camera_id, wish.username, wish.password) if has_login else None,
            "credentials_ref": None,
            "origin": "api",
            "enabled": True,
            "profile": dataclasses.asdict(profile),
            "transport": wish.transport or None,
            "tls_fingerprint": wish.tls_fingerprint or None,
            "record_stream": wish.record_stream,
            "grid_stream": wish.grid_stream or "sub",
            "learnt_transport": None,
            "recording": wish.recording.to_json(),
            "record_audio": wish.record_audio,
            "attestation": Attestation(wish.attested, by.username, now_us).to_json() if wish.attested else None,
            "created_us": now_us,
        }

    def changed_values(self, camera: Camera, changes: CameraChanges) -> dict[str, Any]:
        """What of the row differs. Raises CameraError (`no_substream`, `events_unsupported`)."""
        check_streams(camera.has_sub, changes.record_stream, changes.grid_stream)
        check_plan(camera.row["kind"], changes.recording)
        values: dict[str, Any] = {}
        if changes.recording is not None and changes.recording != camera.plan:
            values["recording"] = changes.recording.to_json()
        for name in ("name", "enabled", "record_stream", "grid_stream", "record_audio"):
            value = getattr(changes, name)
            if value is not None and value != camera.row[name]:
                values[name] = value
        for name in ("transport", "tls_fingerprint"):
            value = getattr(changes, name)
            if value is not None and (value or None) != camera.row[name]:
                values[name] = value or None
        if changes.username is not None or changes.password is not None:
            old = self.login(camera)
            username = old.username if changes.username is None else changes.username
            password = old.password if changes.password is None else changes.password
            values["credentials"] = self._vault.seal(camera.camera_id, username, password)
            values["credentials_ref"] = None
        return values

    def login(self, camera: Camera) -> Login:
        """Raises CameraError where the secret cannot be read."""
        if camera.row["credentials"]:
            return Login(*self._vault.open(camera.camera_id, camera.row["credentials"]))
        if camera.row["credentials_ref"]:
            username, _, reference = camera.row["credentials_ref"].partition("\n")
            return Login(username, self._read_secret(reference) if reference else "")
        return Login()
