"""Which numeric addresses may be connected to."""

# ruff: noqa: S104 - nothing is bound

from __future__ import annotations

import pytest

from mediasrv.settings import PullSettings
from mediasrv.wire.addresses import host_of, is_allowed

NETWORKS = ("10.0.0.0/8", "192.168.1.0/24", "fc00::/7", "fe80::/10")


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.1.255", "fd12::1", "fe80::1%eth0", "::ffff:10.9.9.9"])
def test_an_address_inside_is_allowed(address: str) -> None:
    assert is_allowed(address, NETWORKS)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "192.168.2.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "2001::1", "0.0.0.0", "::"),
        *("::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fd00:ec2::254"),
    ],
)
def test_an_address_outside_is_not(address: str) -> None:
    assert not is_allowed(address, NETWORKS)


def test_no_networks_allow_nothing() -> None:
    assert not is_allowed("10.0.0.1", ())


METADATA = ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16")
HERE = ("127.0.0.1", "127.255.0.1", "::1", "::", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::127.0.0.1")


@pytest.mark.parametrize("address", [*HERE, *METADATA, "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "169.254.1.1"])
def test_by_default_neither_this_machine_nor_its_cloud_is_allowed(address: str) -> None:
    assert not is_allowed(address, PullSettings().allowed_networks)


@pytest.mark.parametrize("address", METADATA)
def test_a_metadata_service_must_be_named_by_itself(address: str) -> None:
    assert not is_allowed(address, ("0.0.0.0/0", "::/0", "169.254.0.0/16", "fd00::/8", "100.64.0.0/10"))
    assert is_allowed(address, ("10.0.0.0/8", address))


@pytest.mark.parametrize("address", ["64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:127.0.0.1"])
def test_what_stands_for_an_ipv4_address_is_not_allowed_by_a_network_of_ipv6(address: str) -> None:
    assert not is_allowed(address, ("::/0",))
    assert is_allowed(address, ("127.0.0.0/8",))


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("10.0.0.5:8000", "10.0.0.5"),
        ("http://10.0.0.5/onvif/device_service", "10.0.0.5"),
        ("http://cam.example:81/onvif", "cam.example"),
        ("rtsp://NVR.example:554/ch/3?x=1", "nvr.example"),
        ("rtsp://10.0.0.7:554/ch1", "10.0.0.7"),
        ("rtsp://[2001:db8::1]/", "2001:db8::1"),
        ("fd00::5", "fd00::5"),
        ("[fd00::5]:80", "fd00::5"),
        ("rtsp://[fd00::5", ""),
        ("rtsp://[", ""),
    ],
)
def test_addresses_of_any_form_name_their_host(address: str, host: str) -> None:
    assert host_of(address) == host
