"""The tables of a folder's index: which pictures there are, and how they were made."""

from typing import Final

from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.files.database import DamagedDatabase, Schema

__all__ = ["INDEX", "DamagedIndex"]


class DamagedIndex(DamagedDatabase, IndexUnavailable):
    """The index is no SQLite database any more; it is made anew from the pictures."""


_MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE picture (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            bytes INTEGER NOT NULL,
            modified_ns INTEGER NOT NULL,
            created INTEGER NOT NULL,
            width INTEGER,
            height INTEGER,
            key TEXT,
            prompt TEXT,
            negative_prompt TEXT,
            model TEXT,
            seed INTEGER,
            num_inference_steps INTEGER,
            guidance_scale REAL,
            seconds REAL,
            batch TEXT,
            tag TEXT
        )
        """,
        "CREATE INDEX picture_created ON picture (created, id) WHERE width IS NOT NULL",
        "CREATE INDEX picture_key ON picture (key)",
        "CREATE INDEX picture_model ON picture (model, created)",
        "CREATE INDEX picture_seed ON picture (seed)",
        "CREATE INDEX picture_size ON picture (width, height, created)",
        "CREATE INDEX picture_batch ON picture (batch, created)",
        "CREATE INDEX picture_tag ON picture (tag, created)",
        "CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER)",
    ),
    (
        "ALTER TABLE picture ADD COLUMN position INTEGER",
        "CREATE INDEX picture_position ON picture (batch, position) WHERE position IS NOT NULL",
    ),
    (
        "ALTER TABLE picture ADD COLUMN operation TEXT",
        # Files that were written at another time than is known here are read again.
        "UPDATE picture SET modified_ns = 0",
    ),
)
"""`width` is NULL for a file that is no picture, `created` is in seconds since 1970, `modified_ns` in
nanoseconds. An `id` is never used twice. `position` is the picture's place in its batch, from 0. `operation`
is "edit", or NULL for a picture that was made from a text.
"""

INDEX: Final = Schema(
    file="index.sqlite3",
    name="index",
    tables=("picture", "state"),
    migrations=_MIGRATIONS,
    unavailable=IndexUnavailable,
    damaged=DamagedIndex,
    cache_kib=32_768,  # the pages that 5,000 new pictures change
)
"""The index of a folder: made from the pictures' files, and made anew when it is lost."""
