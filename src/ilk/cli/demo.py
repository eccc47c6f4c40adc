"""``ilk demo``."""

from __future__ import annotations

import shlex
from pathlib import Path


def demo(folder: Path = Path("ilk-demo"), /) -> int:
    """Run check, train, evaluate and predict on handwritten digits, without any download.

    Parameters
    ----------
    folder
        Where to write the pictures and the runs.
    """
    from ilk.cli import run

    pictures = folder / "digits"
    write_digits(pictures)
    print(f"1,797 handwritten digits, in one folder per class, are in {pictures}\n")
    model = folder / "runs" / "digits" / "model.safetensors"
    some = [str(next((pictures / digit).iterdir())) for digit in "0123456789"]
    steps: list[list[str]] = [
        ["check", str(pictures), "--out", str(folder / "runs" / "check"), "--exist-ok"],
        ["train", str(pictures), "--runs", str(folder / "runs"), "--name", "digits", "--exist-ok"],
        ["evaluate", str(model), str(pictures), "--runs", str(folder / "runs"),
         "--name", "digits-evaluation", "--exist-ok"],
        ["predict", str(model), *some],
    ]  # fmt: skip
    for step in steps:
        print(f"$ ilk {shlex.join(step)}", flush=True)
        code = run(step)
        if code:
            return code
        print(flush=True)
    print(f"The report is in {model.parent / 'report.html'}, the plots in {model.parent / 'plots'}")
    return 0


def write_digits(folder: Path) -> None:
    """Write scikit-learn's handwritten digits as PNG files, in one folder per class."""
    from PIL import Image

    from ilk.data.named import digits
    from ilk.folder import readable_errors

    with readable_errors(folder, None):
        for picture in digits().pictures:
            file = folder / str(picture.label) / f"{Path(picture.path).name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.content).save(file)  # type: ignore[arg-type]
