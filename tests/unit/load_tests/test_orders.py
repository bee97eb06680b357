"""Faults and options of single cameras, as they are ordered on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from load_tests.camera_farm.faults import FAULTS
from load_tests.camera_farm.orders import parse_order
from load_tests.camera_farm.plan import cameras_named, parse_plan
from load_tests.camera_farm.tracks.shapes import AudioKind, VideoCodec

DOCS = Path(__file__).parents[3] / "docs/testing.md"


def test_an_order_with_everything() -> None:
    order = parse_order("cam-2..3:loss@10.5+5/60,share=0.02,tracks=video,audio", 4)
    assert order.cameras == ("cam-2", "cam-3")
    assert (order.kind, order.at_s, order.for_s, order.every_s) == ("loss", 10.5, 5.0, 60.0)
    assert order.options == {"share": "0.02", "tracks": "video,audio"}


def test_an_order_with_nothing_happens_at_once_and_stays() -> None:
    order = parse_order("all:503", 2)
    assert order.cameras == ("cam-1", "cam-2")
    assert (order.kind, order.at_s, order.for_s, order.every_s, order.options) == ("503", 0, 0, 0, {})


@pytest.mark.parametrize("selector", ["cam-0", "cam-5", "cam-3..9", "cam-3..2", "cam", "", "cam-1..", "camera-1"])
def test_cameras_that_are_not_there(selector: str) -> None:
    with pytest.raises(ValueError, match=r"names no camera|beyond the 4 cameras"):
        cameras_named(selector, 4)


def test_every_fault_says_what_it_does_and_is_in_the_documents() -> None:
    text = DOCS.read_text()
    assert [kind for kind in FAULTS if f"`{kind}`" not in text] == []
    assert all(fault.says for fault in FAULTS.values())


def test_cameras_have_options_of_their_own() -> None:
    changes = ("--set", "cam-2..3:codec=h265,rtsp-auth=digest,basic", "--set", "cam-3:audio=opus,rate=5")
    plan = parse_plan(["--cameras", "3", "--audio", "mixed", "--rate", "20", *changes])
    first, second, third = plan.plans
    assert [one.main.codec for one in plan.plans] == [VideoCodec.H264, VideoCodec.H265, VideoCodec.H265]
    assert (first.audio, second.audio, third.audio) == (AudioKind.PCMA, AudioKind.AAC, AudioKind.OPUS)
    assert (first.main.rate, third.main.rate, third.sub.rate) == (20, 5, 5)
    assert third.rtsp_auth == ("digest", "basic")


def test_a_new_plan_keeps_what_was_set_before() -> None:
    plan = parse_plan(["--cameras", "2", "--set", "cam-2:codec=h265"])
    changed = plan.replan(2, {"audio": "none"})
    assert (changed.main.codec, changed.audio) == (VideoCodec.H265, AudioKind.NONE)
    assert plan.replan(1, {}).main.codec is VideoCodec.H264
    with pytest.raises(ValueError, match="unrecognized arguments"):
        plan.replan(1, {"cameras": "9"})


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--b-frames", "2"], "want --mode load"),
        (["--mode", "load", "--b-frames", "2", "--recovery-points", "on"], "exclude each other"),
        (["--set", "cam-9:rate=5"], "beyond the 4 cameras"),
        (["--set", "cam-1:rate=fast"], "invalid int"),
        (["--set", "cam-1:colour=blue"], "unrecognized"),
        (["--set", "cam-1"], "NAME=VALUE"),
        (["--rtsp-auth", "ntlm"], "ntlm is none of"),
        (["--metadata", "perhaps"], "metadata"),
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_a_word_why(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_plan(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
