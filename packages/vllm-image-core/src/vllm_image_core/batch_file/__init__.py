"""Read batch files: rows of text, CSV or JSON, each checked or refused with its line."""

from vllm_image_core.batch_file.reader import (
    FORMATS,
    NOT_UTF8,
    FileFormat,
    Row,
    UnreadableFile,
    format_of,
    rows,
)

__all__ = ["FORMATS", "NOT_UTF8", "FileFormat", "Row", "UnreadableFile", "format_of", "rows"]
