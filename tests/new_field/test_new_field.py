"""A new field of vLLM-Omni needs a few entries in tables, and then appears everywhere.

This adds one to a copy of the sources, and runs `checks.py` on that copy.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PACKAGES: Final = HERE.parents[1] / "packages"
MOST_FILES: Final = 5

ENTRIES: Final[Mapping[str, Mapping[str, str]]] = {
    "vllm-omni-client/src/vllm_omni_client/models.py": {
        "    flow_shift: float | None = None\n": (
            "    sharpness: float | None = Field(default=None, ge=0, le=1)\n"
        ),
    },
    "vllm-omni-client/src/vllm_omni_client/edits.py": {
        "    strength: float | None = Field(default=None, ge=0, le=1)\n": (
            "    sharpness: float | None = Field(default=None, ge=0, le=1)\n"
        ),
    },
    "vllm-omni-client/src/vllm_omni_client/capabilities.py": {
        '    (0, 30): "output_compression return_stage_metrics': " sharpness",
        '    (0, 26): "guidance_scale_2': " sharpness",
    },
    "vllm-image-core/src/vllm_image_core/requests/fields.py": {
        'recorded as they are; None means "not requested"."""\n': (
            "\n    sharpness: float | None = None\n    user: str | None = None\n"
            "    vae_use_tiling: bool | None = None\n"
        ),
        "    output_format: OutputFormat | None\n": (
            "    sharpness: float | None\n    user: str | None\n    vae_use_tiling: bool | None\n"
        ),
        "REQUEST_FIELDS: Final = (\n": (
            '    RequestField("user", str, "A caller.", wire="user", indexed=True),\n'
            '    RequestField("vae_use_tiling", bool, "Tiling.", wire="vae_use_tiling", indexed=True),\n'
            '    RequestField("sharpness", float, "0 to 1.", wire="sharpness", aliases="crispness", '
            "indexed=True),\n"
        ),
    },
}
"""What is added after which text: a new number, and a text and a switch that the client has already."""


def test_a_field_that_is_added_to_the_tables_appears_everywhere(tmp_path: Path) -> None:
    assert len(ENTRIES) <= MOST_FILES
    sources = [tmp_path / source.relative_to(PACKAGES) for source in PACKAGES.glob("*/src")]
    for source in sources:
        shutil.copytree(
            PACKAGES / source.relative_to(tmp_path), source, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name, entries in ENTRIES.items():
        add_to(tmp_path / name, entries)

    # The copy is gone when coverage is reported, so its lines must not be measured.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "checks.py")],
        check=False,
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
        env={**environment, "PYTHONPATH": os.pathsep.join(map(str, sources)), "SOURCES": str(tmp_path)},
    )

    assert done.returncode == 0, done.stdout + done.stderr


def add_to(file: Path, entries: Mapping[str, str]) -> None:
    text = file.read_text("utf-8")
    for place, entry in entries.items():
        assert text.count(place) == 1, (file, place)
        text = text.replace(place, place + entry)
    file.write_text(text, "utf-8")
