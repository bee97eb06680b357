"""ICE-lite: who is answered, and where media may go."""

from __future__ import annotations

import pytest

from mediasrv.errors import ProtocolError
from mediasrv.wire import stun
from mediasrv.wire.ice import AMPLIFICATION, Credentials, IceLite, PathKey
from tests.unit.wire.peer_rig import Outbox

HOME: PathKey = (("192.0.2.7", 5000), b"")
AWAY: PathKey = (("198.51.100.9", 6000), b"")
OURS = Credentials("ours", "our-password", "theirs", "their-password")
NOWHERE = Outbox()


def agent() -> IceLite:
    return IceLite(OURS)


def request(
    number: int = 1, *, username: str = "ours:theirs", password: bytes = b"our-password", use_candidate: bool = True
) -> stun.StunMessage:
    return stun.parse_message(
        stun.build_binding_request(
            number.to_bytes(12, "big"), username, password, use_candidate=use_candidate, priority=1, tie_breaker=1
        )
    )


def test_a_check_is_answered_with_the_address_it_came_from() -> None:
    answer = stun.parse_message(agent().check(request(), HOME, NOWHERE, 0.0))
    assert answer.kind == stun.BINDING_SUCCESS
    assert answer.is_authentic(b"our-password")


@pytest.mark.parametrize(
    "forged",
    [request(password=b"guess"), request(username="ours:others"), request(username="other:theirs")],
    ids=["password", "their fragment", "our fragment"],
)
def test_a_stranger_gets_no_answer_and_no_path(forged: stun.StunMessage) -> None:
    ice = agent()
    with pytest.raises(ProtocolError):
        ice.check(forged, HOME, NOWHERE, 0.0)
    assert ice.path(HOME) is None


def test_a_success_response_is_no_check() -> None:
    ice = agent()
    reflected = stun.parse_message(stun.build_success(request(), HOME[0], b"our-password"))
    with pytest.raises(ProtocolError):
        ice.check(reflected, HOME, NOWHERE, 0.0)


def test_a_controlled_peer_is_told_of_the_role_conflict() -> None:
    honest = request()
    controlled = stun.StunMessage(
        honest.kind, honest.transaction_id, honest.username, True, True, (), honest.integrity_at, honest.data
    )
    answer = agent().check(controlled, HOME, NOWHERE, 0.0)
    assert stun.parse_message(answer).kind == stun.BINDING_ERROR


def test_a_copied_transaction_proves_nothing_about_another_address() -> None:
    ice = agent()
    ice.check(request(1), HOME, NOWHERE, 0.0)
    with pytest.raises(ProtocolError):
        ice.check(request(1), AWAY, NOWHERE, 0.1)
    assert ice.path(AWAY) is None


def test_a_repeated_transaction_is_answered_but_counts_once() -> None:
    ice = agent()
    first = ice.check(request(1), HOME, NOWHERE, 0.0)
    path = ice.path(HOME)
    assert path is not None
    received = path.received_bytes
    assert ice.check(request(1), HOME, NOWHERE, 9.0) == first
    assert (path.received_bytes, path.checked_s) == (received, 0.0)


def test_before_dtls_an_address_gets_at_most_three_times_what_came_from_it() -> None:
    ice = agent()
    ice.check(request(1), HOME, NOWHERE, 0.0)
    path = ice.path(HOME)
    assert path is not None
    sent = path.sent_bytes
    while ice.may_send(path, 100):
        sent += 100
    assert path.received_bytes * AMPLIFICATION - 100 < sent <= path.received_bytes * AMPLIFICATION
    ice.verified = True
    assert ice.may_send(path, 1_000_000)


def test_repeating_a_check_without_end_stops_being_answered() -> None:
    ice = agent()
    with pytest.raises(ProtocolError):  # noqa: PT012 - the loop is the point
        for _ in range(100):
            ice.check(request(1), HOME, NOWHERE, 0.0)


def test_media_moves_only_after_proof_over_a_nominated_address() -> None:
    ice = agent()
    ice.check(request(1), HOME, NOWHERE, 0.0)
    ice.check(request(2, use_candidate=False), AWAY, NOWHERE, 0.0)
    home, away = ice.path(HOME), ice.path(AWAY)
    assert home is not None
    assert away is not None
    assert ice.selected is None
    assert ice.prove(home)
    assert not ice.prove(away)
    ice.check(request(3), AWAY, NOWHERE, 1.0)
    assert ice.selected is home
    assert ice.prove(away)
    assert ice.selected is away


def test_consent_is_lost_without_fresh_checks_from_the_selected_address() -> None:
    ice = agent()
    ice.check(request(1), HOME, NOWHERE, 0.0)
    path = ice.path(HOME)
    assert path is not None
    ice.prove(path)
    assert not ice.consent_lost(30.0, 30.0)
    ice.check(request(1), HOME, NOWHERE, 29.0)
    ice.check(request(2), AWAY, NOWHERE, 29.0)
    assert ice.consent_lost(30.1, 30.0)
    ice.check(request(3), HOME, NOWHERE, 30.1)
    assert not ice.consent_lost(60.0, 30.0)


