from __future__ import annotations

import pytest

from ilk.models.backbones import KNOWN, _from_timm
from ilk.models.weights import PACKAGES, pretrained


@pytest.mark.parametrize("name", KNOWN)
def test_the_table_is_timms_own(name):
    assert _from_timm(name) == KNOWN[name]


@pytest.mark.parametrize("name", PACKAGES)
def test_each_weight_package_loads_and_is_trained(name):
    model, source = pretrained(name)
    assert source == f"package {PACKAGES[name].project}"
    assert sum(p.numel() for p in model.parameters()) == KNOWN[name].parameters
    state = model.state_dict()
    variances = [v for k, v in state.items() if k.endswith("running_var")]
    assert all((v >= 0).all() for v in variances)
    assert all(int(v) >= 0 for k, v in state.items() if k.endswith("num_batches_tracked"))
    assert any((v - 1).abs().max() > 0.1 for v in variances)  # random weights have all ones
