"""The pure parts of HTTP: fields, times, remote addresses, metrics, problems, camera JSON."""

import contextlib
import dataclasses
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.cameras.views import ClockView, DeviceView, ServiceView
from mediasrv.errors import CameraError, InvalidRequest, NotAuthenticated, TooManyRequests
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.onvif import split_login
from mediasrv.reasons import reason
from mediasrv.security.policy import Permission
from mediasrv.settings import ServerSettings
from mediasrv.web import problems
from mediasrv.web.camera_json import camera_json, profile_json
from mediasrv.web.fields import Fields, check_text, format_time, parse_time, query_int, query_span, query_stream
from mediasrv.web.metrics import Metric, Sample, counter, gauge, render
from mediasrv.web.remote import Remotes
from mediasrv.web.routes_cameras import timeline_json
from mediasrv.web.routes_playback import Opened
from mediasrv.web.routing import is_unchanged
from tests.unit.web.fakes import NORTH, PROFILE, START_US, FakeGap, FakeSpan, FakeTimeline, view

# --- fields and times ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("2026-01-01T00:00:00Z", START_US),
        ("2026-01-01T00:00:00.250Z", START_US + 250_000),
        ("2026-01-01T07:00:00+07:00", START_US),
        ("2026-01-01T07:00:00 07:00", START_US),
    ],
)
def test_times_with_a_zone_are_read(text: str, expected_us: int) -> None:
    assert parse_time(text, "start") == expected_us


@pytest.mark.parametrize("text", ["", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "\ud800"])
def test_times_without_a_zone_and_nonsense_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_time(text, "start")
    assert refused.value.code == "time_invalid"


@given(st.text())
def test_no_text_breaks_the_time_parser(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        parse_time(text, "start")


def test_times_are_written_in_utc_with_z() -> None:
    assert format_time(START_US + 1_500_000) == "2026-01-01T00:00:01.500Z"
    assert format_time(None) is None


def request(path: str, headers: dict[str, str] | None = None, peer: str = "192.0.2.1") -> web.Request:
    made = make_mocked_request("GET", path, headers=headers)
    return made.clone(remote=peer)


def test_spans_need_both_ends_in_order() -> None:
    assert query_span(request("/?start=2026-01-01T00:00:00Z&end=2026-01-01T00:00:01Z")) == (
        START_US,
        START_US + 1_000_000,
    )
    for query in ("", "?start=2026-01-01T00:00:00Z", "?start=2026-01-01T00:00:00Z&end=2026-01-01T00:00:00Z"):
        with pytest.raises(InvalidRequest):
            query_span(request("/" + query))


def test_streams_and_numbers_of_a_query() -> None:
    assert query_stream(request("/")) is StreamName.MAIN
    assert query_stream(request("/?stream=sub")) is StreamName.SUB
    with pytest.raises(InvalidRequest):
        query_stream(request("/?stream=third"))
    assert query_int(request("/?n=7"), "n", None, 0, 10) == 7
    for bad in ("11", "-1", "x", "", "\u0667", "9" * 5000):
        with pytest.raises(InvalidRequest):
            query_int(request(f"/?n={bad}"), "n", None, 0, 10)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("text", 5, lambda fields: fields.text("text")),
        ("text", "x" * 1001, lambda fields: fields.text("text")),
        ("text", "a\x00b", lambda fields: fields.text("text")),
        ("text", "\ud800", lambda fields: fields.text("text")),
        ("text", "", lambda fields: fields.required_text("text")),
        ("text", None, lambda fields: fields.required_text("text")),
        ("flag", 1, lambda fields: fields.optional_flag("flag")),
        ("number", True, lambda fields: fields.optional_int("number", 0, 9)),
        ("number", 1.5, lambda fields: fields.optional_int("number", 0, 9)),
        ("number", 10, lambda fields: fields.optional_int("number", 0, 9)),
        ("time", "yesterday", lambda fields: fields.optional_time("time")),
    ],
)
def test_fields_of_a_wrong_kind_are_refused(name: str, value: Any, read: Any) -> None:
    with pytest.raises(InvalidRequest):
        read(Fields({name: value}))


@given(st.text())
def test_text_that_passes_can_be_stored(text: str) -> None:
    try:
        check_text(text, "name")
    except InvalidRequest:
        return
    assert "\x00" not in text
    text.encode()


# --- remote addresses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # not a trusted proxy: it may say what it likes
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),  # the left one was written by the client
        ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_client_is_what_a_trusted_proxy_saw(peer: str, forwarded: str | None, expected: str) -> None:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert Remotes(ServerSettings(trusted_proxies=("10.0.0.0/8",))).address(request("/", headers, peer)) == expected


