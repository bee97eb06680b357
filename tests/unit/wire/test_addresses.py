"""Which numeric addresses may be connected to."""

from __future__ import annotations

import pytest

from mediasrv.wire.addresses import is_allowed

NETWORKS = ("10.0.0.0/8", "192.168.1.0/24", "fc00::/7", "fe80::/10")


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.1.255", "fd12::1", "fe80::1%eth0", "::ffff:10.9.9.9"])
def test_an_address_inside_is_allowed(address: str) -> None:
    assert is_allowed(address, NETWORKS)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "192.168.2.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "2001::1"]
)
def test_an_address_outside_is_not(address: str) -> None:
    assert not is_allowed(address, NETWORKS)


def test_no_networks_allow_nothing() -> None:
    assert not is_allowed("10.0.0.1", ())
