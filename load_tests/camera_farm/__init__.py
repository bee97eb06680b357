"""Simulated ONVIF cameras: what a test needs from a camera, and nothing that a real one would not do.

`python -m load_tests.camera_farm --cameras 4 --mode demo` runs them in a process of their own, each camera on
its own RTSP and ONVIF port. Nothing here is imported by the product; only media helpers of the product are used.

    __main__.py      command line; prints one JSON line when ready
    farm.py          cameras and their streams: what is on air, and to whom it is sent
    sources.py       where pictures come from: a replayed clip (load) or a drawn scene (demo)
    scenes.py  canvas.py   the drawn scenes
    counters.py      the signed counter in every access unit
    rtp_unit.py      access units as interleaved RTP, packetised ahead of time
    rtsp_server.py   RTSP/1.0 over TCP (RFC 2326)
    http_auth.py     Digest and Basic, as a server
    onvif_server.py  device and media services (SOAP)
    discovery.py     WS-Discovery
    control.py       the control door: state and faults
    process.py       `FarmProcess`, for tests
"""
