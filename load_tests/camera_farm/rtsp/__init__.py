"""A camera's RTSP server (RFC 2326) with media over TCP, TLS and UDP.

connection.py      one client: bytes as messages
service.py         what a camera does with requests: authentication, description, session
messages.py        requests and answers as bytes
urls.py  sdp.py    addresses of streams and tracks, and their description
media_session.py   what is sent to one client, and the log of it
carriers.py        how packets leave: inside the RTSP connection, or as datagrams
line.py            what befalls packets on their way: loss, reordering, pacing
"""
