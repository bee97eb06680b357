"""The attestation that a camera looks into no room where people expect to be alone, and its text. Pure.

A text never changes: another wording is another version, so that what somebody attested can be read for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mediasrv.errors import InvalidRequest


class AttestationText(NamedTuple):
    version: int
    text: str
    text_vi: str


CURRENT: Final = AttestationText(
    1,
    "I have checked what this camera sees: no toilet, bathroom, changing room, bedroom or other place where people "
    "expect to be alone, and no neighbour's home. People are told that there is a camera.",
    "Tôi đã kiểm tra vùng quan sát của camera: không hướng vào nhà vệ sinh, phòng tắm, phòng thay đồ, phòng ngủ, nơi "
    "riêng tư khác hoặc nhà ở của người khác. Khu vực có biển báo về camera.",
)


@dataclass(frozen=True, slots=True)
class Attestation:
    """Who attested which version of the text, and when. Version 0: in service from before anybody was asked."""

    version: int
    by: str
    at_us: int

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version, "by": self.by, "at_us": self.at_us}


def read_attestation(document: Mapping[str, Any] | None) -> Attestation | None:
    return None if document is None else Attestation(document["version"], document["by"], document["at_us"])


def check_version(version: int) -> None:
    """Raises InvalidRequest where it is not the text that is shown now: nobody attests what they have not read."""
    if version != CURRENT.version:
        raise InvalidRequest(
            f"The text of the attestation is that of version {CURRENT.version}: read it and attest again.",
            code="attestation_outdated",
        )
