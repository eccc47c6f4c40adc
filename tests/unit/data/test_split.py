from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilk.data.catalog import SPLITS, Catalog, Picture
from ilk.data.split import ensure_splits, evaluation_split, roles, to_learn_from
from ilk.errors import DataError


def pictures(label, number, split=None, first=0):
    """Return distinct pictures; the digest stands for the content."""
    return [
        Picture(f"{label}/{i}.jpg", label, split, digest=f"{label}{i:04d}".encode().hex())
        for i in range(first, first + number)
    ]


def catalog(**classes):
    return Catalog(tuple(p for label, n in classes.items() for p in pictures(label, n)))


def dealt(data, val=0.0, test=0.25, seed=0):
    return ensure_splits(data, val_share=val, test_share=test, seed=seed)


def where(data):
    return {p.digest: p.split for p in data.pictures}


def shares(data, label):
    found = Counter(p.split for p in data.pictures if p.label == label)
    return tuple(found[split] for split in SPLITS)


def test_the_same_seed_deals_the_same():
    data = catalog(cat=40, dog=40)
    assert dealt(data, seed=3) == dealt(data, seed=3)


def test_another_seed_deals_otherwise():
    data = catalog(cat=40, dog=40)
    assert where(dealt(data, seed=3)) != where(dealt(data, seed=4))


def test_names_and_order_of_files_do_not_matter():
    data = catalog(cat=40, dog=40)
    other = Catalog(tuple(replace(p, path=f"x/{i}") for i, p in enumerate(reversed(data.pictures))))
    assert where(dealt(data)) == where(dealt(other))


def test_a_class_more_does_not_move_the_pictures_of_others():
    few = where(dealt(catalog(cat=40, dog=40)))
    many = where(dealt(catalog(ant=40, cat=40, dog=40)))
    assert few.items() <= many.items()


@pytest.mark.parametrize(
    ("val", "test", "cat", "dog"),
    [
        (0.0, 0.25, (30, 0, 10), (6, 0, 2)),
        (0.25, 0.25, (20, 10, 10), (4, 2, 2)),
        (0.5, 0.0, (20, 20, 0), (4, 4, 0)),
        (0.0, 0.0, (40, 0, 0), (8, 0, 0)),
    ],
)
def test_each_class_has_its_share_in_each_split(val, test, cat, dog):
    data = dealt(catalog(cat=40, dog=8), val, test)
    assert shares(data, "cat") == cat
    assert shares(data, "dog") == dog


def test_a_small_class_is_in_every_split():
    data = dealt(catalog(cat=100, dog=3), val=0.01, test=0.01)
    assert shares(data, "dog") == (1, 1, 1)


def test_a_large_share_leaves_pictures_for_the_other_splits():
    data = dealt(catalog(cat=5, dog=3), val=0.1, test=0.8)
    assert shares(data, "cat") == (1, 1, 3)
    assert shares(data, "dog") == (1, 1, 1)


def test_identical_files_stay_together():
    data = catalog(cat=30, dog=30)
    copies = tuple(replace(p, path=p.path + " copy") for p in data.pictures for _ in range(2))
    result = dealt(replace(data, pictures=data.pictures + copies))
    splits = {}
    for p in result.pictures:
        splits.setdefault(p.digest, set()).add(p.split)
    assert all(len(found) == 1 for found in splits.values())
    assert shares(result, "cat")[2] in range(21, 25)  # a quarter of 90, but for whole groups of 3


def test_identical_files_stay_together_across_classes():
    data = catalog(cat=30, dog=30)
    strays = tuple(replace(p, label="dog", path="dog/" + p.path) for p in pictures("cat", 30))
    result = dealt(replace(data, pictures=data.pictures + strays))
    of_cats = {p.digest: p.split for p in result.pictures if p.label == "cat"}
    of_strays = {p.digest: p.split for p in result.pictures if p.path.startswith("dog/cat")}
    assert of_strays == of_cats


def near_copies(data):
    """Return a catalog with two near copies of each picture."""
    copies = (
        replace(p, path=f"{p.path} {i}", digest=f"{i}{p.digest}", group=p.digest)
        for p in data.pictures
        for i in range(2)
    )
    originals = (replace(p, group=p.digest) for p in data.pictures)
    return replace(data, pictures=(*originals, *copies))


def test_near_copies_stay_together_where_their_original_lay():
    data = catalog(cat=30, dog=30)
    result = dealt(near_copies(data))
    split = {p.digest: p.split for p in result.pictures}
    assert all(p.split == split[p.group] for p in result.pictures)
    assert shares(result, "cat")[2] in range(21, 25)  # a quarter of 90, but for whole groups of 3
    copies = tuple(replace(p, path=f"{p.path} copy") for p in data.pictures for _ in range(2))
    exact = dealt(replace(data, pictures=data.pictures + copies))
    assert where(exact).items() <= where(result).items()


