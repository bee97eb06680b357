"""What a PATCH means, by If-Match and by what it carries (RFC 9725, 4.3)."""

from __future__ import annotations

import pytest

from mediasrv.errors import InvalidRequest, PreconditionFailed, PreconditionRequired
from mediasrv.fanout.signalling import entity_tag, make_credentials, read_patch
from mediasrv.wire.ice import Credentials, IceLite


def agent() -> IceLite:
    return IceLite(Credentials("ours", "our-password", "theirs", "their-password"))


def fragment(name: str) -> str:
    return f"a=ice-ufrag:{name}\r\na=ice-pwd:0123456789abcdef012345\r\n"


@pytest.mark.parametrize("if_match", ['"ours"', '"other", "ours"', "*", '"*"'])
def test_candidates_change_nothing(if_match: str) -> None:
    assert read_patch(agent(), fragment("theirs"), if_match) is None


@pytest.mark.parametrize("if_match", ['"ours"', "*", '"*"'])
def test_new_credentials_are_a_restart(if_match: str) -> None:
    restart = read_patch(agent(), fragment("fresh"), if_match)
    assert restart is not None
    assert restart.fragment == "fresh"


def test_without_if_match_or_with_another_nothing_is_even_read() -> None:
    with pytest.raises(PreconditionRequired):
        read_patch(agent(), "nonsense", None)
    for if_match in ('"other"', 'W/"ours"', "ours", ""):
        with pytest.raises(PreconditionFailed):
            read_patch(agent(), "nonsense", if_match)
    with pytest.raises(InvalidRequest):
        read_patch(agent(), "nonsense", "*")


def test_a_restart_has_an_entity_tag_of_its_own_at_once() -> None:
    ice = agent()
    before = entity_tag(ice)
    ice.restart(make_credentials("fresh", "0123456789abcdef012345"))
    assert entity_tag(ice) != before
    with pytest.raises(PreconditionFailed):
        read_patch(ice, fragment("theirs"), before)
    assert read_patch(ice, fragment("fresh"), entity_tag(ice)) is None