def test_only_a_direct_caller_on_this_machine_is_local() -> None:
    remotes = Remotes(ServerSettings(trusted_proxies=("127.0.0.0/8",)))
    assert remotes.is_local(request("/", peer="127.0.0.1"))
    assert remotes.is_local(request("/", peer="::1"))
    assert not remotes.is_local(request("/", peer="192.0.2.1"))
    assert not remotes.is_local(request("/", {"X-Forwarded-For": "192.0.2.1"}, "127.0.0.1"))
    assert not remotes.is_local(request("/", {"Forwarded": "for=192.0.2.1"}, "127.0.0.1"))


@pytest.mark.parametrize(
    ("public_url", "peer", "forwarded", "expected"),
    [
        ("", "192.0.2.1", None, "http://cams.example"),
        ("", "192.0.2.1", "https", "http://cams.example"),  # not a trusted proxy
        ("", "10.0.0.1", "https", "https://cams.example"),
        ("", "10.0.0.1", "gopher", "http://cams.example"),
        ("https://cameras.example.org/", "192.0.2.1", None, "https://cameras.example.org"),
    ],
)
def test_urls_for_the_client_begin_as_it_wrote_them(
    public_url: str, peer: str, forwarded: str | None, expected: str
) -> None:
    remotes = Remotes(ServerSettings(trusted_proxies=("10.0.0.0/8",), public_url=public_url))
    headers = {"Host": "cams.example"} | ({} if forwarded is None else {"X-Forwarded-Proto": forwarded})
    assert remotes.base_url(request("/", headers, peer)) == expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [(None, False), ('"a"', True), ('"b"', False), ('"b", "a"', True), ('"b","a"', True), ("a", False), ("", False)],
)
def test_what_the_client_has_is_not_sent_again(known: str | None, expected: bool) -> None:
    assert is_unchanged(request("/", {} if known is None else {"If-None-Match": known}), '"a"') is expected


# --- metrics -------------------------------------------------------------------------------------


def test_metrics_are_in_the_exposition_format() -> None:
    text = render(
        [
            gauge("mediasrv_up", "Up.", 1),
            counter("mediasrv_x_total", "Line\nbreak.", 2.5),
            Metric("mediasrv_empty", "gauge", "Nothing.", []),
            Metric("mediasrv_labels", "gauge", "Labels.", [Sample({"camera": 'a"b\\c\n'}, 0)]),
        ]
    )
    assert text.splitlines() == [
        "# HELP mediasrv_up Up.",
        "# TYPE mediasrv_up gauge",
        "mediasrv_up 1",
        "# HELP mediasrv_x_total Line\\nbreak.",
        "# TYPE mediasrv_x_total counter",
        "mediasrv_x_total 2.5",
        "# HELP mediasrv_labels Labels.",
        "# TYPE mediasrv_labels gauge",
        'mediasrv_labels{camera="a\\"b\\\\c\\n"} 0',
    ]


# --- problems ------------------------------------------------------------------------------------


def document(response: web.Response) -> Any:
    assert response.content_type == "application/problem+json"
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def test_an_error_is_a_problem_with_its_code() -> None:
    found = document(problems.from_error(NotAuthenticated("Log in first.")))
    assert found == {
        "type": "urn:mediasrv:error:not_authenticated",
        "title": "Unauthorized",
        "status": 401,
        "detail": "Log in first.",
        "code": "not_authenticated",
    }


def test_a_camera_error_says_it_in_vietnamese_too() -> None:
    found = document(problems.from_error(CameraError("The camera refused.", code="credentials_wrong")))
    assert (found["status"], found["code"], found["detail"]) == (422, "credentials_wrong", "The camera refused.")
    assert found["detail_vi"] == reason("credentials_wrong").sentence_vi


def test_waiting_times_are_told() -> None:
    assert problems.from_error(TooManyRequests("Later.", retry_after_s=7)).headers["Retry-After"] == "7"


# --- cameras -------------------------------------------------------------------------------------


