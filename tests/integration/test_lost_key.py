"""The lost-key drill of docs/keys.md, command by command, on a server that records all along."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from load_tests.readback import played_units
from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiError
from load_tests.stack import Stack, running_stack, wait_for

FARM = {"cameras": 1, "mode": "load", "width": 640, "height": 360, "rate": 25, "gop": 1}
DRILL = (Path(__file__).parents[2] / "docs" / "keys.md").read_text().partition("## Lost-key drill")[2]
OVERRIDES = {
    # Data keys of ten seconds, not of an hour; what is opened is forgotten after a second.
    "recording": {"object_s": 5.0, "key_period_s": 10},
    "sealing": {"key_cache_s": 1.0},
    "storage": {"bucket": "drill-footage", "key_bucket": "drill-keys"},
}


def commands() -> list[list[list[str]]]:
    """The words of each command, by block."""
    blocks = re.findall(r"```sh\n(.*?)```", DRILL, re.DOTALL)
    return [[shlex.split(line) for line in block.splitlines()] for block in blocks]


def run(stack: Stack, block: list[list[str]], stick: Path) -> str:
    """What the last one prints."""
    said = ""
    for program, *words in block:
        assert program == "mediasrv"
        said = stack.server.files.command(*(word.replace("/media/usb", str(stick)) for word in words))
    return said


def stored(stack: Stack) -> int:
    return int(stack.client.get("/api/v1/status")["storage"]["objects_stored"])


def units(stack: Stack, start: datetime, end: datetime) -> int | str:
    """How many access units come back, or the code of the answer."""
    try:
        return sum(1 for _ in played_units(stack.client, stack.cameras[0], start, end))
    except ApiError as refused:
        return f"{refused.status} {refused.code}"


@pytest.mark.timeout(240)
def test_footage_comes_back_with_the_escrow_after_every_identity_was_lost(tmp_path: Path, s3: SeaweedServer) -> None:
    escrow, rest, lost = commands()
    stick = tmp_path / "stick"
    with running_stack(tmp_path / "node", FARM, OVERRIDES, s3) as stack:
        began = datetime.now(UTC) - timedelta(seconds=30)
        stack.wait_until_recording()
        wait_for(lambda: stored(stack) >= 2, 60)
        ended = datetime.now(UTC)
        wait_for(lambda: stored(stack) >= 4, 60)  # so all until then is catalogued, and out of the spool
        run(stack, escrow, stick)
        # The recorder takes it in with its next key period; four more objects, and the periods before are stored.
        count = stored(stack)
        wait_for(lambda: stored(stack) >= count + 4, 60)
        said = run(stack, rest, stick)
        assert re.search(r"(\d+) kept: \1 wrapped to the present recipients, 0 to others", said), said
        before = units(stack, began, ended)
        assert isinstance(before, int), before
        assert before > 25

        identity = stack.server.files.directory / "data" / "identity.key"
        identity.unlink()
        # What was opened is forgotten after a second; the page then says so, and recording goes on.
        assert wait_for(lambda: units(stack, began, ended) == "503 key_unavailable", 10)
        kept = stored(stack)
        wait_for(lambda: stored(stack) > kept, 30)
        stack.server.stop()
        stack.server.start()  # nor does a start make an identity that nobody named
        assert not identity.exists()
        stack.wait_until_recording()
        assert units(stack, began, ended) == "503 key_unavailable"

        said = run(stack, lost, stick)
        assert re.search(r"place +\w{64}  node-1  retired", said)
        assert "escrow     " in said
        assert wait_for(lambda: units(stack, began, ended) == before, 15, lambda: str(units(stack, began, ended)))
        assert (stick / "escrow.key").stat().st_mode & 0o777 == 0o600
        secret = (stick / "escrow.key").read_bytes().splitlines()[1]
        for path in (tmp_path / "node").rglob("*"):  # it lies on the stick alone
            assert path.is_dir() or secret not in path.read_bytes(), path
