"""A camera's own certificate for RTSPS: signed by itself, as cameras have it out of the box."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE: Final = timedelta(days=3650)
_DAY: Final = timedelta(days=1)


class CertificateKind(StrEnum):
    """For the address at which the camera is reached; no longer valid; for another host."""

    VALID = "valid"
    EXPIRED = "expired"
    OTHER_HOST = "other-host"


@dataclass(frozen=True, slots=True)
class Certificate:
    """`pem` is the certificate, `secret_pem` certificate and key. `sha256` is the hex fingerprint of its DER."""

    pem: str
    secret_pem: str
    sha256: str

    def load_into(self, context: ssl.SSLContext) -> None:
        """From now on new connections of this server context show this certificate."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "camera.pem"
            path.touch(mode=0o600)
            path.write_text(self.secret_pem)
            context.load_cert_chain(path)


def make_certificate(name: str, host: str, kind: CertificateKind) -> Certificate:
    """A new P-256 key and its certificate; whoever trusts the certificate as an authority trusts the camera."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    begins, ends = (now - 2 * _DAY, now - _DAY) if kind is CertificateKind.EXPIRED else (now - _DAY, now + _LIFE)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(_names(host, kind)), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
    return Certificate(pem, pem + secret, digest)


def _names(host: str, kind: CertificateKind) -> list[x509.GeneralName]:
    if kind is CertificateKind.OTHER_HOST:
        return [x509.DNSName("another-camera.invalid")]
    return [x509.IPAddress(ipaddress.ip_address(host)), x509.DNSName("localhost")]
