"""Files behind signed links: what experiments are made from and what they give."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import IO, Annotated, TypeAlias

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.answers import declared
from aihwjax.server.faces.calling import core_of

router = APIRouter(prefix="/files", tags=["files"])

ArtefactId: TypeAlias = Annotated[str, Path(alias="id", max_length=64, description="From the link.")]
Expires: TypeAlias = Annotated[str, Query(max_length=20, description="From the link: when it ends.")]
Signature: TypeAlias = Annotated[str, Query(max_length=128, description="From the link.")]
Limit: TypeAlias = Annotated[str, Query(max_length=20, description="From the link.")]

_BYTES = "application/octet-stream"
_BINARY = {"type": "string", "format": "binary"}
_IN_MEMORY = 1 << 20
_BLOCK = 1 << 20


@router.put(
    "/{id}",
    status_code=204,
    responses=declared(403, 404, 408, 409, 422, 507),
    openapi_extra={"requestBody": {"required": True, "content": {_BYTES: {"schema": _BINARY}}}},
)
async def put(
    artefact_id: ArtefactId, expires: Expires, signature: Signature, limit: Limit, request: Request
) -> Response:
    """Store a file under a signed link. What is cut off leaves nothing; repeating it changes nothing."""
    core = core_of(request)
    query = dict(request.query_params)
    core.check_signature(f"/files/{artefact_id}", "PUT", query)  # before a byte is kept
    length = _length(request)
    # kept here first, so that a slow client holds no thread
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(core.settings.work_dir)) as file:
        try:
            async for chunk in _limited(request, int(query["limit"]), length):
                await run_in_threadpool(file.write, chunk) if len(chunk) > _BLOCK else file.write(chunk)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ServiceError(507, "storage_full", "the server's disk is full, try later", retry_after=60) from None
        file.seek(0)
        await run_in_threadpool(core.receive, artefact_id, query, _chunks(file), length)
    return Response(status_code=204)


@router.head("/{id}", include_in_schema=False)
@router.get(
    "/{id}",
    response_class=Response,
    responses={
        **declared(403, 404, 410, 422),
        200: {"content": {_BYTES: {"schema": _BINARY}}, "description": "The file."},
    },
)
def get(artefact_id: ArtefactId, expires: Expires, signature: Signature, request: Request) -> Response:
    """Send a file of a signed link. No token is needed."""
    found = core_of(request).open_file(artefact_id, dict(request.query_params))
    headers = {
        "Content-Length": str(found.size),
        "Content-Disposition": f'attachment; filename="{artefact_id}"',
        "ETag": f'"{found.sha256}"',
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type=_BYTES)
    return StreamingResponse(found.chunks, headers=headers, media_type=_BYTES)


async def _limited(request: Request, limit: int, length: int | None) -> AsyncIterator[bytes]:
    """Yield the body; refuse one that grows too large, or ends before its announced length."""
    received = 0
    if length is not None and length > limit:
        raise _too_large(limit)
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        yield chunk
    if length is not None and received != length:
        raise ClientDisconnect


def _too_large(limit: int) -> ServiceError:
    return ServiceError(413, "too_large", f"the file is too large: at most {limit} bytes are allowed")


def _length(request: Request) -> int | None:
    text = request.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(_BLOCK), b"")
