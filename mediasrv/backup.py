"""`mediasrv backup` and `restore`: the whole catalogue and this node's signing key, in one sealed document.

It opens with an identity of those that it was made for, and with nothing else; so the identity itself is not in it, and
must be kept elsewhere. What happened after the backup comes from the journal in the bucket, as at a rebuild.
"""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from sqlalchemy import Connection, Table

from mediasrv import __version__
from mediasrv.catalogue import Catalogue, rows
from mediasrv.catalogue.tables import journal, metadata, row_change
from mediasrv.errors import Conflict, FootageRefused, SettingsError
from mediasrv.storage.documents import DocumentHead, open_document, read_head, seal_document, verify_document
from mediasrv.storage.keys import NodeKey, write_private

KIND: Final = "backup"
_NOT_TAKEN: Final = frozenset({row_change.name})
"""What the journal has not told yet is told by the rows themselves once they are back."""

_MADE_AT_ONCE: Final = frozenset({"place", "node", "incarnation", "generation", journal.name})
"""An empty catalogue that a server or a command has opened has rows of these."""


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """`fingerprint` is that of the key that signed it: what `restore --trust` wants to be told."""

    rows: int
    size_bytes: int
    fingerprint: str


async def make_backup(
    catalogue: Catalogue, path: Path, node_id: str, node_key: NodeKey, recipients: Sequence[str], now_us: int
) -> BackupFacts:
    """Writes the backup beside `path` and gives it its name when it is whole. Raises SettingsError."""
    return await catalogue.read(_write_backup, path, node_id, node_key, recipients, now_us)


def _write_backup(
    connection: Connection, path: Path, node_id: str, node_key: NodeKey, recipients: Sequence[str], now_us: int
) -> BackupFacts:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    counted = _Counted(_lines(connection, node_key))
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    about = {"version": __version__, "public_key": node_key.public.hex()}
    try:
        with unfinished.open("xb") as target:
            unfinished.chmod(0o600)
            for buffer in seal_document(_compressed(counted), KIND, about, node_id, now_us, node_key.sign, recipients):
                target.write(buffer)
            target.flush()
            os.fsync(target.fileno())
        unfinished.rename(path)
    except OSError as error:
        raise SettingsError(f"The backup {path} cannot be written: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return BackupFacts(counted.count, path.stat().st_size, node_key.public.hex())


class _Counted(Iterator[bytes]):
    """Counts what passes."""

    def __init__(self, inner: Iterator[bytes]) -> None:
        self._inner = inner
        self.count = 0

    def __next__(self) -> bytes:
        line = next(self._inner)
        self.count += 1
        return line


def _lines(connection: Connection, node_key: NodeKey) -> Iterator[bytes]:
    yield _line({"node_key": node_key.to_pem().decode()})
    for table in metadata.sorted_tables:
        if table.name not in _NOT_TAKEN:
            for row in rows.dump(connection, table):
                yield _line({"table": table.name, "row": row})


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _compressed(lines: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj()
    for line in lines:
        yield packer.compress(line)
    yield packer.flush()


# --- restoring -------------------------------------------------------------------------------------


def read_backup_head(path: Path) -> DocumentHead:
    """Raises SettingsError, and FootageRefused for what is no backup."""
    with _open(path) as source:
        head = read_head(source)
    if head.kind != KIND:
        raise FootageRefused("This is no backup.", code="document_broken")
    return head


async def restore_backup(
    catalogue: Catalogue, path: Path, secret: bytes, public_key: bytes, node_key_path: Path | None
) -> int:
    """Fills an empty catalogue; how many rows. The signing key appears at `node_key_path` where there is none.

    `secret` is what the backup's head unwraps to. Raises FootageRefused for a backup that is not as the node of this
    public key made it, Conflict where the catalogue is not empty. Then nothing has changed.
    """
    with _open(path) as source:
        verify_document(source, public_key)
    count, pem = await catalogue.write(_load_backup, path, secret, public_key)
    if node_key_path is not None:
        await asyncio.to_thread(_keep_node_key, node_key_path, pem)
    return count


def _keep_node_key(path: Path, pem: bytes) -> None:
    if not path.exists():
        write_private(path, pem)


def _load_backup(connection: Connection, path: Path, secret: bytes, public_key: bytes) -> tuple[int, bytes]:
    tables = {table.name: table for table in metadata.sorted_tables}
    for table in reversed(metadata.sorted_tables):
        if table.name in _MADE_AT_ONCE:
            connection.execute(table.delete())
        elif table.name not in _NOT_TAKEN and rows.count(connection, table):
            raise Conflict(f"The catalogue is not empty: it has rows of {table.name}.", code="catalogue_not_empty")
    with _open(path) as source:
        lines = _read_lines(open_document(source, secret, public_key))
        try:
            pem = str(next(lines)["node_key"]).encode()
            count = sum(rows.load(connection, table, batch) for table, batch in _by_table(lines, tables))
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise FootageRefused("The backup cannot be read.", code="document_broken") from error
    rows.after_loading(connection)
    return count, pem


def _by_table(
    lines: Iterator[dict[str, Any]], tables: dict[str, Table]
) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """Runs of rows of one table. One that this version does not know is left out."""
    run: list[dict[str, Any]] = []
    name = ""
    for line in lines:
        if line["table"] != name or len(run) >= 5000:
            if run and name in tables:
                yield tables[name], run
            name, run = line["table"], []
        run.append(line["row"])
    if run and name in tables:
        yield tables[name], run


def _read_lines(pieces: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    unpacker = zlib.decompressobj()
    waiting = b""
    for piece in pieces:
        *whole, waiting = (waiting + unpacker.decompress(piece)).split(b"\n")
        for line in whole:
            yield json.loads(line)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise SettingsError(f"The backup {path} cannot be read: {error.strerror}.") from error
