"""Still pictures of the whole server: of streams that are pulled, and of those that are pulled when asked for."""

from __future__ import annotations

from load_tests.stack import Stack
from tests.integration.s3 import find_plain
from tests.integration.transcode_media import decoded_jpeg


def test_the_server_shows_pictures_of_its_cameras_and_keeps_none(server: Stack) -> None:
    taken = [
        server.client.fetch(f"/api/v1/cameras/{camera_id}/snapshot.jpg?width=320&stream={stream}")
        for camera_id in server.cameras
        for stream in ("main", "sub")  # the substream is not recorded: asking is what starts it
    ]
    assert [decoded_jpeg(jpeg).width for jpeg in taken] == [320] * len(taken)
    assert find_plain([jpeg[-200:-100] for jpeg in taken], server.directory) == []
    metrics = server.client.fetch("/metrics").decode()
    assert 'mediasrv_workers{job="jpeg"} 1' in metrics
    assert "mediasrv_transcodes_refused_total 0" in metrics
    assert 'mediasrv_worker_failures_total{job="jpeg"} 0' in metrics
