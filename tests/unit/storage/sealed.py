"""Sealed objects for tests, made of fixed keys so that their bytes are always the same."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mediasrv.storage.keys import Identity, NodeKey
from mediasrv.storage.sealing import INDEPENDENT, INIT, Descriptor, Ended, ObjectHeader, ObjectSealer, build_footer

NODE = NodeKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_NODE = NodeKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
IDENTITY_PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
IDENTITY = Identity(IDENTITY_PRIVATE)
DATA_KEY = bytes(range(3, 35))
NODE_KEYS = {"node-1": NODE.public, "node-2": OTHER_NODE.public}
STARTED_US = 1_790_000_000_000_000

HEADER = ObjectHeader(
    object_id="0a" * 32,
    cell="cell-1",
    camera="gate-1",
    stream="main",
    session="5e" * 8,
    epoch=(1 << 48) + 7,
    seq=3,
    node_id="node-1",
    incarnation="1c" * 16,
    key_id="1d" * 16,
    started_us=STARTED_US,
)


def descriptors(count: int = 5) -> list[Descriptor]:
    """An init part, then media parts of half a second."""
    init = Descriptor(1, INIT, 0, 90_000, STARTED_US, 0, 0)
    media = [
        Descriptor(1, INDEPENDENT if n % 4 == 0 else 0, 12, 90_000, STARTED_US + n * 480_000, n * 43_200, 43_200)
        for n in range(count - 1)
    ]
    return [init, *media]


def plain_parts(count: int = 5) -> list[bytes]:
    return [f"plain part {number} ".encode() * (number + 1) for number in range(count)]


@dataclass
class Sealed:
    header: bytes
    parts: list[bytes]
    footer: bytes

    @property
    def body(self) -> bytes:
        return self.header + b"".join(self.parts) + self.footer


def seal_object(
    header: ObjectHeader = HEADER, node: NodeKey = NODE, count: int = 5, plain: list[bytes] | None = None
) -> Sealed:
    sealer = ObjectSealer(header, DATA_KEY)
    sealed = [sealer.seal(*pair) for pair in zip(descriptors(count), plain or plain_parts(count), strict=True)]
    index = [(len(data), descriptor, data[-16:]) for _, descriptor, data in sealed]
    head = header.build()
    footer = build_footer(head, index, Ended.CLOSED, header.key_id, node)
    return Sealed(head, [data for _, _, data in sealed], footer)
