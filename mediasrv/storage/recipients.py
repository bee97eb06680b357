"""Whom new data keys are wrapped to: a file of public keys, with what each is for. Nothing in it is secret.

    {"recipients": [{"public_key": "<64 hex>", "label": "…", "role": "place", "added_at": "…", "retired_at": null}]}

A recipient that retired stays in the file: what was wrapped to it is still wrapped to it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from mediasrv.errors import Conflict, NotFound, SettingsError
from mediasrv.storage.keys import parse_recipient
from mediasrv.storage.whole_files import write_whole

log = logging.getLogger(__name__)

_MOST_LABEL: Final = 100


class RecipientRole(StrEnum):
    """`place`: the identity that opens footage in daily use; `escrow`: one that is kept away for the day it is lost."""

    PLACE = "place"
    AUTHORITY = "authority"
    ESCROW = "escrow"


@dataclass(frozen=True, slots=True)
class Recipient:
    """`added_at` and `retired_at` are ISO 8601 in UTC, for people."""

    public_key: str
    label: str
    role: RecipientRole
    added_at: str
    retired_at: str | None = None


class Recipients:
    """The file and the configured public keys together. Iterated, it gives the public keys of now, as 64 hex digits.

    The file is read again when it has changed. Where it cannot be read, what was known before counts: recording
    goes on.
    """

    def __init__(self, path: Path, configured: Sequence[str] = ()) -> None:
        self._path = path
        self._configured = tuple(key.lower() for key in configured)
        self._stamp: tuple[int, int, int] | None = None
        self._known: tuple[Recipient, ...] = ()
        self.read()

    def __iter__(self) -> Iterator[str]:
        try:
            self.read()
        except SettingsError as error:
            log.error("the recipients of before go on: %s", error.sentence)
        return iter(self.present())

    def present(self) -> list[str]:
        """Public keys that new data keys are wrapped to, each once."""
        retired = {one.public_key for one in self._known if one.retired_at}
        listed = [one.public_key for one in self._known]
        return [key for key in dict.fromkeys((*self._configured, *listed)) if key not in retired]

    def all(self) -> list[Recipient]:
        """Those of the file in its order, then those that are configured alone."""
        listed = {one.public_key for one in self._known}
        alone = [key for key in self._configured if key not in listed]
        return [*self._known, *(Recipient(key, "sealing.recipients", RecipientRole.AUTHORITY, "") for key in alone)]

    def read(self) -> None:
        """Takes the file in where it has changed. Raises SettingsError where it cannot be read."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._stamp:
                self._known = parse_recipients(self._path.read_bytes(), self._path)
                self._stamp = stamp
        except FileNotFoundError as error:
            if self._stamp is not None:
                raise SettingsError(f"The recipients file {self._path} is gone.") from error
        except OSError as error:
            raise SettingsError(f"The recipients file {self._path} cannot be read: {error.strerror}.") from error

    def add(self, recipient: Recipient) -> None:
        """Raises as `check` does."""
        self.check(recipient)
        self._write([*self._known, recipient])

    def check(self, recipient: Recipient) -> None:
        """Raises Conflict where it is there already, SettingsError for what is no public key."""
        self.read()
        parse_recipient(recipient.public_key)
        if recipient.public_key in {one.public_key for one in self._known}:
            raise Conflict(f"{recipient.public_key} is, or was, a recipient already.", code="recipient_exists")

    def retire(self, public_key: str, at: str) -> None:
        """New data keys are no longer wrapped to it. Raises NotFound; Conflict where it is the last."""
        self.read()
        if public_key not in self.present():
            raise NotFound(f"{public_key[:80]} is no present recipient.", code="recipient_not_found")
        if len(self.present()) == 1:
            raise Conflict("It is the last recipient: nobody could open what is recorded.", code="recipient_last")
        known = [one for one in self.all() if one.added_at or one.public_key == public_key]
        self._write([dataclasses.replace(one, retired_at=at) if one.public_key == public_key else one for one in known])

    def _write(self, recipients: Sequence[Recipient]) -> None:
        """Appears whole or not at all."""
        document = {"recipients": [dataclasses.asdict(one) for one in recipients]}
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._path, f"{json.dumps(document, ensure_ascii=False, indent=1)}\n".encode())
        self.read()


def parse_recipients(data: bytes, path: Path) -> tuple[Recipient, ...]:
    """Raises SettingsError that names the file."""
    try:
        found = [
            Recipient(
                str(item["public_key"]).lower(),
                str(item["label"])[:_MOST_LABEL],
                RecipientRole(item["role"]),
                str(item["added_at"]),
                None if item.get("retired_at") is None else str(item["retired_at"]),
            )
            for item in json.loads(data)["recipients"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"The recipients file {path} is not one.", code="recipients_broken") from error
    for one in found:
        parse_recipient(one.public_key)
    return tuple(found)
