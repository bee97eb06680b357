"""The lab itself: its links are as bad as they say, and nothing of it stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from load_tests import netns
from load_tests.stack import wait_for
from tests.lab.links import ELSEWHERE, SERVER, SERVER_V6, VIEWER, Link, linked

PROBES = 2000
RECEIVE = """
import socket, sys, time
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((sys.argv[1], 7000))
    sock.settimeout(float(sys.argv[2]))
    print('listening', flush=True)
    count, sources, first, last = 0, set(), 0.0, 0.0
    try:
        while True:
            data, source = sock.recvfrom(2048)
            count, last = count + 1, time.monotonic()
            first = first or last
            sources.add(source[0])
    except TimeoutError:
        print(count, last - first, *sources)
"""
SEND = """
import socket, struct, sys, time
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    sock.connect((sys.argv[1], 7000))
    for _ in range(int(sys.argv[2]) // 20):
        # As the fan-out sends: many datagrams in one call (UDP_SEGMENT).
        sock.sendmsg([bytes(1000) * 20], [(17, 103, struct.pack('=H', 1000))])
        time.sleep(0.002)
"""


@pytest.fixture
def link() -> Iterator[Link]:
    with linked() as link:
        yield link


def sent(link: Link, count: int, to: str = VIEWER, quiet_s: float = 1.0) -> tuple[int, float, set[str]]:
    """Datagrams that arrive of so many, in how many seconds, and from which addresses."""
    receiver, sender = (link.viewer, link.server) if to == VIEWER else (link.server, link.viewer)
    command = [*receiver.prefix, sys.executable, "-c", RECEIVE, to, str(quiet_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == "listening\n"
        sender.run(sys.executable, "-c", SEND, to, str(count))
        arrived, took, *sources = listening.stdout.readline().split()
    return int(arrived), float(took), set(sources)


@pytest.mark.parametrize("to", [VIEWER, SERVER, SERVER_V6])
def test_a_good_link_loses_nothing(link: Link, to: str) -> None:
    assert sent(link, 200, to)[0] == 200


def test_of_a_segmented_send_single_datagrams_are_lost(link: Link) -> None:
    link.lose(5)
    arrived, _, _ = sent(link, PROBES)
    # 5 % of 2000 within four standard deviations; a whole send lost for one roll would lose 64 % of them.
    assert 0.93 * PROBES < arrived < 0.97 * PROBES
    assert link.hit(link.viewer) == PROBES - arrived
    link.mend()
    assert sent(link, 200)[0] == 200


def test_a_link_holds_to_its_rate_and_is_let_go(link: Link) -> None:
    link.hold_to(800)
    arrived, took_s, _ = sent(link, 100)
    assert 0 < arrived < 100, "a queue of 100 ms does not hold a second's worth"
    assert arrived * 1042 * 8 / took_s / 1000 == pytest.approx(800, rel=0.5)
    link.mend()
    assert sent(link, 200)[0] == 200


def test_blocked_udp_passes_neither_way(link: Link) -> None:
    link.block_udp()
    assert sent(link, 20, VIEWER, 0.3)[0] == 0
    assert sent(link, 20, SERVER, 0.3)[0] == 0


def test_who_roams_comes_from_elsewhere(link: Link) -> None:
    assert sent(link, 20, SERVER)[2] == {VIEWER}
    link.roam()
    assert sent(link, 20, SERVER)[2] == {ELSEWHERE}


def test_what_a_killed_test_left_is_removed_by_the_next() -> None:
    with linked():
        pass
    code = (
        "from tests.lab.links import linked\n"
        "import subprocess, sys, time\n"
        "with linked() as link:\n"
        "    inside = subprocess.Popen([*link.server.prefix, 'sleep', '600'])\n"
        "    print(link.server.name, inside.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        name, inside = killed.stdout.readline().split()
        killed.send_signal(signal.SIGKILL)
    assert (Path("/run/netns") / name).exists()
    netns.sweep()
    assert not (Path("/run/netns") / name).exists()
    wait_for(lambda: _gone(int(inside)), 5)


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"
