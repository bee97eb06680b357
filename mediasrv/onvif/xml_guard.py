"""XML from the network, before any parser sees it.

A document without a DTD has no entities to expand and no files to fetch. A DTD can only hide from a search for its
first characters in an encoding where these are other bytes; so such encodings are refused as well.
"""

from __future__ import annotations

import re
from typing import Final

from mediasrv.errors import ProtocolError

_DECLARED: Final = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([^\"']{1,40})[\"']")
_ENCODINGS: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii", b"iso-8859-1", b"windows-1252"})


def check_xml(data: bytes) -> bytes:
    """Returns `data`. Raises ProtocolError for a DTD, an entity declaration, or an encoding that could hide one."""
    declared = _DECLARED.search(data[:400])
    if b"\x00" in data or (declared and declared[1].lower() not in _ENCODINGS):
        raise ProtocolError("The XML is in an encoding that is not accepted.", code="xml_refused")
    upper = data.upper()
    if b"<!DOCTYPE" in upper or b"<!ENTITY" in upper:
        raise ProtocolError("The XML carries a document type, which is not accepted.", code="xml_refused")
    return data
