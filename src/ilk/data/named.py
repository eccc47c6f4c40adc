"""Named data sets: bundled or downloadable ones that need no pictures of one's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ilk.data.catalog import Catalog, Picture
from ilk.data.in_memory import from_arrays
from ilk.errors import DataError
from ilk.text import error_text


def digits() -> Catalog:
    """Return scikit-learn's 1,797 handwritten digits, 8x8 pixels (UCI, Alpaydin & Kaynak 1998)."""
    import numpy as np
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    return from_arrays(images, data.target, name="digits")


def _from_torchvision(class_name: str, name: str) -> Catalog:
    import numpy as np

    from ilk.operators import import_torchvision
    from ilk.runtime import cache_dir

    datasets = import_torchvision().datasets
    folder = cache_dir("datasets")
    parts = []
    for split in ("train", "test"):
        try:
            data = getattr(datasets, class_name)(folder, train=split == "train", download=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: torchvision's checksum mismatch
            raise DataError(
                f"'{name}' is not in {folder} and cannot be downloaded: "
                f"{error_text(error).rstrip('.')}. Connect to the network, put torchvision's files "
                "there, or give a folder of pictures instead."
            ) from None
        images = np.asarray(data.data)
        labels = [data.classes[int(target)] for target in data.targets]
        parts.append(from_arrays(images, labels, splits=[split] * len(labels), name=name))
    pictures = [
        Picture(f"{name}/{p.split}/{i:05d}", p.label, p.split, content=p.content)
        for part in parts
        for i, p in enumerate(part.pictures)
    ]
    return Catalog(tuple(pictures), source=name)


NAMED: dict[str, Callable[[], Catalog]] = {
    "digits": digits,
    # Krizhevsky 2009; Xiao et al. 2017.
    "cifar10": partial(_from_torchvision, "CIFAR10", "cifar10"),
    "fashion-mnist": partial(_from_torchvision, "FashionMNIST", "fashion-mnist"),
}
