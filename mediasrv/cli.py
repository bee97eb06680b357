"""The command line. Every command reads the same configuration as the server and may run beside it.

Exit status: 0 done, 1 failed with a sentence on standard error, 2 wrong usage; `survey`: 3 where a device is not
eligible; `verify`: docs/doors.md; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mediasrv import __version__
from mediasrv.clock import SystemClock
from mediasrv.errors import MediasrvError, SettingsError
from mediasrv.key_commands import add_key_commands
from mediasrv.offline import load_node_key, make_rtsp_logins, offline
from mediasrv.security import access_log
from mediasrv.security.policy import ROLES
from mediasrv.security.redaction import RedactingFormatter
from mediasrv.settings import Settings, load_settings
from mediasrv.verifier import add_arguments as add_verify_arguments
from mediasrv.verifier import run as verify_export

if TYPE_CHECKING:
    from mediasrv.onvif import Target
    from mediasrv.rebuild import RebuildReport
    from mediasrv.survey import Survey

CONFIG_VARIABLE: Final = "MEDIASRV_CONFIG"
CAMERA_PASSWORD_VARIABLE: Final = "MEDIASRV_CAMERA_PASSWORD"  # noqa: S105 - a name, not a secret
SOME_NOT_ELIGIBLE: Final = 3
INTERRUPTED: Final = 130
Command = Callable[[argparse.Namespace, Settings], Awaitable[int]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command."""
    arguments = _parser().parse_args(argv)
    if arguments.command is _verify:
        return verify_export(arguments.export, arguments.trust)
    try:
        settings = load_settings(Path(arguments.config))
        _set_up_logging(settings, quiet=arguments.command is _survey)
        command: Command = arguments.command
        return _runner(arguments)(command(arguments, settings))
    except MediasrvError as error:
        print(f"mediasrv: {error.sentence} [{error.code}]", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _runner(arguments: argparse.Namespace) -> Callable[[Awaitable[int]], int]:
    if arguments.command in (_serve, _survey):
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
    effort = check.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="compare sizes as listed, without asking for checksums")
    effort.add_argument("--footage", action="store_true", help="read all footage, and open it where its keys are here")
    effort.add_argument("--sample", type=float, default=0.0, metavar="PERCENT", help="read so much of it, by chance")
    check.add_argument("--resume", action="store_true", help="go on where a check that was asked the same was cut off")
    check.add_argument("--rebuild", action="store_true", help="make a lost catalogue anew from the bucket alone")
    check.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="NODE=KEY",
        help="with --rebuild: believe what this node signed, too, by its public key of 64 hex digits",
    )

    backup = add(commands, "backup", "Write the catalogue and this node's signing key into a sealed file", _backup)
    backup.add_argument("file", type=Path)
    backup.add_argument(
        "--recipient",
        action="append",
        default=[],
        metavar="KEY",
        help="who can open it, by public key; default: this node's identities",
    )
    restore = add(commands, "restore", "Fill an empty catalogue from a backup and the journal behind it", _restore)
    restore.add_argument("file", type=Path)
    restore.add_argument("--trust", default="", metavar="KEY", help="the key that signed it, as `backup` printed it")

    retention = add_group("retention", "Deletion of old footage")
    confirmed = add(
        retention, "confirm", "After a rebuild or restore: the holds are right, deletion may go on", _confirm
    )
    confirmed.add_argument("--by", required=True, help="who has looked at the holds; goes into the access log")

    text = "Verify an export, offline: needs no configuration and no server"
    verify = commands.add_parser("verify", help=text, description=text)
    verify.set_defaults(command=_verify)
    add_verify_arguments(verify)

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

    rtsp = add_group("rtsp-login", "Logins of systems that read cameras over RTSP")
    made = add(rtsp, "create", "Make an RTSP login of an account and print its name and password once", _rtsp_create)
    made.add_argument("username")
    made.add_argument("--name", default="command line")
    made.add_argument("--camera", help="the only camera that it opens; default: all that the account may watch")
    made.add_argument("--days", type=int, default=0, help="valid for so many days; default: until revoked")

    keys = add_group("keys", "Keys: who may open what is recorded")
    add_key_commands(lambda name, help_text, command: add(keys, name, help_text, command))

    _add_survey(add(commands, "survey", "Find out which cameras can be linked, as what, and why not", _survey))

    log = add_group("log", "The access log")
    add(
        log,
        "verify",
        "Recompute the chain of the access log; `check` also compares it with the copied heads",
        _log_verify,
    )
    return parser


