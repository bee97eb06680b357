"""How long an hour takes to be exported from a real S3 server: `python -m tests.integration.export_figure`.

Prints one JSON line a run. CPU is that of this process, without the S3 server's.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

import uvloop

from load_tests.seaweed import seaweed
from mediasrv.media.access_unit import Codec
from tests.integration.export_rig import Rig, export_rig, pictures, session, sounds
from tests.integration.s3 import storage_settings
from tests.unit.media.streams import interleave

HOUR_S = 3600
RUNS = 3


async def main() -> None:
    with tempfile.TemporaryDirectory() as name, seaweed(Path(name) / "s3") as server:
        directory = Path(name) / "server"
        directory.mkdir()
        async with export_rig(directory, storage_settings(server)) as rig:
            one = session()
            video = pictures(one, HOUR_S, size=(1280, 720), kbps=2000)
            await rig.archive.record(interleave(video, sounds(one, HOUR_S, Codec.PCMA)), 60.0)
            for _ in range(RUNS):
                print(json.dumps(await measure(rig)), flush=True)


async def measure(rig: Rig) -> dict[str, float]:
    cpu_s, began = time.process_time(), time.monotonic()
    export = await rig.exports.start(rig.wish(0, HOUR_S))
    assert export.task is not None
    late_s = 0.0
    while not export.task.done():
        slept = time.monotonic()
        await asyncio.sleep(0.01)
        late_s = max(late_s, time.monotonic() - slept - 0.01)
    assert export.package is not None, export.error
    found = {
        "seconds": round(time.monotonic() - began, 2),
        "cpu_s": round(time.process_time() - cpu_s, 2),
        "loop_late_ms_most": round(1000 * late_s),
        "size_bytes": export.package.size_bytes,
    }
    await rig.exports.remove(export)
    return found


if __name__ == "__main__":
    uvloop.run(main())
