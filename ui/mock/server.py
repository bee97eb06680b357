"""A pretend server for work on the page: `python ui/mock/server.py`, then open the URL it prints (demo / demo).

Answers docs/api.md from memory, plays one encoded clip by WHEP (aiortc) and HLS (ffmpeg). Never shipped, never tested against.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer, MediaRelay

DIST = Path(__file__).resolve().parent.parent / "dist"
WORK = Path(tempfile.gettempdir()) / "mediasrv-mock"
ALL = ["camera.view", "camera.manage", "live.view", "footage.view", "footage.export", "grant.manage", "system.read", "access_log.read"]
NAMES = {
    "gate-1": "Cổng chính",
    "lobby": "Sảnh đón tiếp",
    "yard": "Sân sau",
    "corridor-2": "Hành lang tầng 2",
    "car-park": "Bãi xe",
    "store": "Kho vật tư",
}
DOWN = {
    "yard": (
        "credentials_wrong",
        "The camera refused the user name or the password.",
        "Camera từ chối tên đăng nhập hoặc mật khẩu.",
    )
}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "media-src 'self' blob:; worker-src blob:; base-uri 'none'; frame-ancestors 'none'"
)
peers: dict[str, RTCPeerConnection] = {}
relay = MediaRelay()
state: dict[str, Any] = {"session": False, "removed": set()}


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def iso(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stream(camera: str, width: int, height: int) -> dict[str, Any]:
    why = DOWN.get(camera)
    reason = {"code": why[0], "sentence": why[1], "sentence_vi": why[2]} if why else None
    recording = {
        "state": "waiting" if why else "recording",
        "reason": None,
        "received_until": iso(now()),
        "durable_until": iso(now()),
        "indexed_until": iso(now() - dt.timedelta(seconds=51)),
        "stored_until": iso(now() - dt.timedelta(seconds=50)),
    }
    return {
        "state": "retrying" if why else "live",
        "reason": reason,
        "since": "2026-01-01T00:00:00Z",
        "video": {"codec": "H264", "width": width, "height": height},
        "audio": {"codec": "PCMA"},
        "transport": "tcp",
        "viewers": 2,
        "recording": recording,
    }


def pick(name: str, width: int, height: int, rate: int) -> dict[str, Any]:
    return {
        "token": name,
        "name": name,
        "codec": "H264",
        "width": width,
        "height": height,
        "rate": 25,
        "bitrate_kbps": rate,
        "audio": "PCMA",
        "url": "rtsp://192.0.2.1/1",
    }


PROFILE = {
    "manufacturer": "Simulated",
    "model": "SIM-2",
    "firmware": "1.0",
    "clock_offset_s": 0.12,
    "main": pick("mainProfile", 1280, 720, 2048),
    "sub": pick("subProfile", 640, 360, 400),
    "explanation": "Main is the largest H.264 profile; sub is the smallest one of at least 320 pixels.",
    "explanation_vi": "Luồng chính là cấu hình H.264 lớn nhất; luồng phụ là cấu hình nhỏ nhất từ 320 điểm ảnh.",
}


def camera(camera_id: str) -> dict[str, Any]:
    return {
        "id": camera_id, "name": NAMES[camera_id], "kind": "onvif", "address": "192.0.2.10", "place": "site-1",
        "origin": "file" if camera_id == "lobby" else "api", "enabled": camera_id != "store", "recording": {"mode": "continuous"}, "record_audio": "policy",
        "audio_recorded": True, "attestation": {"version": 1, "by": "lan", "at": "2026-01-01T00:00:00.000Z"},
        "permissions": ALL,
        "transport": None, "tls_fingerprint": None, "record_stream": "main", "grid_stream": "sub",
        "streams": {"main": stream(camera_id, 1280, 720), "sub": stream(camera_id, 640, 360)},
        "profile": PROFILE,
    }  # fmt: skip


def problem(status: int, code: str, detail: str, detail_vi: str | None = None) -> web.Response:
    body = {"code": code, "detail": detail, "status": status, "detail_vi": detail_vi}
    return web.json_response(body, status=status, content_type="application/problem+json")


SESSION = {
    "principal": {"id": "1", "username": "demo"},
    "permissions": ALL,
    "grants": [
        {"role": role, "place": "root", "purpose": "demo", "ends_at": None}
        for role in ("administrator", "viewer", "auditor")
    ],
}


async def get_session(_: web.Request) -> web.Response:
    return web.json_response(SESSION) if state["session"] else problem(401, "not_authenticated", "Please log in.")


async def login(request: web.Request) -> web.Response:
    body = await request.json()
    if body["password"] != "demo":
        return problem(401, "credentials_wrong", "Wrong.")
    state["session"] = True
    return web.json_response(SESSION)


async def logout(_: web.Request) -> web.Response:
    state["session"] = False
    return web.Response(status=204)


async def cameras(_: web.Request) -> web.Response:
    if not state["session"]:
        return problem(401, "not_authenticated", "Please log in.")
    return web.json_response({"cameras": [camera(one) for one in NAMES if one not in state["removed"]]})


async def probe(request: web.Request) -> web.Response:
    body = await request.json()
    await asyncio.sleep(0.6)
    if body.get("password") != "right":
        return problem(422, *DOWN["yard"])
    return web.json_response({"profile": PROFILE})


async def discover(_: web.Request) -> web.Response:
    await asyncio.sleep(1)
    return web.json_response(
        {
            "devices": [
                {"address": f"http://192.0.2.{n}/onvif/device_service", "name": f"SIM {n}", "model": "SIM-2"}
                for n in (11, 12, 13)
            ]
        }
    )


async def timeline(request: web.Request) -> web.Response:
    start, end = (dt.datetime.fromisoformat(request.query[name]) for name in ("start", "end"))
    end = min(end, now())
    day = now().replace(hour=0, minute=0, second=0, microsecond=0)
    gaps = []
    for hours, seconds, cause, sentence, vietnamese in (
        (1.0, 900, "camera_lost", "The connection to the camera was lost.", "Mất kết nối với camera."),
        (1.25, 12, "waiting_keyframe", "Waiting for the first keyframe.", "Đang chờ khung khóa đầu tiên."),
        (2.2, 300, "server_down", "The server was not running.", "Máy chủ không hoạt động."),
        (2.9, 40, "not_recording", "Recording was switched off.", "Chế độ ghi hình đã tắt."),
    ):
        began = day + dt.timedelta(hours=hours)
        gaps.append(
            {
                "start": iso(began),
                "end": iso(began + dt.timedelta(seconds=seconds)),
                "cause": cause,
                "sentence": sentence,
                "sentence_vi": vietnamese,
            }
        )
    gaps = [gap for gap in gaps if gap["start"] < iso(end)]
    edges = (
        [max(start, day)] + [dt.datetime.fromisoformat(gap[side]) for gap in gaps for side in ("start", "end")] + [end]
    )
    coverage = [
        {"start": iso(a), "end": iso(b)} for a, b in zip(edges[::2], edges[1::2], strict=True) if b > max(a, start)
    ]
    return web.json_response({"start": iso(start), "end": iso(end), "coverage": coverage, "gaps": gaps, "holds": []})


async def access_log(request: web.Request) -> web.Response:
    before = int(request.query.get("before", 131))
    limit = int(request.query["limit"])
    actions = ["session.login", "live.view", "footage.view", "camera.added", "session.failed"]
    entries = [
        {
            "entry": n,
            "at": iso(now() - dt.timedelta(minutes=131 - n)),
            "username": "demo",
            "remote": "192.0.2.7",
            "action": actions[n % 5],
            "subject": "gate-1",
            "detail": {"start": iso(now())},
        }
        for n in range(before - 1, max(0, before - 1 - limit), -1)
    ]
    return web.json_response(
        {"entries": entries, "head": {"entry": 130, "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"}}
    )


async def status(_: web.Request) -> web.Response:
    return web.json_response({
        "node": {"name": "node-1", "version": "0.1.0", "uptime_s": 4210.5, "roles": ["record", "unseal", "web"]},
        "capacity": {"cameras": 6, "viewers": 3},
        "spool": {"used_bytes": 13_400_000, "budget_bytes": 21_474_836_480, "files": 2},
        "storage": {"state": "ok", "endpoint": "http://127.0.0.1:8333", "last_stored_at": iso(now())},
        "uploads": {"waiting": 2, "oldest_s": 4.2},
    })  # fmt: skip


async def whep(request: web.Request) -> web.Response:
    camera_id = request.match_info["camera"]
    if camera_id in DOWN:
        return problem(503, *DOWN[camera_id])
    peer = RTCPeerConnection()
    player = MediaPlayer(str(WORK / "clip.mp4"), loop=True)
    peer.addTrack(player.video)
    await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    key = str(id(peer))
    peers[key] = peer
    return web.Response(
        status=201,
        text=peer.localDescription.sdp,
        content_type="application/sdp",
        headers={"Location": f"/whep-session/{key}"},
    )


async def leave(request: web.Request) -> web.Response:
    peer = peers.pop(request.match_info["key"], None)
    if peer:
        await peer.close()
    return web.Response(status=204)


async def playback(request: web.Request) -> web.Response:
    start = request.query["start"]
    return web.Response(
        text=f'#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=500000,CODECS="avc1.640028"\nvideo.m3u8?start={urllib.parse.quote(start)}\n',
        content_type="application/vnd.apple.mpegurl",
    )


async def playback_media(request: web.Request) -> web.Response:
    at = dt.datetime.fromisoformat(request.query["start"])
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        '#EXT-X-MAP:URI="/mock/init.mp4"',
    ]
    for round_number in range(8):
        lines += ["#EXT-X-DISCONTINUITY"] if round_number else []
        for index in range(10):
            lines += [f"#EXT-X-PROGRAM-DATE-TIME:{iso(at)}", "#EXTINF:2.0,", f"/mock/seg{index}.m4s"]
            at += dt.timedelta(seconds=2)
    return web.Response(text="\n".join([*lines, "#EXT-X-ENDLIST", ""]), content_type="application/vnd.apple.mpegurl")


async def index(_: web.Request) -> web.Response:
    return web.Response(text=(DIST / "index.html").read_text(), content_type="text/html")


async def secure(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Content-Security-Policy"] = CSP


def make_media() -> None:
    WORK.mkdir(exist_ok=True)
    encode = [
        "ffmpeg",
        "-loglevel",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=640x360:r=15",
        "-t",
        "20",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-tune",
        "zerolatency",
        "-g",
        "30",
        "-pix_fmt",
        "yuv420p",
    ]
    subprocess.run([*encode, str(WORK / "clip.mp4")], check=True)
    hls = [
        "-f",
        "hls",
        "-hls_time",
        "2",
        "-hls_segment_type",
        "fmp4",
        "-hls_list_size",
        "0",
        "-hls_segment_filename",
        str(WORK / "seg%d.m4s"),
    ]
    subprocess.run([*encode, *hls, str(WORK / "all.m3u8")], check=True)


def main() -> None:
    make_media()
    app = web.Application()
    app.on_response_prepare.append(secure)
    app.add_routes([
        web.get("/", index), web.get("/invite/{token}", index), web.static("/assets", DIST / "assets"), web.static("/mock", WORK),
        web.get("/api/v1/session", get_session), web.post("/api/v1/session", login), web.delete("/api/v1/session", logout),
        web.post("/api/v1/invite", login), web.get("/api/v1/cameras", cameras), web.post("/api/v1/cameras", probe),
        web.post("/api/v1/cameras/probe", probe), web.get("/api/v1/discover", discover),
        web.get("/api/v1/cameras/{camera}/timeline", timeline), web.get("/api/v1/access-log", access_log), web.get("/api/v1/status", status),
        web.post("/whep/{camera}", whep), web.delete("/whep-session/{key}", leave),
        web.get("/playback/{camera}/index.m3u8", playback), web.get("/playback/{camera}/video.m3u8", playback_media),
    ])  # fmt: skip
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8090)


main()
