"""A request's body to disk, under limits that are enforced while it is read.

Starlette's form parser keeps fields in memory and its ``max_part_size`` does not cover files; so the same parser
(python-multipart) is driven here directly. Whatever Content-Length says, bytes are counted as they come.
"""

import asyncio
import contextlib
import hashlib
import secrets
import shutil
import time
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from console.errors import BadUpload, DiskFull, TooLarge, UnsupportedMedia, UploadTimeout
from console.settings import ConsoleSettings

_FLUSH_BYTES = 256 * 1024
_MAX_NAME = 255


@dataclass(slots=True)
class StoredFile:
    """A file of the request, on disk under a name of ours."""

    path: Path
    filename: str
    """As the sender named it, for people alone."""
    size_bytes: int = 0
    sha256: str = ""


@dataclass(slots=True)
class Received:
    """A request's body. ``discard`` removes files that nobody took."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[StoredFile] = field(default_factory=list)

    def discard(self) -> None:
        """Removes the files that are still where they were received."""
        for file in self.files:
            file.path.unlink(missing_ok=True)


async def receive(request: Request, settings: ConsoleSettings) -> Received:
    """Streams the body to ``settings.uploads_dir``; on any error nothing is left there.

    Raises:
        BadUpload, TooLarge, UploadTimeout, UnsupportedMedia, DiskFull
    """
    declared = _declared_bytes(request)
    if declared > settings.max_batch_bytes:
        raise _body_too_large(settings)
    await run_in_threadpool(_check_disk, settings, declared)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    received = Received()
    sink = _Sink(received, settings)
    try:
        if kind == b"multipart/form-data":
            boundary = options.get(b"boundary")
            if not boundary or len(boundary) > 200:
                raise BadUpload(
                    "the multipart body names no usable boundary in its Content-Type; let your HTTP library make it"
                )
            form = _Form(boundary, sink, settings)
            async for chunk in _chunks(request, settings):
                form.write(chunk)
                await sink.flush_if_due()
            form.close()
        elif kind == b"application/octet-stream" or kind.startswith((b"video/", b"image/")):
            sink.begin(_name_of(request))
            async for chunk in _chunks(request, settings):
                sink.write(chunk)
                await sink.flush_if_due()
            sink.end()
        else:
            raise UnsupportedMedia(
                f"the body is {kind.decode('latin-1')[:80] or 'of no declared type'}; send multipart/form-data with a field "
                "'file', or the file itself as application/octet-stream, video/* or image/*"
            )
        await sink.flush()
    except BaseException:
        sink.abandon()
        received.discard()
        raise
    if not received.files:
        raise BadUpload("the request holds no file; send it in a multipart field named 'file', or as the body")
    return received


def clean_name(name: str) -> str:
    """What people see of a sender's file name: no folders, no control characters, at most 255 characters."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cs")).strip()
    if len(name) > _MAX_NAME:
        stem, dot, suffix = name.rpartition(".")
        name = f"{stem[: _MAX_NAME - 9]}.{suffix}" if dot and len(suffix) <= 8 else name[:_MAX_NAME]
    return name if name.strip(". ") else "unnamed"


def _declared_bytes(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _check_disk(settings: ConsoleSettings, coming_bytes: int = 0) -> None:
    free = shutil.disk_usage(settings.uploads_dir).free
    if free - coming_bytes < settings.min_free_disk_bytes:
        raise DiskFull(
            f"{free} bytes are free where uploads are kept, {coming_bytes} more are announced, and {settings.min_free_disk_bytes} "
            "must stay free (UNMASK_CONSOLE_MIN_FREE_DISK_BYTES); delete results or give the console a larger disk"
        )


def _body_too_large(settings: ConsoleSettings) -> TooLarge:
    return TooLarge(
        f"the request has more than {settings.max_batch_bytes} bytes, the limit of one request "
        "(UNMASK_CONSOLE_MAX_BATCH_BYTES); send the files one by one"
    )


def _name_of(request: Request) -> str:
    given = request.query_params.get("filename")
    if given is None:
        _, options = parse_options_header(request.headers.get("content-disposition", ""))
        given = options.get(b"filename", b"").decode("utf-8", "replace")
    return clean_name(given)


async def _chunks(request: Request, settings: ConsoleSettings) -> AsyncIterator[bytes]:
    """The body as it comes, with limits on its bytes, its silences and its time."""
    deadline = time.monotonic() + settings.upload_total_s
    stream = request.stream()
    count = 0
    while True:
        left_s = deadline - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(settings.upload_idle_s, left_s))):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadTimeout(
                f"no bytes came for {settings.upload_idle_s:g} s, or the upload took {settings.upload_total_s:g} s in all "
                "(UNMASK_CONSOLE_UPLOAD_IDLE_S, _UPLOAD_TOTAL_S); look at the connection and send it again"
            ) from None
        except ClientDisconnect:
            raise BadUpload(f"the connection ended after {count} bytes; send the file again") from None
        count += len(chunk)
        if count > settings.max_batch_bytes:
            raise _body_too_large(settings)
        if chunk:
            yield chunk


