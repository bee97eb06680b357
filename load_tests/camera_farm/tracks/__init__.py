"""What a stream is made of: pictures, sound and metadata, and their RTP packets.

shapes.py      what a stream looks like: size, rate, codec and its peculiarities
clips.py       encoded clips with B-frames, slices, recovery points, H.264 and H.265
sources.py     pictures: a replayed clip (load) or a drawn scene (demo)
sound.py  metadata.py     the other tracks
payloads.py    NAL units as RTP payloads (RFC 6184, RFC 7798)
rtp_unit.py    access units as framed RTP packets, made once and patched for each send
"""
