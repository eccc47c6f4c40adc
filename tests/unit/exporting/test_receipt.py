from __future__ import annotations

import json

import numpy as np
import pytest

from ilk.evaluation.comparison import compared
from ilk.exporting.receipt import Receipt


def receipt_of(lost=0, n=500, **changes):
    """A receipt of n pictures, all of which the model names rightly, and the file all but some."""
    right = np.ones(n, bool)
    found = right.copy()
    found[:lost] = False
    given = {"executed": True, "max_probability_difference": 1e-6, "drop": compared(right, found)}
    return Receipt("onnx", "m.onnx", 10, **(given | changes))


def test_what_agrees_is_published():
    assert receipt_of().failed_gate(exact=True, max_drop=0.01) is None


@pytest.mark.parametrize("exact", [True, False])
def test_outputs_that_are_not_finite_never_pass(exact):
    receipt = receipt_of(max_probability_difference=float("nan"))
    assert receipt.failed_gate(exact, 1.0) == "its outputs are not finite"


@pytest.mark.parametrize("difference", [1.1e-3, 1.0])
def test_float32_must_agree_in_each_probability(difference):
    receipt = receipt_of(max_probability_difference=difference)
    assert "more than the 0.001 that rounding explains" in receipt.failed_gate(True, 0.01)
    assert receipt.failed_gate(exact=False, max_drop=0.01) is None


def test_accuracy_may_fall_by_so_much_and_no_more():
    assert receipt_of(lost=5).failed_gate(exact=False, max_drop=0.01) is None
    told = receipt_of(lost=6).failed_gate(exact=False, max_drop=0.01)
    assert told.startswith("its accuracy is 1.2 points below the model's (95 % interval -2.6 to")
    assert told.endswith("n = 500), more than --max-drop 0.01 allows")


def test_few_pictures_cannot_rule_out_a_drop():
    assert receipt_of(n=40, max_probability_difference=0.1).too_few(0.01)
    assert not receipt_of(n=4000, max_probability_difference=0.1).too_few(0.01)


def test_where_each_probability_agrees_there_is_no_drop_to_rule_out():
    assert not receipt_of(n=4).too_few(0.01)


def test_what_was_not_run_says_so():
    receipt = Receipt("coreml", "m.mlpackage", 10, reason="runs on macOS only")
    assert receipt.failed_gate(exact=True, max_drop=0.01) is None
    record = receipt.to_dict()
    assert record["executed"] is False
    assert record["reason"] == "runs on macOS only"
    assert record["accuracy"] is None


def test_the_record_is_json():
    record = json.loads(json.dumps(receipt_of().to_dict()))
    promised = {"format", "path", "sha256", "executed", "max_probability_difference",
                "top1_agreement", "accuracy", "reference_accuracy", "versions"}  # fmt: skip
    assert promised <= set(record)
