"""Reading what cameras answer: envelopes, faults, services, profiles. Whatever they send is read or refused."""

from __future__ import annotations

import contextlib
import time
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.onvif.envelope import SoapFault, find, number_of, parse_envelope, text_of
from mediasrv.onvif.media import parse_profiles, parse_uri
from mediasrv.onvif.services import parse_capabilities, parse_services
from mediasrv.onvif.values import Service

ENVELOPE = '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>{}</s:Body></s:Envelope>'


def body(inner: str) -> Element:
    return parse_envelope(ENVELOPE.format(inner).encode())


# --- envelopes --------------------------------------------------------------------------------------


def test_elements_are_found_by_local_names_in_whatever_namespace() -> None:
    answer = body('<a:R xmlns:a="urn:a"><b:X xmlns:b="urn:b"><Y> 5 </Y></b:X></a:R>')
    assert text_of(answer, "X", "Y") == "5"
    assert number_of(answer, "X", "Y") == 5.0
    assert (text_of(answer, "X", "Z"), find(answer, "Q", "R"), number_of(answer, "X")) == ("", None, 0.0)


def test_a_prefix_that_was_never_declared_is_understood() -> None:
    answer = body('<tr2:R x:token="1"><tt:Name>Cổng</tt:Name></tr2:R>')
    assert text_of(answer, "Name") == "Cổng"


def test_endless_undeclared_prefixes_are_refused_without_thinking_long() -> None:
    many = "".join(f"<p{number}:a/>" for number in range(40_000))
    began = time.process_time()
    with pytest.raises(ProtocolError):
        body(many)
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<html><body/></html>", b"<s:Envelope/>", b"<Envelope><Head/></Envelope>", b"<a:b", b"<a", b"<<:a",
     ENVELOPE.format("<a>").encode(), ENVELOPE.format("<a:b></a:c>").encode(), b"<Body><Body/></Body>",
     b'<?xml version="1.0" encoding="UTF-8"?><!-- a -->'],
)  # fmt: skip
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_envelope(data)


FAULT_12 = (
    "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code>"
    "<s:Reason><s:Text>Sender not\n authorized</s:Text></s:Reason></s:Fault>"
)
FAULT_11 = "<Fault><faultcode>SOAP-ENV:Client</faultcode><faultstring>No room</faultstring></Fault>"


def test_faults_of_either_version_are_read() -> None:
    with pytest.raises(SoapFault) as caught:
        body(FAULT_12)
    assert (caught.value.codes, caught.value.reason) == (("Sender", "NotAuthorized"), "Sender not authorized")
    assert caught.value.is_refusal
    with pytest.raises(SoapFault) as caught:
        body(FAULT_11)
    assert (caught.value.codes, caught.value.reason, caught.value.is_refusal) == (("Client",), "No room", False)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ProtocolError, SoapFault):
        parse_envelope(data)


@given(st.text(alphabet=st.sampled_from("<>/:=\"' abBody!?-[]Envelopxmlns&;"), max_size=200))
def test_anything_that_looks_like_xml_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ProtocolError, SoapFault):
        parse_envelope(text.encode())


# --- services ---------------------------------------------------------------------------------------


def test_services_are_known_by_their_namespaces() -> None:
    answer = body(
        '<tds:R xmlns:tds="x"><tds:Service><tds:Namespace>http://www.onvif.org/ver20/media/wsdl</tds:Namespace>'
        "<tds:XAddr> http://cam/m2 </tds:XAddr></tds:Service><tds:Service><tds:Namespace>urn:other</tds:Namespace>"
        "<tds:XAddr>http://cam/o</tds:XAddr></tds:Service><tds:Service/></tds:R>"
    )
    assert parse_services(answer) == {Service.MEDIA2: "http://cam/m2"}


def test_capabilities_name_what_they_have() -> None:
    answer = body(
        "<R><Capabilities><Media><XAddr>http://cam/m</XAddr></Media><PTZ><XAddr>http://cam/p</XAddr></PTZ><Events/>"
        "</Capabilities></R>"
    )
    assert parse_capabilities(answer) == {Service.MEDIA: "http://cam/m", Service.PTZ: "http://cam/p"}


# --- profiles ---------------------------------------------------------------------------------------

VER10 = """<R><Profiles token="p1"><Name>Main\x20Stream</Name><VideoEncoderConfiguration><Encoding>H264</Encoding>
<Resolution><Width>1920</Width><Height>1080</Height></Resolution><RateControl><FrameRateLimit>25</FrameRateLimit>
<BitrateLimit>4096</BitrateLimit></RateControl><H264><GovLength>50</GovLength></H264></VideoEncoderConfiguration>
<AudioEncoderConfiguration><Encoding>G711</Encoding></AudioEncoderConfiguration><PTZConfiguration/></Profiles>
<Profiles token="none"/></R>"""
VER20 = """<R><Profiles token="p1" fixed="true"><Name>Main</Name><Configurations>
<VideoEncoder GovLength="60" Profile="Main"><Encoding>H265</Encoding>
<Resolution><Width>3840</Width><Height>2160</Height></Resolution>
<RateControl ConstantBitRate="true"><FrameRateLimit>12.500000</FrameRateLimit><BitrateLimit>8192</BitrateLimit>
</RateControl></VideoEncoder><AudioEncoder><Encoding>PCMU</Encoding></AudioEncoder></Configurations></Profiles></R>"""


def test_a_profile_of_ver10() -> None:
    found, empty = parse_profiles(body(VER10))
    shown = found.with_urls("rtsp://cam/1", "http://cam/s")
    assert (found.token, found.moves, shown.name, shown.codec, shown.audio) == (
        "p1",
        True,
        "Main Stream",
        "h264",
        "g711",
    )
    assert (shown.width, shown.height, shown.rate, shown.bitrate_kbps) == (1920, 1080, 25.0, 4096)
    assert (shown.gop_units, shown.keyframe_interval_s) == (50, 2.0)
    assert (empty.shown.codec, empty.moves) == ("", False)


def test_a_profile_of_ver20_tells_of_h265() -> None:
    [found] = parse_profiles(body(VER20))
    shown = found.shown
    assert (shown.codec, shown.width, shown.rate, shown.audio, found.moves) == ("h265", 3840, 12.5, "g711", False)
    assert shown.keyframe_interval_s == 4.8


@given(st.integers(0, len(VER20)), st.text(max_size=6), st.booleans())
def test_a_damaged_profile_is_read_or_refused(at: int, junk: str, new: bool) -> None:
    text = VER20 if new else VER10
    with contextlib.suppress(ProtocolError, SoapFault):
        for found in parse_profiles(body(text[:at] + junk + text[at + len(junk) :])):
            assert found.shown.pixels >= 0
            assert found.shown.rate >= 0
            assert found.shown.name.isprintable()


@given(st.text(alphabet="0123456789.-+eEinfa ", max_size=12))
def test_any_number_is_one_that_can_be_reckoned_with(text: str) -> None:
    value = number_of(body(f"<R><N>{text}</N></R>"), "N")
    assert 0 <= int(value) < 10**12


def test_uris_of_either_service() -> None:
    assert parse_uri(body("<R><MediaUri><Uri>rtsp://a</Uri></MediaUri></R>")) == "rtsp://a"
    assert parse_uri(body("<R><Uri>rtsp://b</Uri></R>")) == "rtsp://b"
    assert parse_uri(body("<R/>")) == ""
