"""Encode a form with files as a multipart body (RFC 7578)."""

import secrets
from collections.abc import Sequence

from vllm_omni_client.uploads import Upload

_BOUNDARY_BYTES = 16


def multipart(form: Sequence[tuple[str, str]], uploads: Sequence[Upload]) -> tuple[str, bytes]:
    """Return the content type and the body; field and file names never come from the caller."""
    boundary = secrets.token_hex(_BOUNDARY_BYTES)
    parts: list[bytes] = []
    for name, text in form:
        parts += [_head(boundary, f'name="{name}"'), text.encode(), b"\r\n"]
    for number, upload in enumerate(uploads):
        disposition = f'name="{upload.field}"; filename="{upload.field}_{number}.{upload.format}"'
        parts += [_head(boundary, disposition, f"image/{upload.format}"), upload.content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def _head(boundary: str, disposition: str, content_type: str | None = None) -> bytes:
    kind = f"content-type: {content_type}\r\n" if content_type else ""
    return f"--{boundary}\r\ncontent-disposition: form-data; {disposition}\r\n{kind}\r\n".encode()
