"""The command line. Every command reads the same configuration as the server and may run beside it.

Exit status: 0 done, 1 failed with a sentence on standard error, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from mediasrv import __version__
from mediasrv.errors import MediasrvError, SettingsError
from mediasrv.offline import create_keys, offline
from mediasrv.security import access_log
from mediasrv.security.policy import ROLES
from mediasrv.security.redaction import RedactingFormatter
from mediasrv.settings import Settings, load_settings

CONFIG_VARIABLE: Final = "MEDIASRV_CONFIG"
Command = Callable[[argparse.Namespace, Settings], Awaitable[int]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load_settings(Path(arguments.config))
        _set_up_logging(settings)
        command: Command = arguments.command
        return _runner(arguments)(command(arguments, settings))
    except MediasrvError as error:
        print(f"mediasrv: {error.sentence} [{error.code}]", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _runner(arguments: argparse.Namespace) -> Callable[[Awaitable[int]], int]:
    if arguments.command is _serve:
        import uvloop

        return uvloop.run  # type: ignore[return-value]
    return asyncio.run  # type: ignore[return-value]


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", default=os.environ.get(CONFIG_VARIABLE, "config/mediasrv.toml"), metavar="FILE")
    parser = argparse.ArgumentParser(prog="mediasrv", description="Media server for ONVIF cameras.")
    parser.add_argument("--version", action="version", version=f"mediasrv {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        group: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help_text: str, command: Command
    ) -> argparse.ArgumentParser:
        made = group.add_parser(name, help=help_text, description=help_text, parents=[common])
        made.set_defaults(command=command)
        return made

    def add_group(name: str, help_text: str) -> argparse._SubParsersAction[argparse.ArgumentParser]:
        return commands.add_parser(name, help=help_text).add_subparsers(required=True, metavar="COMMAND")

    add(commands, "serve", "Run the server", _serve)

    check = add(commands, "check", "Compare catalogue, bucket and spool", _check)
    check.add_argument("--repair", action="store_true", help="repair what is safe to repair")
    check.add_argument("--quick", action="store_true", help="compare sizes as listed, without asking for checksums")

    user = add_group("user", "Accounts and their grants")
    made = add(user, "add", "Make an account; asks for the password", _user_add)
    made.add_argument("username")
    made.add_argument("--role", action="append", default=[], choices=sorted(ROLES), help="may be given several times")
    made.add_argument("--place", default="", help="where the roles hold; default: everywhere")
    made.add_argument("--purpose", default="", help="why the roles are granted; goes into the access log")
    made.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    changed = add(user, "password", "Give an account a new password", _user_password)
    changed.add_argument("username")
    changed.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    add(user, "disable", "End an account and all it has open", _user_disable).add_argument("username")

    token = add_group("token", "API tokens")
    made = add(token, "create", "Make an API token and print it once", _token_create)
    made.add_argument("username")
    made.add_argument("--name", default="command line")
    made.add_argument("--days", type=int, default=0, help="valid for so many days; default: until revoked")

    keys = add_group("keys", "Keys of this node")
    add(
        keys,
        "create",
        "Make the node key and an identity where there are none, and print their public halves",
        _keys_create,
    )

    log = add_group("log", "The access log")
    add(
        log,
        "verify",
        "Recompute the chain of the access log; `check` also compares it with the copied heads",
        _log_verify,
    )
    return parser


def _set_up_logging(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log.level.upper(), handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells every plugin and every start


async def _serve(arguments: argparse.Namespace, settings: Settings) -> int:
    from mediasrv.app import serve  # all of the server: the other commands start faster without it

    await serve(settings)
    return 0


async def _check(arguments: argparse.Namespace, settings: Settings) -> int:
    from mediasrv.app import check

    report = await check(settings, repair=arguments.repair, checksums=not arguments.quick)
    for one in report.findings:
        print(f"{'repaired' if one.repaired else 'wrong':<8}  {one.code:<16}  {one.subject}  {one.sentence}")
    print(
        f"{report.rows} recordings, {report.objects} objects, {report.keys} keys, {report.spooled} in the spool: "
        f"{len(report.findings)} findings, {sum(one.repaired for one in report.findings)} repaired"
    )
    return 0 if report.is_clean else 1


async def _user_add(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.role and not arguments.purpose:
        raise SettingsError("A grant needs a --purpose.", code="purpose_missing")
    password = _read_password(arguments)
    async with offline(settings) as parts:
        await parts.accounts.create_user(arguments.username, password)
        for role in arguments.role:
            place = {"place_id": arguments.place} if arguments.place else {}
            await parts.accounts.grant(arguments.username, role, purpose=arguments.purpose, **place)
    return 0


async def _user_password(arguments: argparse.Namespace, settings: Settings) -> int:
    password = _read_password(arguments)
    async with offline(settings) as parts:
        await parts.accounts.set_password(arguments.username, password)
    return 0


async def _user_disable(arguments: argparse.Namespace, settings: Settings) -> int:
    async with offline(settings) as parts:
        await parts.accounts.disable_user(arguments.username)
    return 0


async def _token_create(arguments: argparse.Namespace, settings: Settings) -> int:
    async with offline(settings) as parts:
        ttl_s = arguments.days * 86_400 or None
        print(await parts.accounts.create_token(arguments.username, arguments.name, ttl_s))
    return 0


async def _keys_create(arguments: argparse.Namespace, settings: Settings) -> int:
    for name, public in create_keys(settings).items():
        print(f"{name} {public}")
    return 0


async def _log_verify(arguments: argparse.Namespace, settings: Settings) -> int:
    async with offline(settings) as parts:
        broken = await parts.catalogue.read(access_log.verify)
        if broken is not None:
            print(f"The access log is broken at entry {broken.entry}: {broken.why}")
            return 1
        head = await parts.access_log.head()
        print(f"The access log is whole: {head.entry} entries, head {head.entry_hash.hex()}")
    return 0


def _read_password(arguments: argparse.Namespace) -> str:
    if arguments.password_stdin:
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise SettingsError("The two passwords differ.", code="passwords_differ")
    return first