def test_camera_json_is_the_documented_shape() -> None:
    shown = camera_json(
        view(NORTH, "north"),
        frozenset({Permission.CAMERA_VIEW, Permission.LIVE_VIEW, Permission.GRANT_MANAGE}),
        {StreamRef(NORTH, StreamName.MAIN): 3},
    )
    assert set(shown) == {
        *("id", "name", "kind", "address", "place", "origin", "enabled", "recording", "transport"),
        *(
            "tls_fingerprint",
            "record_stream",
            "record_audio",
            "audio_recorded",
            "attestation",
            "grid_stream",
            "permissions",
            "streams",
            "profile",
            "device",
        ),
    }
    assert shown["permissions"] == ["live.view"]
    assert (shown["record_stream"], shown["grid_stream"]) == ("main", "main")
    assert shown["streams"]["main"]["viewers"] == 3
    assert (shown["streams"]["main"]["transport"], shown["streams"]["sub"]["transport"]) == ("udp", None)
    assert shown["streams"]["sub"]["reason"]["sentence_vi"] == "Mất kết nối với camera."
    json.dumps(shown)


def test_what_is_known_of_a_device_is_shown_with_reasons() -> None:
    clock = ClockView("alarm", reason("clock_off"), -3.2, 0.1, START_US)
    services = {"events": ServiceView("failed", reason("onvif_failed", "It broke.")), "ptz": ServiceView("ok", None)}
    seen = dataclasses.replace(view(NORTH, "north"), device=DeviceView(clock, services))
    shown = camera_json(seen, frozenset(), {})["device"]
    assert shown["clock"]["reason"]["code"] == "clock_off"
    assert (shown["clock"]["offset_s"], shown["clock"]["read_at"]) == (-3.2, "2026-01-01T00:00:00.000Z")
    assert shown["services"]["events"]["reason"]["sentence"] == "It broke."
    assert shown["services"]["ptz"] == {"state": "ok", "reason": None}
    json.dumps(shown)


def test_warnings_of_a_profile_are_shown_with_sentences() -> None:
    [shown] = profile_json(dataclasses.replace(PROFILE, warnings=("password_empty",)), warned=True)["warnings"]
    assert shown == dataclasses.asdict(reason("password_empty"))


@pytest.mark.parametrize(("permission", "told"), [(Permission.CAMERA_MANAGE, 1), (Permission.CAMERA_VIEW, 0)])
def test_that_a_camera_stands_open_is_told_only_to_who_can_mend_it(permission: Permission, told: int) -> None:
    weak = dataclasses.replace(view(NORTH, "north"), profile=dataclasses.replace(PROFILE, warnings=("password_empty",)))
    shown = camera_json(weak, frozenset({permission}), {})["profile"]
    assert len(shown["warnings"]) == told


@pytest.mark.parametrize("value", [1.5, -1.01, "1", True, float("nan"), float("inf"), [], 10**400])
def test_a_number_out_of_bounds_is_none(value: object) -> None:
    with pytest.raises(InvalidRequest):
        Fields({"pan": value}).optional_number("pan", -1.0, 1.0)


def test_numbers_within_bounds() -> None:
    fields = Fields({"pan": 1, "tilt": -0.5, "zoom": None})
    assert [fields.optional_number(name, -1.0, 1.0) for name in ("pan", "tilt", "zoom", "x")] == [1.0, -0.5, None, None]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", "", "")),
        ("rtsp://192.0.2.1:554/a?b=c", ("rtsp://192.0.2.1:554/a?b=c", "", "")),
        ("rtsp://admin:s3%40cret@192.0.2.1/a", ("rtsp://192.0.2.1/a", "admin", "s3@cret")),
        ("rtsp://admin:p@ss@192.0.2.1/a@b", ("rtsp://192.0.2.1/a@b", "admin", "p@ss")),
        ("http://admin@192.0.2.1", ("http://192.0.2.1", "admin", "")),
        ("rtsp://192.0.2.1/a@b", ("rtsp://192.0.2.1/a@b", "", "")),
    ],
)
def test_credentials_are_taken_out_of_addresses(address: str, expected: tuple[str, str, str]) -> None:
    assert split_login(address) == expected


def test_an_open_gap_ends_with_the_question() -> None:
    shown = timeline_json(
        START_US,
        START_US + 2_000_000,
        FakeTimeline([FakeSpan(START_US, START_US + 1)], [FakeGap(START_US + 1_000_000, None, "camera_lost")], []),
    )
    assert shown["gaps"] == [
        {
            "start": "2026-01-01T00:00:01.000Z",
            "end": "2026-01-01T00:00:02.000Z",
            "cause": "camera_lost",
            "sentence": reason("camera_lost").sentence,
            "sentence_vi": reason("camera_lost").sentence_vi,
        }
    ]


def test_what_was_opened_is_remembered_within_bounds() -> None:
    opened = Opened(most=3)
    for number in range(5):
        opened.add("p1", f"object-{number}")
    assert ("p1", "object-4") in opened
    assert ("p1", "object-0") not in opened
    assert ("p2", "object-4") not in opened
