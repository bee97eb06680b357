"""What the command line asks for: one plan a camera, and what all cameras of the process share.

`--set cam-3..5:codec=h265,rate=5` gives some cameras options of their own, by the names of the command line.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from load_tests.camera_farm.certificate import CertificateKind
from load_tests.camera_farm.http_auth import SCHEMES
from load_tests.camera_farm.onvif.access import AUTH_KINDS
from load_tests.camera_farm.rtsp.sdp import SdpSets, SdpStyle
from load_tests.camera_farm.rtsp.service import RtspStyle
from load_tests.camera_farm.rtsp.urls import ControlStyle, UrlStyle
from load_tests.camera_farm.tracks.shapes import AudioKind, VideoCodec, VideoShape

LOAD_SHAPES: Final = (VideoShape(1280, 720, 25, 2050, 2.0), VideoShape(640, 360, 25, 400, 2.0))
DEMO_SHAPES: Final = (VideoShape(640, 360, 15, 700, 1.0), VideoShape(320, 180, 8, 160, 1.0))
_NEXT_PAIR: Final = re.compile(r",(?=[\w-]+=)")
_CAMERAS: Final = re.compile(r"all|cam-(\d+)(?:\.\.(\d+))?")


@dataclass(frozen=True, slots=True)
class CameraPlan:
    """One camera. `audio` of each stream; `rtsp_auth` empty for an open camera."""

    main: VideoShape
    sub: VideoShape
    audio: AudioKind = AudioKind.PCMA
    metadata: bool = False
    keyframe_first: bool = False
    rtcp: bool = True
    paced: bool = False
    username: str = "admin"
    password: str = "camera-farm"
    rtsp: RtspStyle = field(default_factory=RtspStyle)
    rtsp_auth: tuple[str, ...] = ("digest", "basic")
    rtsp_qop: bool = False
    nonce_life_s: float = math.inf
    url_style: UrlStyle = UrlStyle.PATH
    tls: bool = False
    certificate: CertificateKind = CertificateKind.VALID
    onvif_auth: tuple[str, ...] = ("wsse", "digest")
    media_services: tuple[str, ...] = ("media",)
    events: bool = True
    ptz: bool = False
    clock_offset_s: float = 0.0
    reported_host: str = ""
    motion_every_s: float = 0.0
    motion_for_s: float = 2.0


@dataclass(frozen=True, slots=True)
class FarmPlan:
    """A port of 0 is chosen by the system; camera n gets port + n - 1 otherwise. `discovery_port` below 0: none.

    `plans` has a plan for each camera, in their order; `replan` makes a new one for the camera of a number, with
    options changed by their names. It raises ValueError where they make no sense.
    """

    mode: str
    plans: tuple[CameraPlan, ...]
    replan: Callable[[int, Mapping[str, str]], CameraPlan]
    host: str = "127.0.0.1"
    rtsp_port: int = 0
    rtsps_port: int = 0
    onvif_port: int = 0
    control_port: int = 0
    discovery_port: int = 0
    key: bytes = b""
    until_stdin_ends: bool = False
    faults: tuple[str, ...] = ()


class _Refusing(argparse.ArgumentParser):
    """Says what is wrong with a `--set` instead of ending the program from inside."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse_plan(argv: Sequence[str], description: str | None = None) -> FarmPlan:
    """Ends the program, with a word why, where the command line makes no sense."""
    cameras = _camera_parser()
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.camera_farm",
        description=description,
        parents=[cameras],
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--mode", choices=("demo", "load"), default="demo")
    parser.add_argument("--host", default="127.0.0.1")
    for door in ("rtsp", "rtsps", "onvif"):
        parser.add_argument(f"--{door}-port", type=int, default=0, help="of the first camera; 0: any")
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--discovery-port", type=int, default=0, help="3702 is the standard one; -1: none")
    parser.add_argument("--key", default="", help="hex key of the counters; random where it is not given")
    parser.add_argument("--until-stdin-ends", action="store_true", help="end with the process that holds our stdin")
    parser.add_argument("--set", action="append", default=[], metavar="CAMERAS:NAME=VALUE,…", dest="overrides")
    parser.add_argument("--fault", action="append", default=[], metavar="CAMERAS:KIND@AT+FOR,NAME=VALUE,…")
    options = parser.parse_args(argv)
    try:
        return _farm_plan(options)
    except ValueError as error:
        parser.error(str(error))


def _camera_parser() -> argparse.ArgumentParser:
    """What may differ from camera to camera."""
    parser = _Refusing(add_help=False, allow_abbrev=False)
    _add_media_options(parser)
    _add_rtsp_options(parser)
    _add_onvif_options(parser)
    return parser


