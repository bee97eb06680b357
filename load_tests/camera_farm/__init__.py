"""Simulated ONVIF cameras: what a test needs from a camera, and nothing that a real one would not do.

`python -m load_tests.camera_farm --cameras 4 --mode demo` runs them in a process of their own, each camera on
its own RTSP and ONVIF port. Options, faults and what is counted: docs/testing.md. Nothing here is imported by the
product, and nothing of the product is used here.

    __main__.py  plan.py    command line; prints one JSON line when ready
    farm.py  camera.py      the cameras, and each of them
    doors.py  certificate.py   ports, open, closed, or without an answer
    on_air.py  clock.py     a stream while it is pulled, on the camera's own clock
    tracks/                 pictures, sound and metadata, and their RTP packets
    drawing/                scenes for the demo
    rtsp/                   RTSP over TCP, TLS and UDP
    onvif/                  device, media, events and PTZ services
    events.py  ptz.py       what happens before a camera, and where it looks
    http_auth.py            Digest and Basic, as a server
    discovery.py            WS-Discovery
    faults.py  orders.py  troubles.py   what goes wrong, when, and what is wrong now
    counters.py  counts.py  the signed counter in every access unit; what is counted of callers
    control.py              the control door: state, faults, events
    process.py              `FarmProcess`, for tests
"""
