"""Janus (C): its streaming plugin with one RTP mountpoint. Debian's package `janus`.

ICE-lite, as mediasrv is, which spares it checks of its own; everything else as it comes: a thread for each viewer. With
`event_loops` that many threads serve all of them, as its documentation advises for many viewers.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from load_tests.child import child_process, end, read_json
from load_tests.fanout_others.running import Running
from load_tests.netns import Namespace, entered
from load_tests.stack import wait_for
from load_tests.webrtc_client import H264_PAYLOAD_TYPE, PCMA_PAYLOAD_TYPE

_API_PORT: Final = 8088
_VIDEO_PORT, _AUDIO_PORT = 5004, 5006
_START_S: Final = 20.0

_MAIN: Final = """
general: {{ configs_folder = "{folder}", log_to_stdout = true, debug_level = 2, session_timeout = 0
            event_loops = {event_loops} }}
nat: {{ ice_lite = true }}
media: {{ ipv6 = false }}
plugins: {{ disable = "{plugins}" }}
transports: {{ disable = "{transports}" }}
loggers: {{ disable = "libjanus_jsonlog.so" }}
"""
_HTTP: Final = f"""
general: {{ json = "compact", base_path = "/janus", http = true, port = {_API_PORT}, ip = "127.0.0.1", https = false }}
admin: {{ admin_http = false, admin_https = false }}
"""
_VIDEO: Final = (
    f'{{ type = "video", mid = "v", port = {_VIDEO_PORT}, pt = {H264_PAYLOAD_TYPE}, codec = "h264", '
    'fmtp = "profile-level-id=42e01f;packetization-mode=1" }'
)
_AUDIO: Final = f'{{ type = "audio", mid = "a", port = {_AUDIO_PORT}, pt = {PCMA_PAYLOAD_TYPE}, codec = "pcma" }}'


@contextmanager
def running(where: Namespace, *, audio: bool, event_loops: int = 0) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="mediasrv-janus-") as folder, contextlib.ExitStack() as stack:
        _configure(Path(folder), audio=audio, event_loops=event_loops)
        log = stack.enter_context((Path(folder) / "log").open("wb"))
        process = subprocess.Popen(
            [*where.prefix, "janus", "-F", folder], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        stack.callback(end, process)
        ports = [str(_VIDEO_PORT), *([str(_AUDIO_PORT)] if audio else [])]
        feeding = stack.enter_context(child_process("load_tests.fanout_others.rtp_feed", *ports, prefix=where.prefix))
        read_json(feeding)
        wait_for(lambda: _answers(where), _START_S, lambda: (Path(folder) / "log").read_text()[-2000:])
        yield Running(process.pid, f"http://127.0.0.1:{_API_PORT}/janus", "janus", where.prefix)


def _configure(folder: Path, *, audio: bool, event_loops: int) -> None:
    media = ", ".join([_VIDEO, *([_AUDIO] if audio else [])])
    mountpoint = f'live: {{ type = "rtp", id = 1, media = ( {media} ) }}\n'
    others = {"plugins": _others("plugins", "streaming"), "transports": _others("transports", "http")}
    main = _MAIN.format(folder=folder, event_loops=event_loops, **others)
    (folder / "janus.jcfg").write_text(main)
    (folder / "janus.transport.http.jcfg").write_text(_HTTP)
    (folder / "janus.plugin.streaming.jcfg").write_text(mountpoint)


def _others(kind: str, wanted: str) -> str:
    """The file names of what is installed beside what is wanted."""
    folders = Path("/usr/lib").glob(f"*/janus/{kind}")
    files = {file.name for folder in folders for file in folder.glob("*.so")}
    return ",".join(sorted(files - {f"libjanus_{wanted}.so"}))


def _answers(where: Namespace) -> bool:
    url = f"http://127.0.0.1:{_API_PORT}/janus/info"
    with contextlib.suppress(OSError), entered(where), urllib.request.urlopen(url, timeout=1) as info:
        return bool(info.status == 200)
    return False
