"""Connections to PostgreSQL on another machine are TLS, and verified."""

import ssl

import pytest

from mediasrv.catalogue.engine import _connect_args
from mediasrv.settings import CatalogueSettings


@pytest.mark.parametrize("host", ["db.example.org", "192.0.2.7", "2001:db8::1", "localhost.example.org"])
def test_another_machine_is_spoken_to_over_verified_tls(host: str) -> None:
    context = _connect_args(host, CatalogueSettings())["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("host", [None, "localhost", "127.0.0.1", "127.8.0.1", "::1"])
def test_this_machine_is_not(host: str | None) -> None:
    assert _connect_args(host, CatalogueSettings())["ssl_context"] is False


def test_the_server_gives_a_query_up_before_the_connection_does() -> None:
    args = _connect_args(None, CatalogueSettings(query_timeout_s=1.5))
    assert (args["startup_params"], args["timeout"]) == ({"statement_timeout": "1500"}, 6.5)
    assert "timeout" not in _connect_args(None, CatalogueSettings(query_timeout_s=0))
