"""What `mediasrv check` says of a running server."""

from __future__ import annotations

import re

from load_tests.stack import Stack, wait_for


def check_all_stored(stack: Stack) -> None:
    """Nothing is wrong, and in the spool is only what is being recorded now: all that has ended gets stored in time."""
    reports: list[str] = []

    def stored() -> bool:
        reports.append(stack.server.files.command("check"))
        found = re.search(r"(\d+) in the spool: (\d+) findings", reports[-1])
        assert found, reports[-1]
        assert found[2] == "0", reports[-1]
        return int(found[1]) <= len(stack.cameras)

    wait_for(stored, 30, lambda: reports[-1])