def _add_media_options(parser: argparse.ArgumentParser) -> None:
    for name in ("width", "height", "rate", "bitrate"):
        parser.add_argument(f"--{name}", type=int, help=f"{name} of the main stream")
    parser.add_argument("--sub-bitrate", type=int, help="bitrate of the substream")
    parser.add_argument("--gop", type=float, help="seconds from keyframe to keyframe, of both streams")
    parser.add_argument("--codec", type=VideoCodec, default=VideoCodec.H264, choices=list(VideoCodec))
    parser.add_argument("--sub-codec", type=VideoCodec, choices=list(VideoCodec), help="that of main where not given")
    parser.add_argument("--declared-rate", type=int, default=0, help="what SDP, ONVIF and parameter sets claim")
    parser.add_argument("--b-frames", type=int, default=0, help="between two P pictures; load mode only, as the next")
    parser.add_argument("--slices", type=int, default=1, help="per picture")
    parser.add_argument("--recovery-points", type=switch, default=False, help="in place of IDR pictures")
    parser.add_argument("--marker", type=switch, default=True, help="off: no packet is marked as a picture's last")
    parser.add_argument("--in-band-sets", type=switch, default=True, help="off: parameter sets in the SDP alone")
    parser.add_argument("--keyframe-first", type=switch, default=False, help="for who watches first; demo: always")
    parser.add_argument("--audio", choices=[*AudioKind, "mixed"], default="mixed", help="mixed: G.711 and AAC in turn")
    parser.add_argument("--metadata", type=switch, default=False, help="a track of ONVIF metadata")
    parser.add_argument("--motion-every", type=float, default=0.0, help="seconds; 0: only where it is ordered")
    parser.add_argument("--motion-for", type=float, default=2.0)
    parser.add_argument("--pacing", choices=("burst", "packet"), default="burst", help="how a picture's packets leave")
    parser.add_argument("--rtcp", type=switch, default=True)


def _add_rtsp_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--username", default="admin")
    parser.add_argument("--password", default="camera-farm")
    parser.add_argument("--rtsp-auth", default="digest,basic", help=f"of {', '.join(SCHEMES)} in order, or none")
    parser.add_argument("--rtsp-qop", type=switch, default=False, help="Digest with qop=auth")
    parser.add_argument("--nonce-life", type=float, default=math.inf, help="seconds; older nonces are stale")
    parser.add_argument("--session-timeout", type=int, default=60)
    parser.add_argument("--transports", default="tcp,udp")
    parser.add_argument("--tls", type=switch, default=False, help="RTSPS, too, on a port of its own")
    parser.add_argument(
        "--certificate", type=CertificateKind, default=CertificateKind.VALID, choices=list(CertificateKind)
    )
    parser.add_argument("--url-style", type=UrlStyle, default=UrlStyle.PATH, choices=list(UrlStyle))
    parser.add_argument("--control-style", type=ControlStyle, default=ControlStyle.RELATIVE, choices=list(ControlStyle))
    parser.add_argument("--per-track", type=switch, default=False, help="no aggregate control: each track is played")
    parser.add_argument("--sdp-sets", type=SdpSets, default=SdpSets.SAME, choices=list(SdpSets))
    parser.add_argument("--packetization-mode", type=int, default=1, help="what the SDP claims; what is sent is 1")
    parser.add_argument("--renumber-channels", type=switch, default=False)
    parser.add_argument("--early-media", type=switch, default=False, help="packets before the answer to PLAY")
    parser.add_argument("--rtp-info", type=switch, default=True)
    parser.add_argument("--refused-methods", default="", help="such as GET_PARAMETER")
    parser.add_argument("--most-sessions", type=int)


def _add_onvif_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--onvif-auth", default="wsse,digest", help=f"of {', '.join(AUTH_KINDS)}")
    parser.add_argument("--media-services", default="media", help="media (profile S), media2 (profile T) or both")
    parser.add_argument("--events", type=switch, default=True, help="the event service")
    parser.add_argument("--ptz", type=switch, default=False, help="the PTZ service")
    parser.add_argument("--clock-offset", type=float, default=0.0, help="camera time minus true time, seconds")
    parser.add_argument("--reported-host", default="", help="host in ONVIF answers, as of a camera behind NAT")


def switch(text: str) -> bool:
    """`on` or `off`, `true` or `false`, `yes` or `no`. Raises ValueError for anything else."""
    known = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ValueError(f"{text} is neither on nor off")
    return known[text.lower()]


def cameras_named(selector: str, count: int) -> range:
    """The numbers of `cam-3`, `cam-3..7` or `all`. Raises ValueError where it names no camera of the farm."""
    found = _CAMERAS.fullmatch(selector)
    if not found:
        raise ValueError(f"{selector} names no camera: cam-3, cam-3..7 and all do")
    first, last = (1, count) if found[1] is None else (int(found[1]), int(found[2] or found[1]))
    if not 1 <= first <= last <= count:
        raise ValueError(f"{selector} is beyond the {count} cameras of the farm")
    return range(first, last + 1)


