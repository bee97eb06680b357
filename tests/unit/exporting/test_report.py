"""What an export says of itself: no hole in silence, nothing of strangers in the page, names for every system."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.catalogue.export_queries import CameraClock, CameraFacts
from mediasrv.catalogue.footage_queries import SEAM_US, GapRow
from mediasrv.catalogue.spans import Span, merge, subtract
from mediasrv.clock import SECOND_US
from mediasrv.errors import FootageRefused
from mediasrv.exporting import note
from mediasrv.exporting.collect import Unreadable
from mediasrv.exporting.manifest import CameraPart, Logged, Missing, Report, Wish, find_missing
from mediasrv.exporting.note import LANGUAGES, build_note
from mediasrv.exporting.package import Package
from mediasrv.exporting.pieces import MadeFile, Piece, memory_file, name_time, safe_name
from mediasrv.exporting.sealed_file import CHUNK_BYTES, TAG_BYTES, SealedReader, SealedWriter
from mediasrv.media.access_unit import StreamName, StreamRef, TrackKind
from mediasrv.reasons import reason
from mediasrv.security.access_log import Head
from tests.unit.media.streams import PCMA, REF, STARTED_US, VIDEO

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;'
KEY = bytes(range(32))
FILE = MadeFile("Cổng_2026-11-28T10-00-00+07.mp4", 10, "ab" * 32, 0, 1)


def piece(start_s: float, end_s: float) -> Piece:
    span = Span(STARTED_US + round(start_s * SECOND_US), STARTED_US + round(end_s * SECOND_US))
    return Piece(FILE, "one", span, VIDEO, PCMA, {TrackKind.VIDEO: 250, TrackKind.AUDIO: 500}, [])


def report(text: str = "Cổng chính", clock: CameraClock | None = None) -> Report:
    span = Span(STARTED_US, STARTED_US + 20 * SECOND_US)
    wish = Wish(("gate-1",), StreamName.MAIN, span, text, "p1", text, text)
    missing = [Missing(Span(STARTED_US + 10 * SECOND_US, span.end_us), "camera_lost")]
    clocks = {} if clock is None else {"one": clock}
    part = CameraPart(CameraFacts("gate-1", text, ("Trung tâm", text)), [piece(0, 10)], missing, [], clocks)
    head = Logged(Head(17, b"\7" * 32), b"{}")
    at_us = STARTED_US + 3600 * SECOND_US
    return Report("0123456789abcdef", wish, at_us, at_us, "node-1", KEY, {}, head, 420, [part])


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_strangers_wrote_is_text_and_the_page_loads_nothing(language: str) -> None:
    plain, hostile = Page(build_note(report(), language)), Page(build_note(report(HOSTILE), language))
    assert hostile.tags == plain.tags
    assert hostile.text.count(HOSTILE) >= 5
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(hostile.tags)
    assert not {"src", "href", "onerror"} & hostile.attributes.keys()
    assert b"default-src 'none'" in build_note(report(), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_says_what_when_why_what_is_missing_and_by_which_key(language: str) -> None:
    text = Page(build_note(report("Vụ 12"), language)).text
    why = reason("camera_lost")
    assert (why.sentence_vi if language == "vi" else why.sentence) in text
    for expected in ("Vụ 12", FILE.name, FILE.sha256, KEY.hex(), "21:13:20.000", "14:13:20.000 UTC", "0:00:10.000"):
        assert expected in text, expected


def test_both_languages_say_the_same_things() -> None:
    assert note._TEXTS["vi"].keys() == note._TEXTS["en"].keys()
    for name, english in note._TEXTS["en"].items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", note._TEXTS["vi"][name]))


@pytest.mark.parametrize(
    ("clock", "said"),
    [
        (None, "never told its own time"),
        (CameraClock(None, None), "never told its own time"),
        (CameraClock(2_500_000, 40_000), "2.500 s ahead of the server's, give or take 0.040 s"),
        (CameraClock(-2_500_000, 40_000), "2.500 s behind the server's"),
        (CameraClock(30_000, 40_000), "agreed with the server's to within 0.040 s"),
    ],
)
def test_the_camera_s_clock_is_told_in_words(clock: CameraClock | None, said: str) -> None:
    assert said in Page(build_note(report(clock=clock), "en")).text


spans = st.tuples(st.integers(0, 100), st.integers(1, 30)).map(lambda one: Span(one[0], one[0] + one[1]))


@given(st.lists(spans, max_size=6), st.lists(spans, max_size=6), st.lists(spans, max_size=3))
def test_every_moment_is_in_a_piece_or_missing_with_one_cause(
    covered: list[Span], gaps: list[Span], refused: list[Span]
) -> None:
    def wide(span: Span) -> Span:
        return Span(span.start_us * SECOND_US, span.end_us * SECOND_US)

    within = wide(Span(0, 100))
    pieces = [replace(piece(0, 0), span=wide(one)) for one in covered]
    rows = [GapRow(number, REF, *wide(one), "camera_lost") for number, one in enumerate(gaps)]
    bad = [Unreadable("id", "key", wide(one), "part_altered", "It was altered.") for one in refused]
    missing = [one.span for one in find_missing(within, pieces, bad, rows)]
    assert missing == sorted(missing)
    assert all(before.end_us <= after.start_us for before, after in pairwise(missing))
    assert merge(missing) == subtract([within], merge([one.span for one in pieces]))


def test_a_gap_that_lasts_and_a_seam_are_told_from_one_another() -> None:
    within = Span(STARTED_US, STARTED_US + 100 * SECOND_US)
    seam_s = SEAM_US / SECOND_US
    pieces = [piece(0, 10), piece(10 + seam_s, 50)]
    lasting = GapRow(1, StreamRef("gate-1", StreamName.MAIN), STARTED_US + 50 * SECOND_US, None, "camera_lost")
    assert find_missing(within, pieces, [], [lasting]) == [
        Missing(Span(pieces[1].span.end_us, within.end_us), "camera_lost")
    ]


@given(st.text(max_size=200))
def test_a_camera_s_name_becomes_a_file_name_on_every_system(name: str) -> None:
    made = safe_name(name)
    assert 1 <= len(made) <= 60
    assert re.fullmatch(r"[\w-]+", made)
    assert made.encode()


def test_names_tell_local_time() -> None:
    at = datetime(2026, 11, 28, 10, 0, 0, tzinfo=timezone(timedelta(hours=7)))
    assert name_time(at) == "2026-11-28T10-00-00+07"
    assert name_time(at.astimezone(timezone(timedelta(minutes=-210)))) == "2026-11-27T23-30-00-0330"
    assert safe_name("Cổng / chính: <1>") == "Cổng-chính-1"
    assert safe_name("../..") == "camera"


def test_a_sealed_file_opens_by_range_and_with_its_key_and_number_alone(tmp_path: Path) -> None:
    plain = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"the end"
    writer = SealedWriter(tmp_path / "1", KEY, 1)
    for at in range(0, len(plain), 700_001):
        writer.write(plain[at : at + 700_001])
    writer.close()
    sealed = (tmp_path / "1").read_bytes()
    assert len(sealed) == len(plain) + 3 * TAG_BYTES
    assert plain[:64] not in sealed
    reader = SealedReader(tmp_path / "1", KEY, 1)
    assert reader.read(CHUNK_BYTES - 10, 100) == plain[CHUNK_BYTES - 10 : CHUNK_BYTES]
    assert reader.read(2 * CHUNK_BYTES, 100) == b"the end"
    reader.close()
    for key, number in ((bytes(32), 1), (KEY, 2)):
        other = SealedReader(tmp_path / "1", key, number)
        with pytest.raises(FootageRefused):
            other.read(0, 1)
        other.close()


@given(st.binary(max_size=50), st.binary(max_size=50), st.data())
def test_the_zip_is_read_from_anywhere(first: bytes, second: bytes, data: st.DataObject) -> None:
    package = Package(cast(Path, None), KEY, [memory_file("a", first), memory_file("b", second)])
    reader = package.open()
    whole = b"".join(reader.read_all())
    assert len(whole) == package.size_bytes
    start = data.draw(st.integers(0, len(whole) - 1))
    read = reader.read(start, 1000)
    assert read
    assert whole[start:].startswith(read)
