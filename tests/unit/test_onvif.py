"""The pure parts of the ONVIF client: addresses, choice of streams, XML, discovery answers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.camera_farm.discovery import Announcement, build_probe_match
from mediasrv.errors import CameraError, ProtocolError
from mediasrv.media.profile import MediaProfile
from mediasrv.onvif import OnvifDevice, Service, ServiceState, pick_streams
from mediasrv.onvif.address import parse_address, rebuild, split_reported
from mediasrv.onvif.discovery import build_probe, parse_probe_matches
from mediasrv.onvif.values import TEXT_LENGTH, clean_text
from mediasrv.onvif.xml_guard import check_xml


def profile(width: int, height: int, codec: str = "h264", rate: float = 25.0, bitrate_kbps: int = 1000) -> MediaProfile:
    name = f"{codec}-{width}x{height}@{rate:g}-{bitrate_kbps}"
    return MediaProfile(name, name, codec, width, height, rate, bitrate_kbps, "g711", f"rtsp://192.0.2.1/{name}")


def device(profiles: Iterable[MediaProfile], replaced_host: str = "") -> OnvifDevice:
    return OnvifDevice("Maker", "Model", "1.0", 0.1, tuple(profiles), replaced_host)


# --- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("192.168.1.64", "http://192.168.1.64:80/onvif/device_service"),
        (" 192.168.1.64:8000 ", "http://192.168.1.64:8000/onvif/device_service"),
        ("cam.example.org", "http://cam.example.org:80/onvif/device_service"),
        ("http://cam:8080", "http://cam:8080/onvif/device_service"),
        ("http://cam/", "http://cam:80/onvif/device_service"),
        ("HTTP://cam/onvif/other", "http://cam:80/onvif/other"),
        ("fd00::5", "http://[fd00::5]:80/onvif/device_service"),
        ("[fd00::5]:8000", "http://[fd00::5]:8000/onvif/device_service"),
    ],
)
def test_an_address_as_people_type_it_becomes_a_url(address: str, url: str) -> None:
    assert parse_address(address).url == url


@pytest.mark.parametrize(
    "address",
    ["", "   ", "a b", "host:port", "host:99999", "https://cam", "file:///etc/passwd", "http://", "-cam", "http://u:p@cam",
     "http://cam/?x=1", "http://cam/a b", "[fd00::5", "cam/onvif\r\nX: y"],
)  # fmt: skip
def test_anything_else_is_refused_as_invalid(address: str) -> None:
    with pytest.raises(CameraError) as caught:
        parse_address(address)
    assert caught.value.code == "address_invalid"


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(CameraError) as caught:
        parse_address("http://admin:hunter2@cam")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with contextlib.suppress(CameraError):
        assert parse_address(text).url.startswith("http://")


def test_a_reported_url_loses_its_credentials_and_keeps_the_rest() -> None:
    split = split_reported("rtsp://admin:pw@192.0.2.9:10554/ch1?channel=1&user=admin&password=pw&subtype=0", "rtsp")
    assert split is not None
    parts, host, port = split
    assert rebuild(parts, host, port) == "rtsp://192.0.2.9:10554/ch1?channel=1&subtype=0"


def test_a_query_without_secrets_stays_as_it_was_written() -> None:
    split = split_reported(
        "rtsp://192.0.2.9/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif&x=a%2Fb", "rtsp"
    )
    assert split is not None
    assert (
        rebuild(*split) == "rtsp://192.0.2.9:554/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif&x=a%2Fb"
    )


def test_a_doubled_port_is_understood() -> None:
    split = split_reported("http://192.0.2.9:8106:8106/onvif/media", "http")
    assert split is not None
    assert split[1:] == ("192.0.2.9", 8106)


@pytest.mark.parametrize("url", ["", "rtsp://", "http://192.0.2.9/", "rtsp://a b/", "rtsp://[::1/", "rtsp://h:0x1/"])
def test_what_is_no_rtsp_url_is_none(url: str) -> None:
    assert split_reported(url, "rtsp") is None


# --- choice ----------------------------------------------------------------------------------------


def test_main_is_the_largest_and_sub_suits_grids() -> None:
    picked = pick_streams(device([profile(640, 360), profile(2560, 1440), profile(1280, 720), profile(320, 180)]))
    assert (picked.main.width, picked.sub and picked.sub.width) == (2560, 640)
    assert "largest of 4 profiles" in picked.explanation
    assert "lớn nhất trong 4 cấu hình" in picked.explanation_vi


def test_other_codecs_are_left_out_and_named() -> None:
    picked = pick_streams(device([profile(3840, 2160, "mpeg4"), profile(1280, 720), profile(640, 360, "jpeg")]))
    assert (picked.main.width, picked.sub) == (1280, None)
    assert "JPEG, MPEG4" in picked.explanation
    assert "JPEG, MPEG4" in picked.explanation_vi


def test_a_larger_picture_in_h265_is_main_and_h264_is_what_browsers_show() -> None:
    large, middle, small = profile(3840, 2160, "h265"), profile(1920, 1080), profile(640, 360, "h265")
    picked = pick_streams(device([small, middle, large]))
    assert (picked.main, picked.sub) == (large, middle)
    assert "cannot show H.265: there, the substream" in picked.explanation
    assert "không xem được H.265: khi đó luồng phụ" in picked.explanation_vi


def test_of_equal_pictures_h264_is_main_and_the_other_is_named() -> None:
    picked = pick_streams(device([profile(1920, 1080, "h265", rate=30), profile(1920, 1080, "h264", rate=25)]))
    assert picked.main.codec == "h264"
    assert "H.265 of the same size is left out" in picked.explanation
    assert "Bỏ qua H.265 cùng kích thước" in picked.explanation_vi


def test_a_camera_in_h265_alone_has_its_substream_in_h265() -> None:
    picked = pick_streams(device([profile(1920, 1080, "h265"), profile(640, 360, "h265")]))
    assert (picked.main.codec, picked.sub and picked.sub.width) == ("h265", 640)
    assert picked.explanation.endswith("Many browsers cannot show H.265.")
    assert picked.explanation_vi.endswith("Nhiều trình duyệt không xem được H.265.")


def test_a_substream_in_h265_does_not_serve_beside_a_main_in_h264() -> None:
    assert pick_streams(device([profile(1920, 1080), profile(640, 360, "h265")])).sub is None


def test_of_two_equal_sizes_main_is_the_faster_and_sub_the_leaner() -> None:
    slow, fast = profile(1920, 1080, rate=12), profile(1920, 1080, rate=25)
    fat, lean = profile(640, 480, bitrate_kbps=900), profile(640, 480, bitrate_kbps=300)
    picked = pick_streams(device([slow, fat, fast, lean]))
    assert (picked.main, picked.sub) == (fast, lean)


@pytest.mark.parametrize(("width", "height", "chosen"), [(1280, 720, True), (1600, 1200, False)])
def test_a_sub_too_large_for_grids_must_spare_half(width: int, height: int, chosen: bool) -> None:
    picked = pick_streams(device([profile(1920, 1080), profile(width, height)]))
    assert (picked.sub is not None) is chosen


def test_one_stream_under_two_names_is_not_pulled_twice() -> None:
    main = profile(1920, 1080)
    twin = dataclasses.replace(profile(640, 360), url=main.url)
    assert pick_streams(device([main, twin])).sub is None


def test_a_camera_without_either_says_which_codec_it_has() -> None:
    with pytest.raises(CameraError, match="MPEG4 only") as caught:
        pick_streams(device([profile(1920, 1080, "mpeg4")]))
    assert caught.value.code == "codec_unsupported"


@pytest.mark.parametrize("profiles", [[], [profile(0, 0)], [profile(640, 360, "")]])
def test_a_camera_without_video_has_no_profile(profiles: list[MediaProfile]) -> None:
    with pytest.raises(CameraError) as caught:
        pick_streams(device(profiles))
    assert caught.value.code == "no_profile"


def test_a_broken_media_service_is_the_reason_and_not_its_lack_of_profiles() -> None:
    broken = {Service.MEDIA: ServiceState("failed", "onvif_failed", "The answer makes no sense.")}
    with pytest.raises(CameraError, match="makes no sense") as caught:
        pick_streams(dataclasses.replace(device([]), services=broken))
    assert caught.value.code == "onvif_failed"


def test_a_replaced_host_is_explained_in_both_languages() -> None:
    picked = pick_streams(device([profile(640, 360)], replaced_host="10.9.8.7"))
    assert "10.9.8.7" in picked.explanation
    assert "10.9.8.7" in picked.explanation_vi


# --- XML and text from the network ------------------------------------------------------------------

BOMB = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><l>&b;</l>'


@pytest.mark.parametrize(
    "data",
    [
        BOMB,
        BOMB.replace(b"DOCTYPE", b"doctype"),
        BOMB.decode().encode("utf-16"),
        b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE l+AD4-<l/>',
        b'<?xml version="1.0" encoding="cp037"?><l/>',
        b'<l><!ENTITY x "y"></l>',
    ],
)
def test_xml_with_a_dtd_or_a_way_to_hide_one_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        check_xml(data)


@pytest.mark.parametrize(
    "data",
    [
        b"<l/>",
        b'<?xml version="1.0" encoding="utf-8"?><l/>',
        "<l>Cổng chính</l>".encode(),
        b"<?xml encoding='ISO-8859-1'?><l/>",
    ],
)
def test_ordinary_xml_passes(data: bytes) -> None:
    assert check_xml(data) is data


@given(st.text())
def test_text_from_a_camera_is_short_printable_and_on_one_line(text: str) -> None:
    cleaned = clean_text(text)
    assert len(cleaned) <= TEXT_LENGTH
    assert cleaned.isprintable()


# --- discovery -------------------------------------------------------------------------------------

ASKED = "urn:uuid:11111111-2222-3333-4444-555555555555"


def match(xaddr: str, name: str = "Gate") -> bytes:
    return build_probe_match(Announcement("cam-1", name, "Model X", xaddr), ASKED)


@pytest.mark.parametrize(
    ("xaddr", "address"),
    [
        ("http://192.0.2.7/onvif/device_service", "192.0.2.7"),
        ("http://192.0.2.7:8000/onvif/device_service", "192.0.2.7:8000"),
        ("http://192.0.2.7/other/service", "http://192.0.2.7:80/other/service"),
        ("http://[fe80::1]/onvif/device_service http://192.0.2.7/onvif/device_service", "192.0.2.7"),
        ("https://192.0.2.7/onvif/device_service http://10.0.0.9:81/onvif/device_service", "10.0.0.9:81"),
    ],
)
def test_a_probe_match_becomes_an_address_that_can_be_read(xaddr: str, address: str) -> None:
    [found] = parse_probe_matches(match(xaddr, "Cổng chính"), ASKED, "192.0.2.7")
    assert (found.address, found.name, found.model) == (address, "Cổng chính", "Model X")


def test_an_answer_to_somebody_elses_probe_is_refused() -> None:
    with pytest.raises(ProtocolError):
        list(parse_probe_matches(match("http://192.0.2.7/"), "urn:uuid:other", "192.0.2.7"))


def test_a_device_without_a_usable_address_is_left_out() -> None:
    assert list(parse_probe_matches(match("ftp://192.0.2.7/ nonsense"), ASKED, "192.0.2.7")) == []


@given(st.binary(max_size=400))
def test_any_datagram_is_parsed_or_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(parse_probe_matches(data, ASKED, "192.0.2.7"))


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=4))
def test_a_damaged_answer_is_parsed_or_refused(at: int, junk: bytes) -> None:
    data = bytearray(match("http://192.0.2.7/onvif/device_service"))
    data[at % len(data) : at % len(data) + len(junk)] = junk
    with contextlib.suppress(ProtocolError):
        list(parse_probe_matches(bytes(data), ASKED, "192.0.2.7"))


def test_a_probe_is_well_formed_and_carries_its_id() -> None:
    assert ASKED.encode() in check_xml(build_probe(ASKED))