def pairs_of(text: str) -> dict[str, str]:
    """`name=value,name=value` as a dictionary; a value may hold commas. ValueError for anything else."""
    pairs = [word.partition("=") for word in _NEXT_PAIR.split(text)]
    wrong = [name for name, equals, _ in pairs if not (name and equals)]
    if wrong:
        raise ValueError(f"{wrong[0] or 'an empty word'} is no NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _changed_plan(options: argparse.Namespace, changes: Mapping[str, str], number: int) -> CameraPlan:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]
    return _camera_plan(_camera_parser().parse_args(flags, copy.copy(options)), number)


def _camera_plan(options: argparse.Namespace, number: int) -> CameraPlan:
    main, sub = _shapes(options)
    audio = options.audio
    if audio == "mixed":
        audio = AudioKind.PCMA if number % 2 else AudioKind.AAC
    return CameraPlan(
        main=main,
        sub=sub,
        audio=AudioKind(audio),
        metadata=options.metadata,
        keyframe_first=options.keyframe_first,
        rtcp=options.rtcp,
        paced=options.pacing == "packet",
        username=options.username,
        password=options.password,
        rtsp=_rtsp_style(options),
        rtsp_auth=tuple(scheme for scheme in words(options.rtsp_auth, (*SCHEMES, "none")) if scheme != "none"),
        rtsp_qop=options.rtsp_qop,
        nonce_life_s=options.nonce_life,
        url_style=options.url_style,
        tls=options.tls,
        certificate=options.certificate,
        onvif_auth=words(options.onvif_auth, AUTH_KINDS),
        media_services=words(options.media_services, ("media", "media2")),
        events=options.events,
        ptz=options.ptz,
        clock_offset_s=options.clock_offset,
        reported_host=options.reported_host,
        motion_every_s=options.motion_every,
        motion_for_s=options.motion_for,
    )


def _shapes(options: argparse.Namespace) -> tuple[VideoShape, VideoShape]:
    main, sub = LOAD_SHAPES if options.mode == "load" else DEMO_SHAPES
    if options.mode == "demo" and (options.b_frames or options.slices > 1 or options.recovery_points):
        raise ValueError("b-frames, slices and recovery-points are peculiarities of clips: they want --mode load")
    if options.recovery_points and options.b_frames:
        raise ValueError("recovery-points and b-frames exclude each other")
    common = {
        "gop_s": options.gop or main.gop_s,
        "declared_rate": options.declared_rate,
        "b_frames": options.b_frames,
        "slices": options.slices,
        "recovery_points": options.recovery_points,
        "marker": options.marker,
        "in_band_sets": options.in_band_sets,
    }
    main = dataclasses.replace(
        main,
        width=options.width or main.width,
        height=options.height or main.height,
        rate=options.rate or main.rate,
        bitrate_kbps=options.bitrate or main.bitrate_kbps,
        codec=options.codec,
        **common,
    )
    codec = options.sub_codec or options.codec
    bitrate_kbps = options.sub_bitrate or sub.bitrate_kbps
    return main, dataclasses.replace(
        sub, rate=min(sub.rate, main.rate), bitrate_kbps=bitrate_kbps, codec=codec, **common
    )


def _rtsp_style(options: argparse.Namespace) -> RtspStyle:
    return RtspStyle(
        session_timeout_s=options.session_timeout,
        transports=frozenset(words(options.transports, ("tcp", "udp"))),
        sdp=SdpStyle(options.sdp_sets, options.control_style, not options.per_track, options.packetization_mode),
        renumber_channels=options.renumber_channels,
        early_media=options.early_media,
        rtp_info=options.rtp_info,
        per_track=options.per_track,
        refused_methods=frozenset(word for word in options.refused_methods.upper().split(",") if word),
        most_sessions=options.most_sessions,
    )


def words(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Words with commas between; ValueError for one that is not known."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    wrong = [word for word in found if word not in known]
    if wrong:
        raise ValueError(f"{wrong[0]} is none of {', '.join(known)}")
    return found


def _farm_plan(options: argparse.Namespace) -> FarmPlan:
    changes: dict[int, dict[str, str]] = {number: {} for number in range(1, options.cameras + 1)}
    for text in options.overrides:
        selector, _, wishes = text.partition(":")
        for number in cameras_named(selector, options.cameras):
            changes[number] |= pairs_of(wishes)

    def replan(number: int, further: Mapping[str, str]) -> CameraPlan:
        changes[number] |= further
        return _changed_plan(options, changes[number], number)

    return FarmPlan(
        mode=options.mode,
        plans=tuple(replan(number, {}) for number in changes),
        replan=replan,
        host=options.host,
        rtsp_port=options.rtsp_port,
        rtsps_port=options.rtsps_port,
        onvif_port=options.onvif_port,
        control_port=options.control_port,
        discovery_port=options.discovery_port,
        key=bytes.fromhex(options.key),
        until_stdin_ends=options.until_stdin_ends,
        faults=tuple(options.fault),
    )