def test_near_copies_have_one_role():
    data = own_splits("train", "test")
    train = near_copies(replace(data, pictures=data.of("train")))
    data = replace(data, pictures=(*train.pictures, *data.of("test")))
    role = {p.digest: part for p, part in zip(data.pictures, roles(data, 0.25, 0), strict=True)}
    assert all(role[p.digest] == role[p.group] for p in train.pictures)


@pytest.mark.parametrize(("val", "number"), [(0.0, 1), (0.25, 2)])
def test_a_class_too_small_for_the_splits_is_refused(val, number):
    with pytest.raises(DataError, match=f"'dog' has {number} distinct picture"):
        dealt(catalog(cat=40, dog=number), val)


def test_copies_do_not_make_a_class_large_enough():
    data = catalog(cat=40, dog=1)
    copies = (replace(data.pictures[-1], path="copy"),) * 5
    with pytest.raises(DataError, match="'dog' has 1 distinct picture,"):
        dealt(replace(data, pictures=data.pictures + copies))


@pytest.mark.parametrize("other", ["val", "test"])
def test_splits_that_the_data_brings_are_kept(other):
    given = [p for split in ("train", other) for c in ("cat", "dog") for p in pictures(c, 3, split)]
    data = Catalog(tuple(given))
    result = dealt(data, val=0.3, test=0.3)
    assert result == data


def test_data_with_a_train_split_alone_is_dealt_out():
    data = Catalog((*pictures("cat", 8, "train"), *pictures("dog", 8, "train")))
    result = dealt(data)
    assert shares(result, "cat") == shares(result, "dog") == (6, 0, 2)


def test_data_without_a_train_split_is_refused():
    data = Catalog((*pictures("cat", 3, "val"), *pictures("dog", 3, "test")))
    with pytest.raises(DataError, match="the splits val, test but no train split"):
        dealt(data)


@pytest.mark.parametrize("classes", [{}, {"cat": 9}])
def test_fewer_than_two_classes_are_refused(classes):
    with pytest.raises(DataError, match="at least two"):
        dealt(catalog(**classes))


def test_a_class_without_training_pictures_is_refused_by_name():
    data = Catalog((*pictures("cat", 3, "train"), *pictures("dog", 3, "test")))
    with pytest.raises(DataError, match="No training pictures for the class dog"):
        dealt(data)


def test_a_class_of_copies_of_another_class_has_training_pictures_too():
    data = catalog(cat=8, dog=9)
    held_out = {p.digest for p in dealt(data).of("test") if p.label == "cat"}
    eels = tuple(replace(p, label="eel") for p in data.pictures if p.digest in held_out)
    found = dealt(replace(data, pictures=data.pictures + eels))
    assert {p.split for p in found.pictures if p.label == "eel"} == {"train", "test"}


def in_groups(data, sizes):
    """Give the pictures groups of such sizes, over and over."""
    names = [f"g{i}" for i, n in enumerate(sizes * len(data)) for _ in range(n)]
    pairs = zip(data.pictures, names, strict=False)
    return replace(data, pictures=tuple(replace(p, group=name) for p, name in pairs))


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    test=st.sampled_from([0.1, 0.25, 0.5]),
    seed=st.integers(0, 99),
)
def test_a_group_is_never_divided_and_shares_are_kept_roughly(sizes, test, seed):
    found = dealt(in_groups(catalog(cat=60, dog=60), sizes), test=test, seed=seed)
    splits = defaultdict(set)
    for picture in found.pictures:
        splits[picture.group].add(picture.split)
    assert all(len(names) == 1 for names in splits.values())
    assert abs(len(found.of("test")) / 120 - test) <= 2 * max(sizes) / 60


def test_a_class_with_too_few_groups_is_refused_as_such():
    with pytest.raises(DataError, match="Class 'dog' has 1 group, fewer than the 2 splits"):
        dealt(in_groups(catalog(cat=40, dog=20), [20]))


def test_a_class_name_that_cannot_be_written_is_refused_before_training():
    data = Catalog((*pictures("cat", 4), *pictures("caf", 4)))
    odd = tuple(replace(p, label="caf\udce9") if p.label == "caf" else p for p in data.pictures)
    with pytest.raises(DataError, match=r"caf\\udce9.*UTF-8"):
        dealt(replace(data, pictures=odd))


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "val", "test"), "test"),
        (("train", "val"), "val"),
        (("train",), None),
        ((None,), None),
    ],
)
def test_scores_are_reported_on_test_where_there_is_one(splits, expected):
    data = Catalog(tuple(p for split in splits for p in pictures("cat", 1, split)))
    assert evaluation_split(data) == expected


