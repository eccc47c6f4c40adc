from __future__ import annotations

import numpy as np

from ilk.data.roots import roots


def test_roots_keep_signs_and_have_unit_length():
    features = np.array([[9, -16, 0], [0, 0, 0]], np.float32)
    np.testing.assert_allclose(roots(features), [[0.6, -0.8, 0], [0, 0, 0]], atol=1e-6)
    assert features.tolist() == [[9, -16, 0], [0, 0, 0]]