def _add_survey(survey: argparse.ArgumentParser) -> None:
    survey.add_argument(
        "targets",
        nargs="+",
        metavar="ADDRESSES|CSV",
        help="hosts, host:port, ranges (10.0.0.5-20), networks (10.0.0.0/24), rtsp:// URLs; or a CSV file with the "
        "columns address, username, password, name, place",
    )
    survey.add_argument("--username", default="", help="of cameras for which the table names none")
    survey.add_argument(
        "--password-stdin",
        action="store_true",
        help=f"read its password from standard input; else it is taken from {CAMERA_PASSWORD_VARIABLE}, or asked for",
    )
    survey.add_argument("--csv", metavar="FILE", type=Path, help="write the results as a table for a spreadsheet")
    survey.add_argument("--json", metavar="FILE", type=Path, help="write the results as JSON (docs/api.md, Survey)")
    survey.add_argument("--seconds", type=float, help="measure each stream for so long; default: survey.measure_s")
    vietnamese = os.environ.get("LC_ALL", os.environ.get("LANG", "")).startswith("vi")
    survey.add_argument("--language", choices=("vi", "en"), default="vi" if vietnamese else "en")


def _set_up_logging(settings: Settings, *, quiet: bool) -> None:
    """`quiet`: warnings alone, between which a table can be read."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log.level.upper(), handlers=[handler])
    if quiet:
        logging.getLogger("mediasrv").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells every plugin and every start


async def _verify(arguments: argparse.Namespace, settings: Settings) -> int:
    """Marks the one command that is run without settings."""
    raise NotImplementedError


async def _serve(arguments: argparse.Namespace, settings: Settings) -> int:
    from mediasrv.app import serve  # all of the server: the other commands start faster without it

    await serve(settings)
    return 0


async def _check(arguments: argparse.Namespace, settings: Settings) -> int:
    from mediasrv.app import check
    from mediasrv.checking.bar import CheckBar

    if arguments.rebuild:
        return await _rebuild(arguments, settings)
    if not 0 <= arguments.sample <= 100:
        raise SettingsError("--sample must lie between 0 and 100.")
    whole = 1.0 if arguments.footage else arguments.sample / 100
    bar = CheckBar(sys.stderr)
    try:
        report = await check(
            settings,
            repair=arguments.repair,
            checksums=not arguments.quick,
            whole=whole,
            resume=arguments.resume,
            tell=bar.show,
        )
    finally:
        bar.end()
    for one in report.findings:
        print(f"{'repaired' if one.repaired else 'wrong':<8}  {one.code:<16}  {one.subject}  {one.sentence}")
    print(
        f"{report.rows} recordings, {report.objects} objects, {report.keys} keys, {report.spooled} in the spool: "
        f"{len(report.findings)} findings, {sum(one.repaired for one in report.findings)} repaired"
    )
    return 0 if report.is_clean else 1


async def _rebuild(arguments: argparse.Namespace, settings: Settings) -> int:
    from mediasrv.recovery import rebuild

    trust = dict(one.partition("=")[::2] for one in arguments.trust)
    report, found = await rebuild(settings, trust, _say)
    _print_recovery(report)
    refused = [one for one in found.findings if not one.repaired]
    for one in refused:
        print(f"{one.code:<16}  {one.subject}  {one.sentence}")
    print(
        f"{found.objects} objects, {len(found.findings) - len(refused)} have their rows again, {len(refused)} have not"
    )
    print("Retention waits until somebody has looked at the holds: mediasrv retention confirm --by NAME")
    return 1 if refused or report.refused or report.broken else 0


async def _backup(arguments: argparse.Namespace, settings: Settings) -> int:
    from mediasrv.recovery import backup

    facts = await backup(settings, arguments.file, arguments.recipient)
    print(f"{arguments.file}: {facts.rows} rows, {facts.size_bytes} bytes, signed by {facts.fingerprint}")
    return 0


async def _restore(arguments: argparse.Namespace, settings: Settings) -> int:
    from mediasrv.recovery import restore

    _, report = await restore(settings, arguments.file, arguments.trust, _say)
    _print_recovery(report)
    print("Retention waits until somebody has looked at the holds: mediasrv retention confirm --by NAME")
    return 1 if report.refused or report.broken else 0


async def _confirm(arguments: argparse.Namespace, settings: Settings) -> int:
    from mediasrv.recovery import confirm_holds

    await confirm_holds(settings, arguments.by)
    return 0


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _print_recovery(report: RebuildReport) -> None:
    for sentence in (*report.refused, *report.broken):
        print(f"wrong  {sentence}")
    missing_s = report.missing_us / 1_000_000
    print(f"{report.segments} segments of the journal, {report.rows} rows; {missing_s:.0f} s of footage are missing")


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


async def _rtsp_create(arguments: argparse.Namespace, settings: Settings) -> int:
    async with offline(settings) as parts:
        logins = make_rtsp_logins(parts, load_node_key(settings), SystemClock())
        ttl_s = arguments.days * 86_400 or None
        print(*await logins.create_for(arguments.username, arguments.name, ttl_s, arguments.camera))
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


async def _survey(arguments: argparse.Namespace, settings: Settings) -> int:
    from mediasrv.survey.progress import Progress
    from mediasrv.survey.verdict import Verdict
    from mediasrv.surveying import make_survey

    if arguments.seconds is not None and not 1 <= arguments.seconds <= 600:
        raise SettingsError("--seconds must lie between 1 and 600.")
    survey = make_survey(settings, _survey_targets(arguments), arguments.seconds)
    progress = Progress(survey, sys.stdout, arguments.language)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(progress.run())
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)  # cameras are left properly
        if task.cancelled():
            return INTERRUPTED
    finally:
        _write_reports(arguments, survey)
    return SOME_NOT_ELIGIBLE if survey.count(Verdict.NOT_ELIGIBLE) else 0


def _survey_targets(arguments: argparse.Namespace) -> list[Target]:
    """Raises SettingsError and InvalidRequest."""
    from mediasrv.onvif import parse_devices, parse_table, with_login

    words: list[str] = arguments.targets
    table = Path(words[0])
    try:
        if len(words) == 1 and (table.is_file() or table.suffix == ".csv"):
            targets = parse_table(table.read_text(encoding="utf-8-sig"))
        else:
            targets = parse_devices(" ".join(words))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{table} cannot be read as a table in UTF-8.") from error
    return with_login(targets, arguments.username, _camera_password(arguments))


def _camera_password(arguments: argparse.Namespace) -> str:
    if arguments.password_stdin:
        return sys.stdin.readline().rstrip("\n")
    known = os.environ.get(CAMERA_PASSWORD_VARIABLE)
    if known is not None or not arguments.username:
        return known or ""
    return getpass.getpass("Password of the cameras: ")


def _write_reports(arguments: argparse.Namespace, survey: Survey) -> None:
    """Raises SettingsError where a file cannot be written."""
    from mediasrv.survey.report import build_csv, row_json, survey_json

    try:
        if arguments.csv is not None:
            arguments.csv.write_text(build_csv(survey.rows), encoding="utf-8", newline="")
        if arguments.json is not None:
            document = survey_json(survey) | {"rows": [row_json(row) for row in survey.rows]}
            arguments.json.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be written: {error.strerror}.") from error


def _read_password(arguments: argparse.Namespace) -> str:
    if arguments.password_stdin:
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise SettingsError("The two passwords differ.", code="passwords_differ")
    return first