class _Sink:
    """Files of one request. Bytes gather in memory to a quarter of a MB and are written, and hashed, in a thread."""

    def __init__(self, received: Received, settings: ConsoleSettings) -> None:
        self._received = received
        self._settings = settings
        self._pending: list[tuple[int, bytes]] = []
        self._pending_bytes = 0
        self._open: IO[bytes] | None = None
        self._open_index = -1
        self._digest = hashlib.sha256()

    def begin(self, filename: str) -> None:
        files = self._received.files
        if len(files) >= self._settings.max_batch_files:
            raise TooLarge(
                f"the request holds more than {self._settings.max_batch_files} files, the limit of one request "
                "(UNMASK_CONSOLE_MAX_BATCH_FILES); send several requests"
            )
        path = self._settings.uploads_dir / f"{secrets.token_hex(12)}.part"
        files.append(StoredFile(path=path, filename=filename))

    def write(self, data: bytes) -> None:
        file = self._received.files[-1]
        file.size_bytes += len(data)
        if file.size_bytes > self._settings.max_upload_bytes:
            raise TooLarge(
                f"{file.filename} has more than {self._settings.max_upload_bytes} bytes, the limit of one file "
                "(UNMASK_CONSOLE_MAX_UPLOAD_BYTES); cut or compress it, or raise the limit"
            )
        self._pending.append((len(self._received.files) - 1, data))
        self._pending_bytes += len(data)

    def end(self) -> None:
        # An empty file is a file, too: it is written so that probing says what is wrong with it.
        self._pending.append((len(self._received.files) - 1, b""))

    async def flush_if_due(self) -> None:
        if self._pending_bytes >= _FLUSH_BYTES:
            await self.flush(final=False)

    async def flush(self, *, final: bool = True) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        await run_in_threadpool(self._store, pending, final)

    def _store(self, pending: list[tuple[int, bytes]], final: bool) -> None:
        # Again and again: the length may not have been announced, and others upload at the same time.
        _check_disk(self._settings)
        try:
            for index, data in pending:
                if index != self._open_index:
                    self._finish()
                    self._open = self._received.files[index].path.open("xb")
                    self._open_index = index
                    self._digest = hashlib.sha256()
                assert self._open is not None
                self._open.write(data)
                self._digest.update(data)
            if final:
                self._finish()
        except OSError as error:
            raise DiskFull(f"the upload could not be written ({error.strerror}); make room and send it again") from error

    def _finish(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
            self._received.files[self._open_index].sha256 = self._digest.hexdigest()

    def abandon(self) -> None:
        if self._open is not None:
            with contextlib.suppress(
                OSError
            ):  # what it still holds in memory cannot be written to a full disk, and need not be
                self._open.close()
            self._open = None


class _Form:
    """Sorts a multipart body into fields and files as it comes."""

    def __init__(self, boundary: bytes, sink: _Sink, settings: ConsoleSettings) -> None:
        self._sink = sink
        self._settings = settings
        self._received = sink._received
        self._count = 0
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._field: str | None = None
        self._value = bytearray()
        self._ended = False
        callbacks: Any = {
            "on_part_begin": self._part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except MultipartParseError as error:
            raise BadUpload(f"the multipart body cannot be read: {error}") from error

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise BadUpload(f"the multipart body cannot be read: {error}; let your HTTP library make it") from error

    def close(self) -> None:
        if not self._ended:
            raise BadUpload("the multipart body ends before its last boundary; it was cut off: send it again")

    def _part_begin(self) -> None:
        self._count += 1
        if self._count > self._settings.max_fields + self._settings.max_batch_files:
            raise TooLarge(
                f"the request has more than {self._settings.max_fields} fields beside its files, the limit "
                "(UNMASK_CONSOLE_MAX_FIELDS); send the options that the documentation names"
            )
        self._header_name, self._header_value, self._disposition = b"", b"", b""
        self._field = None
        self._value = bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" in options or options.get(b"name") == b"file":
            self._sink.begin(clean_name(options.get(b"filename", b"").decode("utf-8", "replace")))
        else:
            if len(self._received.fields) >= self._settings.max_fields:
                raise TooLarge(
                    f"the request has more than {self._settings.max_fields} fields beside its files, the limit "
                    "(UNMASK_CONSOLE_MAX_FIELDS); send the options that the documentation names"
                )
            self._field = options.get(b"name", b"").decode("utf-8", "replace")[:64]

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._sink.write(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > self._settings.max_field_bytes:
            raise TooLarge(
                f"the field {self._field!r} has more than {self._settings.max_field_bytes} bytes, the limit of a field that is "
                "no file (UNMASK_CONSOLE_MAX_FIELD_BYTES); send files in a field named 'file'"
            )

    def _part_end(self) -> None:
        if self._field is None:
            self._sink.end()
        else:
            self._received.fields[self._field] = self._value.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self._ended = True
