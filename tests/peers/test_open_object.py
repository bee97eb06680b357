"""The stand-alone reader agrees with the product, and refuses what the product refuses."""

from __future__ import annotations

import ast
import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers import open_object
from tests.unit.storage.sealed import IDENTITY_PRIVATE, NODE, Sealed, descriptors, plain_parts, seal_object
from tests.unit.storage.test_sealing import TAMPERINGS

VECTORS = json.loads((Path(__file__).parent / "format/v1.json").read_text())
KEY_RECORD = base64.b64decode(VECTORS["key_record"])


def open_parts(body: bytes) -> list[tuple[tuple[int, ...], bytes]]:
    return open_object.open_object(body, KEY_RECORD, IDENTITY_PRIVATE, NODE.public)[1]


def test_it_opens_what_the_product_sealed() -> None:
    assert open_parts(seal_object().body) == [
        (tuple(descriptor), plain) for descriptor, plain in zip(descriptors(), plain_parts(), strict=True)
    ]


# The reader is handed one node's key: it has no register in which a node could be missing.
@pytest.mark.parametrize(("tamper", "code"), [one for one in TAMPERINGS if one[1] != "signer_unknown"])
def test_it_refuses_what_was_changed(tamper: Callable[[Sealed], bytes], code: str) -> None:
    with pytest.raises(open_object.Refused):
        open_parts(tamper(seal_object()))


def test_it_stands_alone() -> None:
    source = Path(open_object.__file__).read_text()
    assert len(source.splitlines()) < 150
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert not [name for name in imported if name.startswith("mediasrv")]
