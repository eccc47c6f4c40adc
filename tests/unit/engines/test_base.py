from __future__ import annotations

import numpy as np

from ilk.engines.base import ChunkedEngine


def test_chunks_add_up_to_the_whole_batch():
    class Sums(ChunkedEngine):
        name = "sums"
        chunk = 3

        def run_chunk(self, pixels):
            assert len(pixels) <= 3
            assert pixels.flags["C_CONTIGUOUS"]
            total = pixels.reshape(len(pixels), -1).sum(axis=1, keepdims=True, dtype=np.float32)
            return [total * 0, total, -total]

    pixels = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)[:, ::-1]
    features, logits = Sums().run(pixels)
    np.testing.assert_array_equal(logits[:, 0], pixels.reshape(8, -1).sum(axis=1))
    np.testing.assert_array_equal(features, -logits)
