"""`mediasrv keys`: arguments in, lines out; what the commands do is in `key_custody`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mediasrv.catalogue import data_keys, recordings
from mediasrv.catalogue.data_keys import KeyChoice
from mediasrv.check import read_spool
from mediasrv.clock import SystemClock, to_us
from mediasrv.errors import InvalidRequest, SettingsError
from mediasrv.key_custody import (
    RecipientDesk,
    identities_with,
    list_identities,
    open_custody,
)
from mediasrv.offline import create_keys, offline, open_recipients
from mediasrv.settings import Settings
from mediasrv.storage.receipts import STATEMENT, read_receipt, verify_receipt
from mediasrv.storage.recipients import RecipientRole

Command = Callable[[argparse.Namespace, Settings], Awaitable[int]]
AddCommand = Callable[[str, str, Command], argparse.ArgumentParser]

_LATER: Final = "New data keys: from the next key period of each stream, or the next start of its server."


def add_key_commands(add: AddCommand) -> None:
    add(
        "create",
        "Make the node key and, where nobody could open footage yet, an identity; print public parts",
        _create,
    )
    add("list", "Who may open what is recorded, which identities are here, and how many data keys there are", _list)

    made = _by(add("rotate", "Make a new identity, which new data keys are wrapped to instead of the present", _rotate))
    made.add_argument("--out", type=Path, metavar="FILE", help="where it is written; default: the data directory")
    made.add_argument("--public-key", default="", metavar="HEX", help="of an identity that was made elsewhere")

    made = _by(add("add-recipient", "Wrap new data keys to a further public key, too", _add_recipient))
    made.add_argument("public_key", metavar="HEX")
    made.add_argument("--label", required=True, help="whose it is")
    made.add_argument("--role", choices=[str(role) for role in RecipientRole], default=str(RecipientRole.AUTHORITY))

    made = _by(add("retire-recipient", "Wrap new data keys to this public key no longer", _retire_recipient))
    made.add_argument("public_key", metavar="HEX")

    made = _by(add("escrow", "Make an identity to be kept away, for the day all others are lost", _escrow))
    made.add_argument("--label", required=True, help="where it will be kept")
    where = made.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="FILE", help="write it there, mode 0600; it is kept nowhere else")
    where.add_argument("--print", action="store_true", help="print it, once")

    made = _by(_choice(add("re-wrap", "Wrap existing data keys anew, to the present recipients alone", _rewrap)))
    made.add_argument(
        "--identity",
        action="append",
        default=[],
        metavar="REFERENCE",
        help="a further identity that opens them, such as file:/media/escrow.key; may be given several times",
    )

    made = _by(_choice(add("destroy", "Destroy data keys for good, and write receipts", _destroy)))
    made.add_argument("--reason", required=True, help="goes into the receipt and the access log")
    made.add_argument("--with-footage", action="store_true", help="also delete the recordings that need them")
    made.add_argument("--receipts", type=Path, metavar="FILE", help="default: receipts/ in the data directory")

    add("verify-receipt", "Say what receipts say, where registered nodes signed them", _verify_receipt).add_argument(
        "file", type=Path
    )


def _by(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--by", default="", metavar="NAME", help="who does it, for the access log; default: you")
    return parser


def _choice(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--camera", default="", help="of this camera alone")
    parser.add_argument("--stream", choices=("main", "sub"), default="")
    parser.add_argument("--from", dest="start", default="", metavar="TIME", help="ISO 8601 with a zone")
    parser.add_argument("--to", dest="end", default="", metavar="TIME")
    parser.add_argument("--key", default="", metavar="ID", help="this data key alone")
    parser.add_argument("--all", action="store_true", help="all data keys")
    return parser


async def _create(arguments: argparse.Namespace, settings: Settings) -> int:
    for name, public in create_keys(settings).items():
        print(f"{name} {public}")
    return 0


async def _list(arguments: argparse.Namespace, settings: Settings) -> int:
    recipients = open_recipients(settings)
    print("recipients")
    for one in recipients.all():
        state = f"retired {one.retired_at}" if one.retired_at else f"since {one.added_at}" if one.added_at else ""
        print(f"  {one.role:<9}  {one.public_key}  {one.label}  {state}".rstrip())
    found = await asyncio.to_thread(list_identities, settings)
    print("identities")
    for identity in found:
        print(f"  {identity.source}  {identity.public_key or identity.trouble}")
    print("data keys")
    async with offline(settings) as base:
        for month in await base.catalogue.read(data_keys.by_month):
            print(f"  {month.month}  {month.kept} kept  {month.destroyed} destroyed")
        counts = await base.catalogue.read(
            data_keys.count_wrapped, recipients.present(), [one.public_key for one in found]
        )
    print(f"  {counts.kept} kept: {counts.present} wrapped to the present recipients, {counts.others} to others;")
    print(f"  {counts.opened} opened by an identity here")
    return 0


async def _rotate(arguments: argparse.Namespace, settings: Settings) -> int:
    async with _desk(arguments, settings) as desk:
        made = await desk.rotate(arguments.out, arguments.public_key)
    print(f"{made.public_key} {made.path or '(made elsewhere)'}")
    for old in made.retired:
        print(f"retired {old}")
    if settings.sealing.identities:
        where = f'"file:{made.path.resolve()}"' if made.path else "its reference"
        print(f"Add {where} to sealing.identities and start the server anew; leave the old ones there.")
    print(f"{_LATER} Keep the old identity until `mediasrv keys re-wrap --all` is through, or retention.")
    return 0


async def _add_recipient(arguments: argparse.Namespace, settings: Settings) -> int:
    async with _desk(arguments, settings) as desk:
        await desk.add(arguments.public_key, arguments.label, RecipientRole(arguments.role))
    print(_LATER)
    return 0


async def _retire_recipient(arguments: argparse.Namespace, settings: Settings) -> int:
    async with _desk(arguments, settings) as desk:
        await desk.retire(arguments.public_key)
    print(f"{_LATER} Existing keys stay wrapped to it until `mediasrv keys re-wrap`.")
    return 0


async def _escrow(arguments: argparse.Namespace, settings: Settings) -> int:
    async with _desk(arguments, settings) as desk:
        pem = await desk.escrow(arguments.label, arguments.out)
        public_key = desk.recipients.present()[-1]
    if arguments.print:
        print(pem.decode(), end="")
    print(f"{public_key} {arguments.out or '(printed above)'}")
    print(f"Take it off this machine. {_LATER} `mediasrv keys re-wrap --all` wraps the existing ones to it.")
    return 0


async def _rewrap(arguments: argparse.Namespace, settings: Settings) -> int:
    choice, clock = _parse_choice(arguments), SystemClock()
    identities = identities_with(settings, arguments.identity, clock)
    try:
        async with open_custody(settings, _who(arguments)) as custody:
            report = await custody.rewrap(choice, identities, open_recipients(settings), _show_progress)
    finally:
        identities.close()
    print(f"{report.seen} data keys: {report.rewrapped} wrapped anew, {report.not_opened} that no identity here opens")
    if report.refused:
        print(f"{report.refused} records were made by no registered node, or are broken; they stay as they are")
    return 1 if report.not_opened or report.refused else 0


async def _destroy(arguments: argparse.Namespace, settings: Settings) -> int:
    choice = _parse_choice(arguments)
    spool = await asyncio.to_thread(read_spool, settings.data_path(settings.spool.directory, "spool"))
    receipts: list[dict[str, str]] = []
    try:
        async with open_custody(settings, _who(arguments)) as custody:
            destroying = custody.destroy(choice, arguments.reason, spool.key_ids, with_footage=arguments.with_footage)
            async for receipt in destroying:
                receipts.append(receipt)
                _print_receipt(read_receipt(receipt))
    finally:
        if receipts:  # also where it was broken off: those are destroyed
            path = arguments.receipts or settings.data_path("", "receipts") / f"{_stamp()}.json"
            _write_receipts(path, receipts)
            print(f"{len(receipts)} receipts: {path}. The access log holds them, too.")
    return 0


async def _verify_receipt(arguments: argparse.Namespace, settings: Settings) -> int:
    try:
        receipts = json.loads(arguments.file.read_bytes())["receipts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{arguments.file} cannot be read as receipts.", code="receipt_broken") from error
    async with offline(settings) as base:
        for receipt in receipts:
            node_id = str(read_receipt(receipt)["node_id"])
            public_key = await base.catalogue.read(recordings.node_public_key, node_id)
            if public_key is None:
                raise SettingsError(f"No node {node_id[:80]!r} is registered here.", code="signer_unknown")
            _print_receipt(verify_receipt(receipt, public_key))
    return 0


def _print_receipt(document: dict[str, Any]) -> None:
    print(f"data key {document['key_id']} of {document['camera']}/{document['stream']}: {STATEMENT}")
    print(f"  period      {document['period_start']} to {document['period_end']}")
    for copy in document["copies_destroyed"]:
        print(f"  destroyed   {copy}")
    print(f"  recordings  {document['recordings_deleted']} deleted with it")
    print(f"  when, who   {document['destroyed_at']}  {document['destroyed_by']}: {document['reason']}")
    print(f"  opened, in memory of servers, until {document['in_memory_until']} at the latest")
    expire = document["backups_expire_at"] or "at a time not known: sealing.backup_days is not set"
    print(f"  last backup that may hold it expires {expire}")


def _write_receipts(path: Path, receipts: Sequence[dict[str, str]]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(json.dumps({"receipts": list(receipts)}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}; the access log has the receipts.") from error


def _parse_choice(arguments: argparse.Namespace) -> KeyChoice:
    """Raises InvalidRequest: nothing named is not everything."""
    choice = KeyChoice(arguments.camera, arguments.stream, _time(arguments.start), _time(arguments.end), arguments.key)
    if (choice == KeyChoice()) is not arguments.all:
        raise InvalidRequest("Name --all, or which: --camera, --stream, --from, --to, --key.", code="choice_missing")
    return choice


def _time(text: str) -> int | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{text[:40]} is no time such as 2026-05-01T00:00:00+07:00.") from error
    if at.tzinfo is None:
        raise InvalidRequest(f"{text[:40]} has no zone, such as +07:00 or Z.")
    return to_us(at)


@contextlib.asynccontextmanager
async def _desk(arguments: argparse.Namespace, settings: Settings) -> AsyncIterator[RecipientDesk]:
    async with offline(settings) as base:
        yield RecipientDesk(settings, base.access_log, SystemClock(), _who(arguments))


def _who(arguments: argparse.Namespace) -> str:
    if arguments.by:
        return str(arguments.by)
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user of no name, in a container
        return "(command line)"


def _stamp() -> str:
    return f"{SystemClock().wall_us()}"


def _show_progress(done: int, total: int) -> None:
    print(f"{done} of {total}", file=sys.stderr, flush=True)
