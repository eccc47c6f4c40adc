from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from ilk.errors import DataError

NAMES = ("ant", "bee", "cat", "dog", "eel")


def answers(seed, n=200, true=NAMES, predicted=NAMES):
    rng = np.random.default_rng(seed)
    labels = [true[i] for i in rng.integers(0, len(true), n)]
    guesses = np.array([NAMES.index(predicted[i]) for i in rng.integers(0, len(predicted), n)])
    lucky = rng.random(n) < 0.5
    known = [NAMES.index(label) if label in NAMES else 0 for label in labels]
    return labels, np.where(lucky, known, guesses)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(evaluated, seed):
    labels, predicted = answers(seed)
    names = [NAMES[k] for k in predicted]
    found = evaluated(labels, predicted, NAMES)
    assert found.accuracy.value == pytest.approx(sk.accuracy_score(labels, names))
    assert found.balanced_accuracy.value == pytest.approx(sk.balanced_accuracy_score(labels, names))
    assert found.macro_f1.value == pytest.approx(sk.f1_score(labels, names, average="macro"))
    assert found.confusion.tolist() == sk.confusion_matrix(labels, names, labels=NAMES).tolist()
    reference = sk.classification_report(labels, names, output_dict=True, zero_division=0)
    for name in NAMES:
        own = found.per_class[name]
        assert own["precision"] == pytest.approx(reference[name]["precision"])
        assert own["recall"] == pytest.approx(reference[name]["recall"])
        assert own["f1"] == pytest.approx(reference[name]["f1-score"])
        assert own["support"] == reference[name]["support"]


def test_classes_that_the_data_lacks_are_named_and_not_in_the_averages(evaluated):
    labels, predicted = answers(1, true=NAMES[:3])
    names = [NAMES[k] for k in predicted]
    found = evaluated(labels, predicted, NAMES)
    assert found.missing == ("dog", "eel")
    reference = sk.f1_score(labels, names, average="macro", labels=NAMES[:3])
    assert found.macro_f1.value == pytest.approx(reference)
    recall = sk.recall_score(labels, names, average="macro", labels=NAMES[:3])
    assert found.balanced_accuracy.value == pytest.approx(recall)


def test_unknown_labels_are_counted_by_name_and_not_scored(evaluated):
    labels, predicted = answers(2, true=(*NAMES, "fox", "gnu"))
    found = evaluated(labels, predicted, NAMES)
    assert found.unknown == {"fox": labels.count("fox"), "gnu": labels.count("gnu")}
    assert found.n == found.accuracy.n == len(labels) - sum(found.unknown.values())
    kept = [i for i, label in enumerate(labels) if label in NAMES]
    right = np.mean([labels[i] == NAMES[predicted[i]] for i in kept])
    assert found.accuracy.value == pytest.approx(right)


def test_labels_are_matched_by_name_whatever_the_order_of_the_classes(evaluated):
    labels, predicted = answers(3)
    order = [3, 1, 4, 0, 2]
    classes = tuple(NAMES[k] for k in order)
    again = evaluated(labels, np.array([order.index(k) for k in predicted]), classes)
    assert again.accuracy == evaluated(labels, predicted, NAMES).accuracy
    assert again.per_class["bee"] == evaluated(labels, predicted, NAMES).per_class["bee"]


def test_no_overlap_is_refused_naming_both_sides(evaluated):
    with pytest.raises(DataError, match=r"fox.*ant, bee"):
        evaluated(["fox", "gnu"], np.array([0, 1]), NAMES)


def test_most_confused_lists_mistakes_by_number(evaluated):
    labels = ["ant"] * 5 + ["bee"] * 4
    found = evaluated(labels, np.array([1, 1, 1, 0, 0, 2, 1, 1, 0]), NAMES)
    assert found.most_confused == [
        {"true": "ant", "predicted": "bee", "count": 3},
        {"true": "bee", "predicted": "ant", "count": 1},
        {"true": "bee", "predicted": "cat", "count": 1},
    ]


def test_the_record_has_the_keys_that_scripts_rely_on(evaluated):
    record = json.loads(json.dumps(evaluated(*answers(4), NAMES).to_dict()))
    keys = ["model", "data", "split", "n", "classes", "accuracy", "balanced_accuracy", "macro_f1"]
    assert list(record)[:10] == [*keys, "per_class", "confusion"]
    assert set(record["accuracy"]) == {"value", "low", "high", "n"}
    assert set(record["per_class"]["ant"]) == {
        *("precision", "recall", "f1", "support", "precision_interval", "recall_interval")
    }
    assert record["classes"] == list(NAMES)


@pytest.mark.parametrize(
    ("right", "n", "guesses"), [(5, 10, True), (7, 10, True), (10, 10, False), (70, 100, False)]
)
def test_few_pictures_do_not_show_that_a_model_beats_guessing(evaluated, right, n, guesses):
    labels = ["ant", "bee"] * n
    predicted = np.array([0, 1] * right + [1, 0] * (n - right))
    assert evaluated(labels, predicted, NAMES[:2]).guesses is guesses


def test_one_class_alone_cannot_be_guessed(evaluated):
    assert not evaluated(["ant"] * 9, np.zeros(9, int), NAMES[:2]).guesses
