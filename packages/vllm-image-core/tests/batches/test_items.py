"""The outcomes of a batch's requests."""

import subprocess
import sys

from vllm_image_core.batches.items import Done, Failed


def test_equal_outcomes_are_equal_and_others_are_not() -> None:
    refused = ValueError("refused")
    assert Done(0, "fox", 1) == Done(0, "fox", 1)
    assert Failed(0, "fox", refused) == Failed(0, "fox", refused)
    assert Done(0, "fox", refused) != Failed(0, "fox", refused)


def test_reading_a_journal_does_not_import_asyncio() -> None:
    code = "import sys, vllm_image_core.batches.journal; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
