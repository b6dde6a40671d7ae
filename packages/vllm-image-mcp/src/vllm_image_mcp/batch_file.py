"""Read batch files row by row, as the core does, for the commands that take one."""

from vllm_image_core.batch_file import FORMATS, NOT_UTF8, Row, UnreadableFile, format_of, rows

__all__ = ["FORMATS", "NOT_UTF8", "Row", "UnreadableFile", "format_of", "rows"]
