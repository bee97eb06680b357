"""What notifications mean, and which of them are news."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.clock import to_us
from mediasrv.errors import ProtocolError
from mediasrv.media.camera_event import EventKind
from mediasrv.onvif.envelope import SoapFault, parse_envelope
from mediasrv.onvif.notifications import MOST_SOURCES, KnownStates, Notification, parse_notifications
from mediasrv.onvif.pullpoint import LIFETIME_S, parse_lifetime_s

NOON = "2026-05-01T12:00:00Z"
NOON_US = to_us(datetime(2026, 5, 1, 12, tzinfo=UTC))


def envelope(topic: str, items: str, at: str = NOON, operation: str = "Changed", source: str = "") -> bytes:
    source = source or '<tt:SimpleItem Name="VideoSourceConfigurationToken" Value="v1"/>'
    return (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:tt="tt" xmlns:wsnt="wsnt"><s:Body>'
        f"<tev:PullMessagesResponse xmlns:tev='tev'><wsnt:NotificationMessage><wsnt:Topic>{topic}</wsnt:Topic>"
        f'<wsnt:Message><tt:Message UtcTime="{at}" PropertyOperation="{operation}"><tt:Source>{source}</tt:Source>'
        f"<tt:Data>{items}</tt:Data></tt:Message></wsnt:Message></wsnt:NotificationMessage>"
        "</tev:PullMessagesResponse></s:Body></s:Envelope>"
    ).encode()


def item(name: str, value: str) -> str:
    return f'<tt:SimpleItem Name="{name}" Value="{value}"/>'


def read(*arguments: str, **options: str) -> list[Notification]:
    return list(parse_notifications(parse_envelope(envelope(*arguments, **options))))


@pytest.mark.parametrize(
    ("topic", "name", "kind"),
    [
        ("tns1:VideoSource/MotionAlarm", "State", EventKind.MOTION),
        ("tns1:RuleEngine/CellMotionDetector/Motion", "IsMotion", EventKind.MOTION),
        ("tns1:RuleEngine/CellMotionDetector/Motion//.", "IsMotion", EventKind.MOTION),
        ("RuleEngine/MotionRegionDetector/Motion", "State", EventKind.MOTION),
        ("tnsaxis:CameraApplicationPlatform/tnsaxis:VMD/tnsaxis:Camera1Profile1", "active", EventKind.MOTION),
        ("tns1:VideoSource/GlobalSceneChange/ImagingService", "State", EventKind.TAMPER),
        ("tns1:VideoSource/ImageTooBlurry/AnalyticsService", "State", EventKind.TAMPER),
        ("tns1:RuleEngine/TamperDetector/Tamper", "IsTamper", EventKind.TAMPER),
        ("tns1:Device/Trigger/DigitalInput", "LogicalState", EventKind.DIGITAL_INPUT),
        ("tns1:Device/HardwareFailure/StorageFailure", "Failed", EventKind.STORAGE),
    ],
)
def test_topics_as_cameras_write_them(topic: str, name: str, kind: EventKind) -> None:
    assert read(topic, item(name, "true")) == [Notification(kind, "v1", True, NOON_US)]
    assert read(topic, item(name, "0")) == [Notification(kind, "v1", False, NOON_US)]


@pytest.mark.parametrize(
    ("topic", "items"),
    [
        ("tns1:Device/Trigger/Relay", item("LogicalState", "active")),
        ("tns1:VideoSource", item("State", "true")),
        ("", item("State", "true")),
        ("tns1:VideoSource/MotionAlarm", ""),
        ("tns1:VideoSource/MotionAlarm", item("State", "perhaps")),
        ("tns1:VideoSource/MotionAlarm", item("ObjectId", "1") + item("Score", "1")),
    ],
)
def test_what_tells_no_state_of_a_known_kind_is_passed_over(topic: str, items: str) -> None:
    assert read(topic, items) == []


def test_the_state_is_found_among_other_items() -> None:
    [found] = read("tns1:VideoSource/MotionAlarm", item("ObjectId", "1") + item("State", "false"))
    assert found.active is False


def test_a_property_that_is_deleted_has_ended() -> None:
    [found] = read("tns1:RuleEngine/CellMotionDetector/Motion", item("IsMotion", "true"), operation="Deleted")
    assert found.active is False


@pytest.mark.parametrize(
    ("text", "camera_us"),
    [
        (NOON, NOON_US),
        ("2026-05-01T12:00:00.250Z", NOON_US + 250_000),
        ("2026-05-01T19:00:00+07:00", NOON_US),
        ("2026-05-01T12:00:00", NOON_US),
        ("0000-00-00T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("1969-12-31T23:59:59Z", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("2000-01-01T00:00:00Z", 946_684_800_000_000),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_as_cameras_write_them(text: str, camera_us: int | None) -> None:
    [found] = read("tns1:VideoSource/MotionAlarm", item("State", "1"), at=text)
    assert found.camera_us == camera_us


def test_a_source_is_named_by_all_that_the_camera_calls_it() -> None:
    source = item("VideoSourceConfigurationToken", "v1") + item("Rule", "Cổng &#7; 2")
    [found] = read("tns1:VideoSource/MotionAlarm", item("State", "1"), source=source.replace("&#7;", ""))
    assert found.source == "v1/Cổng 2"


@given(st.integers(0, 900), st.text(max_size=5))
def test_a_damaged_message_is_read_or_refused(at: int, junk: str) -> None:
    text = envelope("tns1:VideoSource/MotionAlarm", item("State", "true")).decode()
    with contextlib.suppress(ProtocolError, SoapFault):
        for found in parse_notifications(parse_envelope((text[:at] + junk + text[at + len(junk) :]).encode())):
            assert found.source.isprintable()


@given(st.text(max_size=60))
def test_any_topic_is_a_kind_or_none(topic: str) -> None:
    with contextlib.suppress(ProtocolError, SoapFault):
        read(topic.replace("<", "").replace("&", ""), item("State", "1"))


# --- news -------------------------------------------------------------------------------------------


def told(active: bool, source: str = "v1", kind: EventKind = EventKind.MOTION) -> Notification:
    return Notification(kind, source, active, None)


def test_only_changes_are_news() -> None:
    known = KnownStates()
    states = [False, True, True, True, False, False, True]
    assert [known.is_news(told(state)) for state in states] == [False, True, False, False, True, False, True]


def test_sources_and_kinds_are_apart() -> None:
    known = KnownStates()
    assert all(known.is_news(one) for one in (told(True), told(True, "v2"), told(True, kind=EventKind.TAMPER)))


def test_a_camera_with_endless_sources_takes_no_more_room() -> None:
    known = KnownStates()
    news = sum(known.is_news(told(True, str(number))) for number in range(3 * MOST_SOURCES))
    assert news == MOST_SOURCES
    assert known.is_news(told(False, "0"))


# --- lifetimes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "end", "lifetime_s"),
    [
        (NOON, "2026-05-01T12:01:00Z", 60.0),
        (NOON, "2026-05-01T12:00:02Z", 10.0),
        (NOON, "2026-05-02T12:00:00Z", 600.0),
        ("2026-05-01T12:00:00", "2026-05-01T19:01:00+07:00", 60.0),
        (NOON, "2026-05-01T11:00:00Z", LIFETIME_S),
        (NOON, "soon", LIFETIME_S),
        ("", "", LIFETIME_S),
    ],
)
def test_a_subscription_lives_by_the_cameras_own_times(now: str, end: str, lifetime_s: float) -> None:
    text = "<Envelope><Body><R><CurrentTime>{}</CurrentTime><TerminationTime>{}</TerminationTime></R></Body></Envelope>"
    assert parse_lifetime_s(parse_envelope(text.format(now, end).encode())) == lifetime_s
