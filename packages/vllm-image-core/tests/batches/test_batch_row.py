"""The identity of a batch."""

import pytest
from vllm_image_core.batches.batch_row import BatchId, batch_id


def test_a_batch_id_is_made_of_128_bits() -> None:
    assert batch_id(0) == BatchId("batch_" + 32 * "0")
    assert batch_id((1 << 128) - 1) == BatchId("batch_" + 32 * "f")
    for bits in (-1, 1 << 128):
        with pytest.raises(ValueError, match="128 bits"):
            batch_id(bits)
