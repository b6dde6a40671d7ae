"""The notebook on datasets is executed from its first cell to its last, and is kept with small outputs.

ROUNDS in the environment is how many rounds of 250 prompts it takes: 4 unless it says otherwise; 40 are the
ten thousand that it is kept with.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from server_pair import ServerPair

pytest.importorskip("daft")
pytest.importorskip("ray")
nbclient: Any = pytest.importorskip("nbclient")
nbformat: Any = pytest.importorskip("nbformat")

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "dataset_on_daft_and_ray.ipynb"
ROUNDS = int(os.environ.get("ROUNDS", "4"))
CELL_SECONDS = 900
MOST_BYTES = 200_000


def text_of(notebook: Any) -> str:  # noqa: ANN401 - nbformat has no types
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/jpeg" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    return "".join(output.get("text", "") or output.data.get("text/plain", "") for output in outputs)


def test_the_notebook_is_stored_with_small_outputs() -> None:
    text = text_of(nbformat.read(NOTEBOOK, as_version=4))

    assert "10,100 rows, 10,100 ids, 0 failed" in text
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    assert not [word for word in ("/tmp/", "/root/", "/home/", "object at 0x") if word in text]  # noqa: S108


def test_the_notebook_runs_to_its_end_on_daft_and_ray(
    servers: ServerPair, tmp_path: Path, ray_address: str
) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    [prompts] = [cell for cell in notebook.cells if "range(40)" in cell.source]
    prompts.source = prompts.source.replace("range(40)", f"range({ROUNDS})")
    count = ROUNDS * 250
    first, second = servers.urls
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(tmp_path)}}
    )

    found = {"VLLM_IMAGE_URL": first, "VLLM_IMAGE_URL_2": second, "RAY_ADDRESS": ray_address}
    client.execute(env={**os.environ, **found})

    text = text_of(notebook)
    assert f"{count:,} of {count:,} rows, took" in text
    assert f"{count + 100:,} of {count + 100:,} rows, {count:,} existed, took" in text
    assert f"{count + 100:,} rows, {count + 100:,} ids, 0 failed" in text
    assert servers.generated == count + 100
