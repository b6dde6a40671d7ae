"""Images that look alike have hashes that differ in few bits."""

import random

from PIL import Image
from vllm_image_core.imaging.perceptual_hash import HASH_BITS, NearDuplicates, perceptual_hash


def drawn(seed: int, side: int = 64) -> Image.Image:
    draw = random.Random(seed)
    small = Image.frombytes("RGB", (12, 12), draw.randbytes(3 * 12 * 12))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def test_a_copy_in_another_size_looks_alike_and_another_image_does_not() -> None:
    original, copy, other = (perceptual_hash(each) for each in (drawn(1), drawn(1, 200), drawn(2)))

    assert (original ^ copy).bit_count() <= 4
    assert (original ^ other).bit_count() > 12
    assert max(original, copy, other) < 1 << HASH_BITS


def test_a_near_duplicate_is_found_whichever_bits_differ() -> None:
    draw = random.Random(1)
    for _ in range(50):
        hash_ = draw.getrandbits(HASH_BITS)
        near = hash_ ^ sum(1 << bit for bit in draw.sample(range(HASH_BITS), 3))
        seen = NearDuplicates(3)
        assert seen.add(hash_)
        assert not seen.add(near)


def test_a_hash_that_differs_in_more_bits_is_new() -> None:
    seen = NearDuplicates(3)

    assert seen.add(0)
    assert seen.add(0b1111)
    assert not seen.add(0b0001)


def test_without_a_distance_only_equal_hashes_are_duplicates() -> None:
    seen = NearDuplicates(0)

    assert [seen.add(each) for each in (5, 4, 5)] == [True, True, False]
