"""Time-limited TURN credentials, as coturn's `use-auth-secret` checks them (draft-uberti-behave-turn-rest)."""

from __future__ import annotations

import base64
import hmac


def turn_credentials(secret: str, principal_id: str, expires_s: int) -> tuple[str, str]:
    """User name and password that the TURN server takes until `expires_s` (Unix time).

    The name ends in a pseudonym of the principal: the TURN server's log shows whose connections belong together, and
    not whose they are.
    """
    pseudonym = hmac.digest(secret.encode(), b"mediasrv principal " + principal_id.encode(), "sha256").hex()[:16]
    username = f"{expires_s}:{pseudonym}"
    # SHA-1 is what that scheme is made of; HMAC does not rest on what SHA-1 lost.
    return username, base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()