def own_splits(*splits, number=20):
    """Return data that brings its own splits, with pictures that differ between them."""
    return Catalog(
        tuple(
            picture
            for place, split in enumerate(splits)
            for label in ("cat", "dog")
            for picture in pictures(label, number, split, first=place * number)
        )
    )


def by_split(data, role):
    """Count the roles that the pictures of each split have."""
    return Counter((p.split, part) for p, part in zip(data.pictures, role, strict=True))


def test_a_val_split_beside_test_is_what_is_chosen_by():
    data = own_splits("train", "val", "test")
    assert by_split(data, roles(data, 0.5, seed=0)) == {
        ("train", "train"): 40,
        ("val", "val"): 40,
        ("test", None): 40,
    }


@pytest.mark.parametrize("reported", ["test", "val"])
def test_what_scores_are_reported_on_is_never_chosen_by(reported):
    data = own_splits("train", reported)
    role = roles(data, 0.25, seed=0)
    assert by_split(data, role) == {
        ("train", "train"): 30,
        ("train", "val"): 10,
        (reported, None): 40,
    }
    held_out = Counter(
        p.label for p, part in zip(data.pictures, role, strict=True) if part == "val"
    )
    assert held_out == {"cat": 5, "dog": 5}


def test_where_nothing_is_reported_a_share_of_train_is_chosen_by():
    data = own_splits("train")
    assert by_split(data, roles(data, 0.1, seed=0)) == {("train", "train"): 36, ("train", "val"): 4}


def test_without_a_share_nothing_is_chosen_by():
    data = own_splits("train", "test")
    assert by_split(data, roles(data, 0, seed=0)) == {("train", "train"): 40, ("test", None): 40}


def test_a_val_split_that_was_dealt_out_keeps_its_role():
    data = dealt(catalog(cat=40, dog=40), val=0.25, test=0.25)
    assert roles(data, 0.25, seed=0) == [
        p.split if p.split != "test" else None for p in data.pictures
    ]


def test_roles_depend_on_content_and_seed_alone():
    data = own_splits("train", "test")
    role = {p.digest: part for p, part in zip(data.pictures, roles(data, 0.25, 3), strict=True)}
    other = Catalog(tuple(replace(p, path=f"x/{p.digest}") for p in reversed(data.pictures)))
    found = {p.digest: part for p, part in zip(other.pictures, roles(other, 0.25, 3), strict=True)}
    assert found == role
    assert roles(data, 0.25, 4) != roles(data, 0.25, 3)


def test_copies_have_one_role_but_those_in_the_reported_split_have_none():
    data = own_splits("train", "test")
    train = data.of("train")
    copies = [replace(p, path=p.path + " copy") for p in train]
    leaked = [replace(p, path=p.path + " leak", split="test") for p in train]
    data = replace(data, pictures=(*data.pictures, *copies, *leaked))
    role = {p.path: part for p, part in zip(data.pictures, roles(data, 0.25, 0), strict=True)}
    assert all(role[p.path] == role[p.path + " copy"] for p in train)
    assert all(role[p.path + " leak"] is None for p in train)
    assert sum(role[p.path] == "val" for p in train) in range(8, 13)


def test_a_class_too_small_to_hold_some_out_is_refused():
    data = own_splits("train", "test")
    eel = (*pictures("eel", 1, "train"), *pictures("eel", 3, "test", first=1))
    data = replace(data, pictures=(*data.pictures, *eel))
    with pytest.raises(DataError, match="'eel' has 1 distinct picture, fewer than the 2 splits"):
        roles(data, 0.1, seed=0)
    assert by_split(data, roles(data, 0, seed=0))["train", "train"] == 41


def test_a_single_class_is_refused_with_what_was_seen():
    with pytest.raises(DataError, match=r"only one class with pictures, 'cat' \(5 pictures\)"):
        dealt(catalog(cat=5))


def test_a_folder_of_pictures_named_by_class_is_recognised():
    names = ["cat.1", "cat.2", "Dog_3", "dog_4"]
    data = Catalog(tuple(Picture(f"images/{n}.jpg", "images", digest=n) for n in names))
    with pytest.raises(DataError, match=r"begin with cat \(2\), dog \(2\): if these are the cl"):
        dealt(data)


def test_a_model_that_selects_nothing_learns_from_the_same_pictures_with_and_without_val():
    data = catalog(cat=40, dog=40)
    assert where(to_learn_from(dealt(data, val=0.2))) == where(dealt(data))


def test_a_val_split_that_was_given_or_that_scores_are_of_is_not_learned_from():
    own = Catalog(
        tuple(
            p
            for label in ("cat", "dog")
            for i, split in enumerate(SPLITS)
            for p in pictures(label, 5, split, 5 * i)
        )
    )
    assert to_learn_from(dealt(own)) == own
    scored = dealt(catalog(cat=40, dog=40), val=0.2, test=0)
    assert to_learn_from(scored) == scored
