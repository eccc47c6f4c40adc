from __future__ import annotations

import numpy as np
import pytest

from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.in_memory import from_arrays
from ilk.data.split import ensure_splits
from ilk.errors import DataError
from ilk.models.bundle import Bundle
from ilk.recipe import Recipe
from ilk.recipes import load
from ilk.training.prepare_data import drop_unreadable
from ilk.training.probe import train_probe

RECIPE = Recipe(imgsz=8)


def prepared(catalog):
    return ensure_splits(catalog.digested(), val_share=0.0, test_share=0.25, seed=0)


def test_training_yields_a_bundle_that_names_the_held_out_pictures(catalog, fake_backbone):
    catalog = prepared(catalog)
    trained = train_probe(catalog, RECIPE)
    assert isinstance(trained.bundle, Bundle)
    assert trained.bundle.spec.classes == ("blue", "green", "red")
    held_out = catalog.of("test")
    assert trained.evaluated.pictures == held_out
    logits = trained.evaluated.logits
    assert logits.shape == (len(held_out), 3)
    assert trained.evaluated.features.shape[0] == len(held_out)
    named = [trained.bundle.spec.classes[k] for k in logits.argmax(axis=1)]
    assert np.mean([a == p.label for a, p in zip(named, held_out, strict=True)]) > 0.9
    assert trained.facts.engine == fake_backbone.name
    assert trained.facts.head.features_computed == 60


def test_the_held_out_pictures_have_no_part_in_the_head(catalog, fake_backbone):
    catalog = prepared(catalog)
    with_test = train_probe(catalog, RECIPE).bundle.tensors["head.weight"]
    without = train_probe(Catalog(catalog.of("train")), RECIPE).bundle.tensors["head.weight"]
    np.testing.assert_array_equal(with_test, without)
    assert fake_backbone.pictures == 60


def test_without_held_out_pictures_there_are_no_logits(catalog, fake_backbone):
    trained = train_probe(Catalog(prepared(catalog).of("train")), RECIPE)
    assert trained.evaluated.logits.shape == (0, 3)
    assert fake_backbone.pictures


def test_training_pictures_are_held_out_from_models_like_it(catalog, fake_backbone):
    catalog = prepared(catalog)
    trained = train_probe(catalog, RECIPE)
    assert set(trained.held_out.pictures) == set(catalog.of("train"))
    assert trained.held_out.logits.shape == (len(catalog.of("train")), 3)
    assert set(trained.train_sample.pictures) <= set(catalog.of("train"))
    assert fake_backbone.pictures


def test_a_val_split_beside_test_is_what_is_held_out(catalog, fake_backbone):
    catalog = ensure_splits(catalog.digested(), val_share=0.2, test_share=0.25, seed=0)
    trained = train_probe(catalog, RECIPE)
    assert trained.held_out.pictures == catalog.of("val")
    assert trained.evaluated.pictures == catalog.of("test")
    assert fake_backbone.pictures


def test_a_given_strength_and_balance_reach_the_head(catalog, fake_backbone):
    recipe = load(RECIPE, regularisation=7.0, class_weights="balanced")
    trained = train_probe(prepared(catalog), recipe)
    assert trained.facts.head.regularisation == 7.0
    assert list(trained.facts.head.cross_validation_log_loss) == ["7"]
    assert fake_backbone.pictures


def with_junk(catalog, number):
    junk = [Picture(f"bad/{i}", "red", content=b"junk%d" % i) for i in range(number)]
    return Catalog((*catalog.pictures, *junk), source="mixed")


@pytest.mark.usefixtures("fake_backbone")
def test_pictures_that_cannot_be_decoded_are_left_out(catalog):
    trained = train_probe(prepared(with_junk(catalog, 3)), RECIPE)
    assert len(trained.catalog) == 60
    assert {x.path for x in trained.catalog.left_out} == {"bad/0", "bad/1", "bad/2"}
    assert all("not a picture" in x.reason for x in trained.catalog.left_out)


@pytest.mark.usefixtures("fake_backbone")
def test_too_many_of_them_stop_the_training(catalog):
    catalog = prepared(with_junk(catalog, 4))
    with pytest.raises(DataError, match=r"4 of 64 files of mixed.*--max-unreadable 0\.05.*bad/"):
        train_probe(catalog, RECIPE)
    assert train_probe(catalog, load(RECIPE, max_unreadable=0.1)).bundle


def test_a_class_that_loses_its_last_training_picture_is_refused():
    pictures = [Picture(str(i), "ab"[i % 2], "train", str(i)) for i in range(4)]
    catalog = Catalog((*pictures, Picture("c", "c", "train", "5"), Picture("d", "c", "test", "6")))
    with pytest.raises(DataError, match="No training pictures for the class c"):
        drop_unreadable(catalog, {4: "is damaged"}, 1.0)


def test_files_that_never_were_pictures_do_not_count_as_unreadable():
    notes = LeftOut("notes.txt", "is not a picture, by its suffix", unreadable=False)
    catalog = Catalog(from_arrays(np.zeros((2, 4, 4, 3), np.uint8)).pictures, (notes,) * 50)
    catalog.refuse_unreadable(0.0)


def test_a_catalog_without_pictures_is_refused_by_what_was_left_out():
    notes = LeftOut("notes.txt", "its ending is not a picture's", unreadable=False)
    with pytest.raises(DataError, match=r"^mixed has no pictures .* notes.txt its ending is"):
        Catalog((), (notes,), "mixed").refuse_unreadable(0.0)
