"""Which addresses answers name."""

from __future__ import annotations

import ipaddress
from typing import Any

import ifaddr
import pytest

from mediasrv.errors import SettingsError
from mediasrv.fanout import addresses
from mediasrv.fanout.addresses import automatic_hosts, find_candidates
from mediasrv.wire.whep_sdp import Candidate

PORTS = {"udp": 8189, "tcp": 8190}


async def test_answers_name_what_is_configured_in_its_order_udp_first() -> None:
    found = await find_candidates(["::"], ["203.0.113.5", "2001:db8::5"], PORTS)
    assert found == [
        Candidate("203.0.113.5", 8189, "udp"),
        Candidate("2001:db8::5", 8189, "udp"),
        Candidate("203.0.113.5", 8190, "tcp"),
        Candidate("2001:db8::5", 8190, "tcp"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.7:31000", [("203.0.113.7", 31000, "udp"), ("203.0.113.7", 31000, "tcp")]),
        ("203.0.113.7:31000/udp", [("203.0.113.7", 31000, "udp")]),
        ("203.0.113.7/tcp", [("203.0.113.7", 8190, "tcp")]),
        ("[2001:db8::7]:31001/tcp", [("2001:db8::7", 31001, "tcp")]),
        ("localhost:31000/udp", [("127.0.0.1", 31000, "udp")]),
    ],
)
async def test_an_advertised_address_may_name_port_and_transport(text: str, expected: list[Any]) -> None:
    found = await find_candidates(["0.0.0.0"], [text], PORTS)  # noqa: S104 - nothing is bound
    assert [one for one in found if one.host != "::1"] == expected


@pytest.mark.parametrize("text", ["", "a b", "203.0.113.7:99999", "203.0.113.7:1/sctp", "a..b", "[::1"])
async def test_what_is_no_address_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match=r"webrtc\.advertised"):
        await find_candidates(["127.0.0.1"], [text], PORTS)


async def test_what_is_off_is_not_offered() -> None:
    assert await find_candidates(["127.0.0.1"], [], {"tcp": 8190}) == [Candidate("127.0.0.1", 8190, "tcp")]


def test_a_bound_address_is_named_as_it_is() -> None:
    assert automatic_hosts(["127.0.0.1", "::1", "fe80::1%eth0"]) == ["127.0.0.1", "::1", "fe80::1"]


class Adapter:
    def __init__(self, *hosts: str) -> None:
        self.ips = [ifaddr.IP((host, 0, 0) if ":" in host else host, 24, "eth0") for host in hosts]


@pytest.fixture
def interfaces(monkeypatch: pytest.MonkeyPatch) -> list[Adapter]:
    adapters: list[Adapter] = []
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: adapters)
    out = {4: "10.0.0.5", 6: "2001:db8::5"}
    monkeypatch.setattr(addresses, "_outward_address", lambda version: ipaddress.ip_address(out[version]))
    return adapters


def test_a_wildcard_stands_for_what_others_can_reach_what_leads_out_first(interfaces: list[Adapter]) -> None:
    interfaces += [
        Adapter("127.0.0.1", "::1"),
        Adapter("192.168.7.7", "169.254.3.3", "fe80::1", "fd00::7"),
        Adapter("10.0.0.5", "2001:db8::5"),
    ]
    assert automatic_hosts(["0.0.0.0"]) == ["10.0.0.5", "192.168.7.7"]  # noqa: S104
    assert automatic_hosts(["::"]) == ["2001:db8::5", "10.0.0.5", "192.168.7.7", "fd00::7"]
    assert automatic_hosts(["0.0.0.0", "::1"]) == ["10.0.0.5", "192.168.7.7", "::1"]  # noqa: S104


def test_a_machine_without_a_network_serves_itself(interfaces: list[Adapter]) -> None:
    interfaces.append(Adapter("127.0.0.1", "::1"))
    assert (automatic_hosts(["0.0.0.0"]), automatic_hosts(["::"])) == (["127.0.0.1"], ["::1"])  # noqa: S104


def test_of_many_addresses_few_are_named(interfaces: list[Adapter]) -> None:
    interfaces.append(Adapter(*(f"172.17.{number}.1" for number in range(50)), "10.0.0.5"))
    hosts = automatic_hosts(["0.0.0.0"])  # noqa: S104
    assert (len(hosts), hosts[0]) == (8, "10.0.0.5")
