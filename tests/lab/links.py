"""A link between a server's network and a viewer's, as bad as a test wants it.

Two network namespaces, a veth pair between them, IPv4 and IPv6. What crosses it can be lost (nftables; this kernel
has no netem), held to a rate (tbf), blocked, or made to come from another address. Delay and reordering are
`udp_relay`'s. A send of several segments (UDP GSO) is cut before it leaves, or one roll of the dice would lose a
whole picture; and what is lost is lost where it arrives: dropped on its way out, its sender would be told (EPERM).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from load_tests import netns
from load_tests.netns import Namespace, run

SERVER, SERVER_V6 = "10.98.0.1", "fd00:98::1"
VIEWER, VIEWER_V6 = "10.98.0.2", "fd00:98::2"
ELSEWHERE: Final = "10.98.0.3"
"""Another address of the viewer's machine."""
DEVICE: Final = "eth0"
_PER: Final = 10_000
_TABLE: Final = """
table inet lab {{
  chain going {{ type filter hook output priority 0; {going}; }}
  chain coming {{ type filter hook prerouting priority -300; {coming}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Link:
    """`server` and `viewer` are the machines at its ends."""

    server: Namespace
    viewer: Namespace

    def lose(self, percent: float) -> None:
        """Each UDP datagram is lost with this probability, either way."""
        rule = f"meta l4proto udp numgen random mod {_PER} < {round(percent * _PER / 100)} counter drop"
        for end in (self.server, self.viewer):
            self._filter(end, coming=rule)

    def block_udp(self) -> None:
        """No UDP passes, as behind many a firewall."""
        for end in (self.server, self.viewer):
            self._filter(end, coming="meta l4proto udp counter drop")

    def hold_to(self, kbit_s: int) -> None:
        """What the server sends passes at this rate; 100 ms of it wait, more is lost."""
        shape = ["tbf", "rate", f"{kbit_s}kbit", "burst", "4kb", "latency", "100ms"]
        self.server.run("tc", "qdisc", "replace", "dev", DEVICE, "root", *shape)

    def let_go(self) -> None:
        """The rate is that of the machine again."""
        self.server.run("tc", "qdisc", "del", "dev", DEVICE, "root")

    def roam(self) -> None:
        """From now on the viewer's UDP comes from ELSEWHERE, and it does not know: as behind a router that forgot."""
        there = f"ip daddr {SERVER} meta l4proto udp counter ip saddr set {ELSEWHERE}"
        back = f"ip saddr {SERVER} meta l4proto udp ip daddr"
        forgotten = f"{back} {VIEWER} drop"
        self._filter(self.viewer, f"{forgotten}; {back} set {VIEWER}", there)

    def mend(self) -> None:
        """As good as it was made."""
        for end in (self.server, self.viewer):
            end.run("nft", "flush", "ruleset")
        if "tbf" in self.server.run("tc", "qdisc", "show", "dev", DEVICE):
            self.let_go()

    def hit(self, end: Namespace) -> int:
        """How many packets the rules at this end have taken hold of."""
        words = end.run("nft", "list", "ruleset").split()
        return sum(int(words[at + 1]) for at, word in enumerate(words) if word == "packets")

    def _filter(self, end: Namespace, coming: str, going: str = "accept") -> None:
        end.run("nft", "flush", "ruleset")
        end.run("nft", "-f", "-", stdin=_TABLE.format(going=going, coming=coming))


@contextmanager
def linked() -> Iterator[Link]:
    """Two machines with a link between them. Skips the test, saying why, where it cannot be made."""
    why = unavailable()
    if why:
        pytest.skip(why)
    with netns.namespace() as server, netns.namespace() as viewer:
        run(
            *("ip", "link", "add", DEVICE, "netns", server.name, "type", "veth"),
            *("peer", "name", DEVICE, "netns", viewer.name),
        )
        _address(server, SERVER, SERVER_V6)
        _address(viewer, VIEWER, VIEWER_V6)
        viewer.run("ip", "address", "add", f"{ELSEWHERE}/24", "dev", DEVICE)
        yield Link(server, viewer)


def unavailable() -> str:
    """Why there can be no lab here, in a sentence; empty where there can."""
    missing = [name for name in ("nft", "tc", "ethtool") if not netns.found(name)]
    return netns.unavailable() or (f"The lab needs {' and '.join(missing)}: see `make test-tools`." if missing else "")


def _address(end: Namespace, v4: str, v6: str) -> None:
    end.run("ip", "address", "add", f"{v4}/24", "dev", DEVICE)
    end.run("ip", "address", "add", f"{v6}/64", "dev", DEVICE, "nodad")
    end.run("ip", "link", "set", DEVICE, "up")
    end.run("ethtool", "-K", DEVICE, "tx-udp-segmentation", "off", "tso", "off", "gso", "off")