def test_addresses_are_bounded_and_forgotten_when_left() -> None:
    ice = agent()
    for port in range(16):
        ice.check(request(port), (("192.0.2.7", port), b""), NOWHERE, float(port))
    with pytest.raises(ProtocolError):
        ice.check(request(99), HOME, NOWHERE, 20.0)
    selected = ice.path((("192.0.2.7", 0), b""))
    assert selected is not None
    ice.prove(selected)
    assert ice.forget_paths(10.0) == [(("192.0.2.7", port), b"") for port in range(1, 10)]
    assert ice.selected is selected
    ice.check(request(100), HOME, NOWHERE, 20.0)


def test_two_addresses_of_ours_are_two_paths() -> None:
    """The answer to a check must come from the address it was sent to, or the viewer takes it for a stranger's."""
    ice, inner, outer = agent(), (HOME[0], b"inner"), (HOME[0], b"outer")
    ice.check(request(1), inner, NOWHERE, 0.0)
    ice.check(request(2), outer, NOWHERE, 0.0)
    paths = ice.path(inner), ice.path(outer)
    assert [path.local for path in paths if path] == [b"inner", b"outer"]


NEW = Credentials("ours2", "our-password-2", "theirs2", "their-password-2")


def new_request(number: int, credentials: Credentials = NEW) -> stun.StunMessage:
    return request(number, username=credentials.username, password=credentials.password.encode())


def test_after_a_restart_the_old_credentials_hold_until_the_new_ones_are_used() -> None:
    ice = agent()
    assert ice.restart(NEW) == []
    assert (ice.credentials, ice.fragments) == (NEW, ["ours", "ours2"])
    ice.check(request(1), HOME, NOWHERE, 0.0)
    answer = stun.parse_message(ice.check(new_request(2), AWAY, NOWHERE, 1.0))
    assert answer.is_authentic(b"our-password-2")
    with pytest.raises(ProtocolError):
        ice.check(request(3), HOME, NOWHERE, 2.0)
    ice.check(new_request(4), HOME, NOWHERE, 3.0)


def test_a_restart_that_was_never_used_is_replaced_by_the_next() -> None:
    ice, third = agent(), Credentials("ours3", "our-password-3", "theirs3", "their-password-3")
    ice.restart(NEW)
    assert ice.restart(third) == ["ours2"]
    with pytest.raises(ProtocolError):
        ice.check(new_request(1), HOME, NOWHERE, 0.0)
    ice.check(new_request(2, third), HOME, NOWHERE, 0.0)
    assert ice.restart(NEW) == ["ours"]
    assert ice.fragments == ["ours3", "ours2"]


def test_a_forged_check_does_not_end_the_old_credentials() -> None:
    ice = agent()
    ice.restart(NEW)
    with pytest.raises(ProtocolError):
        ice.check(request(1, username=NEW.username, password=b"guess"), HOME, NOWHERE, 0.0)
    ice.check(request(2), HOME, NOWHERE, 0.0)


def test_a_broken_path_is_forgotten_unless_media_goes_there() -> None:
    ice = agent()
    ice.check(request(1), HOME, NOWHERE, 0.0)
    ice.check(request(2), AWAY, NOWHERE, 0.0)
    selected = ice.path(HOME)
    assert selected is not None
    ice.prove(selected)
    for key in (HOME, AWAY):
        ice.forget_path(key)
    assert ice.paths == (selected,)
    assert ice.consent_lost(31.0, 30.0)


def asked(ice: IceLite) -> stun.StunMessage:
    """Whom media goes to, and what it is asked then."""
    ice.check(request(1), HOME, NOWHERE, 0.0)
    ice.verified = True
    path = ice.path(HOME)
    assert path is not None
    ice.prove(path)
    question = ice.ask(7.0)
    assert question is not None
    return stun.parse_message(question)


def test_nobody_is_asked_who_was_not_seen_to_receive() -> None:
    ice = agent()
    assert ice.ask(0.0) is None
    ice.check(request(1), HOME, NOWHERE, 0.0)
    path = ice.path(HOME)
    assert path is not None
    ice.prove(path)
    assert ice.ask(0.0) is None


def test_an_answer_tells_when_it_was_asked_for_and_counts_once() -> None:
    ice = agent()
    question = asked(ice)
    assert (question.kind, question.username, question.controlled) == (stun.BINDING_REQUEST, "theirs:ours", True)
    assert question.is_authentic(b"their-password")
    answer = stun.parse_message(stun.build_success(question, HOME[0], b"their-password"))
    assert ice.take_answer(answer, HOME) == 7.0
    with pytest.raises(ProtocolError):
        ice.take_answer(answer, HOME)


@pytest.mark.parametrize("wrong", ["password", "transaction", "address", "kind"])
def test_what_answers_no_question_is_refused(wrong: str) -> None:
    ice = agent()
    question = request(99) if wrong == "transaction" else asked(ice)
    password = b"guess" if wrong == "password" else b"their-password"
    answer = (
        stun.build_error(question, 487, password)
        if wrong == "kind"
        else stun.build_success(question, HOME[0], password)
    )
    with pytest.raises(ProtocolError):
        ice.take_answer(stun.parse_message(answer), AWAY if wrong == "address" else HOME)


def test_a_question_is_made_with_what_the_peer_used_last() -> None:
    ice = agent()
    asked(ice)
    ice.restart(NEW)
    question = ice.ask(8.0)
    assert question is not None
    assert stun.parse_message(question).username == "theirs:ours"
    ice.check(new_request(2), HOME, NOWHERE, 9.0)
    question = ice.ask(10.0)
    assert question is not None
    assert stun.parse_message(question).is_authentic(b"their-password-2")
