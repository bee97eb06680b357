"""RTSPS: whose certificate is believed. A camera is never talked to unverified unless the settings say so aloud."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mediasrv.errors import CameraError

_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_OTHER_NAME: Final = (62, 64)
"""X509_V_ERR_* (openssl/x509_vfy.h)."""


@dataclass(frozen=True, slots=True)
class TlsTrust:
    """Whom a connection believes: the certificate of this SHA-256 `fingerprint`, where one is pinned; else who is
    certified by an authority of `ca_file` (empty: the system's); with `verify` false, anybody."""

    host: str
    fingerprint: str = ""
    ca_file: str = ""
    verify: bool = True

    @property
    def by_authority(self) -> bool:
        return self.verify and not self.fingerprint

    @property
    def is_checked(self) -> bool:
        return self.verify or bool(self.fingerprint)

    @property
    def context(self) -> ssl.SSLContext:
        """Raises CameraError (`tls_failed`) where the authorities cannot be read."""
        try:
            return _context(self.ca_file, self.by_authority)
        except OSError as error:
            raise CameraError("The file of certificate authorities cannot be read.", code="tls_failed") from error

    def check(self, connected: ssl.SSLObject) -> None:
        """Raises CameraError (`tls_untrusted`) where a pinned certificate is not the one that was shown."""
        shown = fingerprint_of(connected)
        if self.fingerprint and shown != self.fingerprint:
            raise CameraError(
                f"The camera shows another certificate than the pinned one: SHA-256 {shown}.", code="tls_untrusted"
            )


def fingerprint_of(connected: ssl.SSLObject) -> str:
    """SHA-256 of the certificate as it was shown (DER), in small hex digits."""
    return hashlib.sha256(connected.getpeercert(binary_form=True) or b"").hexdigest()


async def tls_failure(error: Exception, trust: TlsTrust, address: str, port: int, timeout_s: float) -> CameraError:
    """The reason of a handshake that failed. For a certificate that is not trusted it connects once more, without
    sending anything, to tell the fingerprint that a person may compare and pin."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return CameraError("No secured connection (TLS) could be agreed upon with the camera.", code="tls_failed")
    shown = await _shown_fingerprint(trust.host, address, port, timeout_s)
    hint = f" Its SHA-256 fingerprint is {shown}." if shown else ""
    return CameraError(f"{_why_untrusted(error.verify_code)}{hint}", code="tls_untrusted")


def _why_untrusted(code: int) -> str:
    if code == _EXPIRED:
        return "The camera's certificate has expired."
    if code == _NOT_YET_VALID:
        return "The camera's certificate is not valid yet."
    if code in _OTHER_NAME:
        return "The camera's certificate is for another name or address."
    return "The camera's certificate is signed by nobody this server trusts."


async def _shown_fingerprint(host: str, address: str, port: int, timeout_s: float) -> str:
    with contextlib.suppress(OSError):  # a timeout and ssl.SSLError are OSErrors, too
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(
                address, port, ssl=_context("", False), server_hostname=host, ssl_handshake_timeout=timeout_s
            )
        connected = writer.get_extra_info("ssl_object")
        writer.transport.abort()
        return fingerprint_of(connected)
    return ""


@lru_cache(maxsize=8)
def _context(ca_file: str, verify: bool) -> ssl.SSLContext:
    """Shared by all connections: reading the system's authorities takes milliseconds and megabytes."""
    if not verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return ssl.create_default_context(cafile=ca_file or None)
