"""``/v1/files``: datasets for fine-tuning, as OpenAI's clients send them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from npu_jupyter.access import allowed
from npu_jupyter.errors import InvalidRequest, UnsupportedMediaType, UnsupportedParameter
from npu_jupyter.finetune.handlers import JobHandler
from npu_jupyter.finetune.uploads import Upload, Uploads
from npu_jupyter.v1.pages import page

PURPOSE = "fine-tune"
_MULTIPART = "multipart/form-data"


class FileHandler(JobHandler):
    """What the calls about files share: each caller has his own."""

    @property
    def uploads(self) -> Uploads:
        """The caller's files."""
        return Uploads(self.engine.registry.root, self.owner)


class FilesHandler(FileHandler):
    """Takes files in, and lists them."""

    route = "/v1/files"

    @allowed("read", "npu:finetune")
    async def get(self) -> None:
        """List the caller's files, the newest first, or the oldest with ``order=asc``."""
        files = await asyncio.to_thread(self.uploads.all)
        if self.get_query_argument("order", "desc") != "asc":
            files.reverse()
        if self.get_query_argument("purpose", PURPOSE) != PURPOSE:
            files = []
        told = page(self, [_described(file) for file in files], default_limit=10_000)
        self.finish(msgspec.json.encode(told))

    @allowed("write", "npu:finetune")
    async def post(self) -> None:
        """Keep a file; whether its rows are good is found when a job is started with it."""
        content_type = self.request.headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() != _MULTIPART:
            raise UnsupportedMediaType(
                f"A file is sent as {_MULTIPART} with the fields file and purpose, not as "
                f"{content_type!r}."
            )
        self.refuse_foreign_form()
        purpose = self.get_body_argument("purpose", "")
        if purpose != PURPOSE:
            raise InvalidRequest(
                f"purpose must be {PURPOSE!r}, not {purpose[:40]!r}.", param="purpose"
            )
        if any(name.startswith("expires_after") for name in self.request.body_arguments):
            raise UnsupportedParameter(
                "expires_after is not supported: files stay until they are deleted.",
                param="expires_after",
            )
        files = self.request.files.get("file", [])
        if len(files) != 1:
            raise InvalidRequest("file is required: one file.", param="file")
        self.extensionapp.datasets.check_size(len(files[0].body))
        upload = await asyncio.to_thread(self.uploads.add, files[0].filename, files[0].body)
        self.finish(msgspec.json.encode(_described(upload)))


class OneFileHandler(FileHandler):
    """Tells of one file, and deletes it."""

    route = "/v1/files/{id}"

    @allowed("read", "npu:finetune")
    async def get(self, file_id: str) -> None:
        """Describe a file."""
        upload = await asyncio.to_thread(self.uploads.get, file_id)
        self.finish(msgspec.json.encode(_described(upload)))

    @allowed("write", "npu:finetune")
    async def delete(self, file_id: str) -> None:
        """Delete a file; jobs keep the rows that they took from it."""
        await asyncio.to_thread(self.uploads.remove, file_id)
        told = {"id": file_id, "object": "file", "deleted": True}
        self.finish(msgspec.json.encode(told))


class ContentHandler(FileHandler):
    """Gives a file back."""

    route = "/v1/files/{id}/content"

    @allowed("read", "npu:finetune")
    async def get(self, file_id: str) -> None:
        """Send what was sent."""
        upload = await asyncio.to_thread(self.uploads.get, file_id)
        content = await asyncio.to_thread(upload.path.read_bytes)
        self.finish(content, set_content_type="application/octet-stream")


def _described(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "object": "file",
        "bytes": upload.size_bytes,
        "created_at": upload.created,
        "filename": upload.name,
        "purpose": PURPOSE,
        "status": "processed",
    }
