"""The certificate that RTSPS makes for itself."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from mediasrv.serving.doors import tls_context
from mediasrv.settings import RtspServeSettings


def test_a_certificate_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    tls_context(RtspServeSettings(), tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(made) == {"rtsps.crt", "rtsps.key"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    assert isinstance(tls_context(RtspServeSettings(), tmp_path), ssl.SSLContext)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == made


def test_a_certificate_and_its_key_are_on_the_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty file that a power cut leaves would count as one that is there, and no start would ever succeed."""
    synced: dict[int, tuple[int, bool]] = {}

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        named = any(
            path.suffix in (".crt", ".key") and path.stat().st_ino == found.st_ino for path in tmp_path.iterdir()
        )
        synced[found.st_ino] = (found.st_size, named)

    monkeypatch.setattr(os, "fsync", fsync)
    tls_context(RtspServeSettings(), tmp_path)
    for path in tmp_path.iterdir():
        assert synced[path.stat().st_ino] == (path.stat().st_size, False)
