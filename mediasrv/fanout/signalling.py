"""What a PATCH of a WHEP session means: candidates, or an ICE restart (RFC 9725, 4.3). Pure but for new credentials."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from mediasrv.errors import PreconditionFailed, PreconditionRequired
from mediasrv.wire.ice import Credentials, IceLite
from mediasrv.wire.sdp_fragment import IceDescription, parse_fragment


@dataclass(frozen=True, slots=True)
class Restarted:
    """What the HTTP side needs for its 200."""

    fragment_sdp: str
    etag: str


def make_credentials(remote_fragment: str, remote_password: str) -> Credentials:
    return Credentials(secrets.token_hex(8), secrets.token_hex(16), remote_fragment, remote_password)


def entity_tag(ice: IceLite) -> str:
    """Names the ICE session, quoted as the header wants it: a restart makes another of it."""
    return f'"{ice.credentials.fragment}"'


def read_patch(ice: IceLite, text: str, if_match: str | None) -> IceDescription | None:
    """The restart that is asked for. None for candidates, of which none is needed: ICE-lite answers whoever checks.

    Raises PreconditionRequired, PreconditionFailed, InvalidRequest.
    """
    if if_match is None:
        raise PreconditionRequired("A PATCH needs If-Match: the session's ETag, or * for an ICE restart.")
    # RFC 9110 writes the star without quotes, and the examples of RFC 9725 write it within.
    if if_match.strip() not in ("*", '"*"') and entity_tag(ice) not in [one.strip() for one in if_match.split(",")]:
        raise PreconditionFailed("This session's ICE was restarted meanwhile.")
    description = parse_fragment(text)
    return None if description.fragment == ice.credentials.remote_fragment else description
