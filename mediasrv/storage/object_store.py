"""The S3-compatible store: a lean data path for objects, the SDK for buckets and listing.

A PUT is signed over its headers, the body's crc32c and `If-None-Match: *` among them, and done only when the
store has answered with that checksum. A PUT whose answer was lost is looked up, so nothing is stored twice.
No method retries: that is for the caller, who knows what else waits. Time is bounded from one step to the next,
not for a whole object: on a thin line a minute of footage takes minutes.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import aiohttp
import google_crc32c
import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from minio.signer import sign_v4_s3
from yarl import URL

from mediasrv.clock import Clock, SystemClock, from_us
from mediasrv.errors import SettingsError, StorageConflict, StorageError
from mediasrv.settings import StorageSettings, read_secret
from mediasrv.storage.throttle import Throttle

log = logging.getLogger(__name__)

T = TypeVar("T")

_LARGE_BYTES: Final = 32 * 1024
_CRC_HEADER: Final = "x-amz-checksum-crc32c"
_LIST_LIMIT: Final = 1000
DELETE_LIMIT: Final = 500
"""Objects in one request to delete; S3 takes 1000."""
_GONE_CODES: Final = {"NoSuchKey", "NoSuchVersion"}
_NO_LOCK_CODES: Final = {"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "NotImplemented"}


class Put(NamedTuple):
    """An object that is stored and verified; `version_id` is None where the bucket has no versions."""

    version_id: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """What the store says of an object; `crc32c` is None where the store keeps none."""

    size_bytes: int
    crc32c: int | None
    version_id: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size_bytes: int
    modified_at: datetime
    version_id: str | None


def crc32c_of(body: Sequence[bytes]) -> int:
    """Castagnoli CRC of buffers, one after the other."""
    crc = 0
    for chunk in body:
        crc = google_crc32c.extend(crc, chunk)
    return crc


class ObjectStore:
    """Use as an asynchronous context manager. All errors are StorageError with a reason code of docs/reasons.md."""

    def __init__(self, settings: StorageSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        endpoint = urlsplit(settings.endpoint)
        if endpoint.scheme not in ("http", "https") or not endpoint.netloc or endpoint.path not in ("", "/"):
            raise SettingsError("storage.endpoint must be http://HOST:PORT or https://HOST, without a path.")
        self._endpoint = endpoint
        self._credentials = self._read_credentials()
        self._throttle = Throttle(settings.upload_kbps * 125.0)
        self.reads_back = False
        """Verifies what is stored by reading it: for a store that keeps no checksums, or only says them back."""
        self.looks_first = False
        """Looks whether an object is there before it stores one: for a store that would overwrite it."""
        self._session: aiohttp.ClientSession | None = None
        self._threads = ThreadPoolExecutor(2, "object-store")
        self._sdk = self._create_sdk()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        self._threads.shutdown(wait=False)

    # --- objects ---------------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        body: Sequence[bytes],
        crc32c: int,
        *,
        bucket: str | None = None,
        locked_until_us: int | None = None,
    ) -> Put:
        """Stores and verifies an object that must not exist yet; `body` is sent buffer by buffer.

        An object of this key with the same checksum is success: an earlier PUT whose answer was lost.
        Its version is locked until `locked_until_us` where that is still to come, in the mode of the settings.
        Raises StorageConflict when one with another checksum is there, StorageError for all else.
        """
        headers = {
            "content-length": str(sum(map(len, body))),
            "content-type": "application/octet-stream",
            "if-none-match": "*",
            "x-amz-sdk-checksum-algorithm": "CRC32C",  # without it some servers do not keep the checksum
            _CRC_HEADER: _encode_crc(crc32c),
        } | self._lock_headers(locked_until_us)
        if self.looks_first and await self.head(key, bucket=bucket) is not None:
            return await self._look_up(key, crc32c, bucket, None)
        try:
            async with self._request("PUT", key, headers, bucket, body=body) as answer:
                if answer.status not in (409, 412):
                    await self._check(answer)
                    if not self.reads_back and answer.headers.get(_CRC_HEADER) == headers[_CRC_HEADER]:
                        return Put(answer.headers.get("x-amz-version-id"))
        except StorageError as error:
            if error.code not in ("storage_unreachable", "storage_timeout"):
                raise
            return await self._look_up(key, crc32c, bucket, error)
        return await self._look_up(key, crc32c, bucket, None)

    async def replace(self, key: str, body: bytes, crc32c: int, *, bucket: str | None = None) -> None:
        """Stores an object in place of whatever is there, for a bucket without versions. Raises StorageError."""
        headers = {
            "content-length": str(len(body)),
            "content-type": "application/octet-stream",
            "x-amz-sdk-checksum-algorithm": "CRC32C",
            _CRC_HEADER: _encode_crc(crc32c),
        }
        async with self._request("PUT", key, headers, bucket, body=[body]) as answer:
            await self._check(answer)
            if not self.reads_back and answer.headers.get(_CRC_HEADER) == headers[_CRC_HEADER]:
                return
        if await self.get(key, bucket=bucket) != body:
            raise StorageError(f"The store has something else at {key} than it was given.", code="storage_failed")

    async def get_range(
        self, key: str, first: int, length: int, *, version_id: str | None = None, bucket: str | None = None
    ) -> bytes:
        """`length` bytes from offset `first`; fewer only raises StorageError `object_truncated`."""
        headers = {"range": f"bytes={first}-{first + length - 1}"}
        async with self._request("GET", key, headers, bucket, version_id) as answer:
            await self._check(answer)
            data = await answer.read()
        if len(data) != length:
            raise StorageError(f"Object {key} is shorter than its catalogue row says.", code="object_truncated")
        return data

    async def get(self, key: str, *, bucket: str | None = None) -> bytes:
        """A whole small object."""
        async with self._request("GET", key, {}, bucket) as answer:
            await self._check(answer)
            return await answer.read()

    async def head(self, key: str, *, version_id: str | None = None, bucket: str | None = None) -> Head | None:
        """None when there is no such object."""
        headers = {"x-amz-checksum-mode": "ENABLED"}
        async with self._request("HEAD", key, headers, bucket, version_id) as answer:
            if answer.status == 404:
                return None
            await self._check(answer)
            crc = answer.headers.get(_CRC_HEADER)
            size = int(answer.headers.get("content-length", "0"))
            return Head(size, None if crc is None else _decode_crc(crc), answer.headers.get("x-amz-version-id"))

    async def delete(self, key: str, version_id: str | None = None, *, bucket: str | None = None) -> None:
        """Deletes that version; one that is gone already is success. A locked one raises `storage_refused`."""
        async with self._request("DELETE", key, {}, bucket, version_id) as answer:
            if answer.status != 404:
                await self._check(answer)

    async def delete_many(self, objects: Sequence[tuple[str, str | None]]) -> list[StorageError | None]:
        """Deletes (key, version) pairs of the bucket of recordings, DELETE_LIMIT in a request, the requests in
        parallel: for each pair what went wrong. What is gone already is success.
        """
        requests = [objects[first : first + DELETE_LIMIT] for first in range(0, len(objects), DELETE_LIMIT)]
        answers = await asyncio.gather(*(self._delete_some(some) for some in requests))
        return [outcome for answer in answers for outcome in answer]

    async def _delete_some(self, objects: Sequence[tuple[str, str | None]]) -> list[StorageError | None]:
        doomed = [DeleteObject(key, version_id) for key, version_id in objects]
        try:
            refused = await self._call(lambda: list(self._sdk.remove_objects(self._settings.bucket, doomed)))
        except StorageError as error:
            return [error] * len(objects)
        errors = {
            one.name: StorageError(f"The object store answered {one.code}.", code=_code_of(0, one.code or ""))
            for one in refused
            if one.code not in _GONE_CODES
        }
        return [errors.get(key) for key, _ in objects]

    async def set_legal_hold(self, key: str, version_id: str | None, on: bool) -> None:
        """Of a version in the bucket of recordings, which must lock objects. One that is gone is no error."""
        change = self._sdk.enable_object_legal_hold if on else self._sdk.disable_object_legal_hold
        try:
            await self._call(lambda: change(self._settings.bucket, key, version_id))
        except StorageError as error:
            if error.code != "object_missing":
                raise

    async def list(self, prefix: str = "", *, after: str = "", bucket: str | None = None) -> AsyncIterator[Listed]:
        """All objects (all versions where the bucket has them) below a prefix and with keys beyond `after`, a page at a
        time in a thread.
        """
        name = bucket or self._settings.bucket
        versioned = await self._call(lambda: self._sdk.get_bucket_versioning(name).status == "Enabled")
        items = self._sdk.list_objects(
            name, prefix, recursive=True, start_after=after or None, include_version=versioned
        )
        while page := await self._call(lambda: _take(items, _LIST_LIMIT)):
            for item in page:
                yield item

    # --- buckets ---------------------------------------------------------------------------------

    async def ensure_buckets(self) -> None:
        """Makes the two buckets where they are missing.

        Raises SettingsError when the key bucket keeps versions or locks objects: a destroyed key must be gone.
        """
        locks = self._settings.object_lock != "off"
        await self._call(lambda: self._ensure(self._settings.bucket, locks))
        await self._call(lambda: self._ensure(self._settings.key_bucket, False))
        await self._call(self._refuse_lasting_keys)

    def _ensure(self, bucket: str, locks: bool) -> None:
        if not self._sdk.bucket_exists(bucket):
            self._sdk.make_bucket(bucket, self._settings.region, object_lock=locks)

    def _refuse_lasting_keys(self) -> None:
        bucket = self._settings.key_bucket
        if self._sdk.get_bucket_versioning(bucket).status in ("Enabled", "Suspended") or self._locks(bucket):
            raise SettingsError(
                f"storage.key_bucket {bucket!r} has versioning or Object Lock: a destroyed key would live on in it.",
                code="key_bucket_keeps",
            )

    def _locks(self, bucket: str) -> bool:
        try:
            self._sdk.get_object_lock_config(bucket)
        except S3Error as error:
            if error.code in _NO_LOCK_CODES:
                return False
            raise
        return True

    # --- inside ----------------------------------------------------------------------------------

    def _lock_headers(self, until_us: int | None) -> dict[str, str]:
        if until_us is None or self._settings.object_lock == "off" or until_us <= self._clock.wall_us():
            return {}
        return {
            "x-amz-object-lock-mode": self._settings.object_lock.upper(),
            "x-amz-object-lock-retain-until-date": from_us(until_us).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    async def _look_up(self, key: str, crc32c: int, bucket: str | None, lost: StorageError | None) -> Put:
        """Whether a PUT without a usable answer has stored the object after all."""
        found = await self.head(key, bucket=bucket)
        if found is None:
            raise lost or StorageError(f"The store took object {key} but does not have it.", code="storage_failed")
        stored = (
            await self.read_crc(key, version_id=found.version_id, bucket=bucket) if self.reads_back else found.crc32c
        )
        if stored is None:
            raise StorageError("The store keeps no crc32c checksums: nothing can be verified.", code="storage_failed")
        if stored != crc32c:
            raise StorageConflict(f"Another object lies at {key}.")
        return Put(found.version_id)

    async def read_crc(self, key: str, *, version_id: str | None = None, bucket: str | None = None) -> int:
        """The crc32c of an object's bytes as they are read now, whatever the store says of them."""
        crc = 0
        async with self._request("GET", key, {}, bucket, version_id) as answer:
            await self._check(answer)
            async for data in answer.content.iter_any():
                crc = google_crc32c.extend(crc, data)
        return crc

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        key: str,
        headers: dict[str, str],
        bucket: str | None,
        version_id: str | None = None,
        body: Sequence[bytes] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        path = f"/{bucket or self._settings.bucket}/{quote(key)}"
        query = f"versionId={quote(version_id, safe='')}" if version_id else ""
        url = self._endpoint._replace(path=path, query=query)
        signed = self._sign(method, url, headers)
        step_s = self._settings.request_timeout_s
        timeout = aiohttp.ClientTimeout(total=None, connect=5.0, sock_read=None if body else step_s)
        try:
            async with (
                asyncio.timeout(step_s if body else None) as step,
                self._http().request(
                    method,
                    URL(url.geturl(), encoded=True),
                    headers=signed,
                    data=self._upload(body, step) if body else None,
                    timeout=timeout,
                ) as answer,
            ):
                yield answer
        except TimeoutError as error:
            raise StorageError("The object store did not answer in time.", code="storage_timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            raise StorageError("The object store is not reached.", code="storage_unreachable") from error

    async def _upload(self, body: Sequence[bytes], step: asyncio.Timeout) -> AsyncIterator[bytes]:
        """The body; the time that a step may take begins anew whenever the connection has taken a piece of it."""
        now_s = asyncio.get_running_loop().time
        async for piece in _chunks(body):
            step.reschedule(None)
            await self._throttle.take(len(piece))
            step.reschedule(now_s() + self._settings.request_timeout_s)
            yield piece

    def _sign(self, method: str, url: SplitResult, headers: dict[str, str]) -> dict[str, str]:
        now = from_us(self._clock.wall_us())
        signed: dict[str, Any] = headers | {
            "host": url.netloc,
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        }
        sign_v4_s3(
            method=method,
            url=url,
            region=self._settings.region,
            headers=signed,
            credentials=self._credentials,
            content_sha256="UNSIGNED-PAYLOAD",
            date=now,
        )
        return signed

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status < 300:
            return
        text = (await answer.content.read(4096)).decode("utf-8", "replace")
        name = text.partition("<Code>")[2].partition("</Code>")[0][:60] or str(answer.status)
        raise self._answered(answer.status, name)

    def _answered(self, status: int, name: str) -> StorageError:
        code = _code_of(status, name)
        if code == "storage_refused":
            self._renew_credentials()
        return StorageError(f"The object store answered {name}.", code=code)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=2 * self._settings.parallel_uploads + 16)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session

    def _read_credentials(self) -> Credentials:
        settings = self._settings
        return Credentials(read_secret(settings.access_key), read_secret(settings.secret_key))

    def _renew_credentials(self) -> None:
        """The store has refused us: they may have been exchanged where they are read from."""
        try:
            fresh = self._read_credentials()
        except SettingsError as error:
            log.warning("the credentials of the object store cannot be read again: %s", error.sentence)
            return
        known = self._credentials
        if (fresh.access_key, fresh.secret_key) != (known.access_key, known.secret_key):
            log.info("the credentials of the object store were exchanged")
            self._credentials = fresh
            self._sdk = self._create_sdk()

    def _create_sdk(self) -> Minio:
        pool = urllib3.PoolManager(timeout=self._settings.request_timeout_s, retries=urllib3.Retry(0), maxsize=4)
        return Minio(
            self._endpoint.netloc,
            access_key=self._credentials.access_key,
            secret_key=self._credentials.secret_key,
            secure=self._endpoint.scheme == "https",
            region=self._settings.region,
            http_client=pool,
        )

    async def _call(self, call: Callable[[], T]) -> T:
        """An SDK call in a thread, its errors as ours."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except S3Error as error:
            raise self._answered(0, error.code or "") from error
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise StorageError("The object store is not reached.", code="storage_unreachable") from error


def _code_of(status: int, name: str) -> str:
    if name in ("NoSuchKey", "NoSuchVersion"):
        return "object_missing"
    if status == 416 or name == "InvalidRange":
        return "object_truncated"
    if status == 507 or name in ("InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "EntityTooLarge"):
        return "storage_full"
    if status in (401, 403) or name in ("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "NoSuchBucket"):
        return "storage_refused"
    return "storage_failed"


async def _chunks(body: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Large buffers as they are, small ones gathered: a write for each of those would cost more than copying them."""
    gathered: list[bytes] = []
    size = 0
    for buffer in body:
        if len(buffer) >= _LARGE_BYTES:
            if gathered:
                yield b"".join(gathered)
                gathered, size = [], 0
            yield buffer
            continue
        gathered.append(buffer)
        size += len(buffer)
        if size >= _LARGE_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _take(items: Iterator[Any], count: int) -> list[Listed]:
    page = []
    for item in items:
        if not item.is_delete_marker:
            page.append(Listed(item.object_name, item.size, item.last_modified, item.version_id))
        if len(page) == count:
            break
    return page


def _encode_crc(crc32c: int) -> str:
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()


def _decode_crc(text: str) -> int:
    return int.from_bytes(base64.b64decode(text), "big")
