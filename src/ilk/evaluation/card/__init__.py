"""Card: a Hugging Face model card."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilk.evaluation.report import verdict
from ilk.evaluation.result import Evaluation
from ilk.spec import Spec
from ilk.text import escaped

if TYPE_CHECKING:
    from jinja2 import Template


def write(path: Path, evaluation: Evaluation, spec: Spec, facts: Mapping[str, str]) -> None:
    """Write a model card in Markdown, with the hub's metadata as its header.

    "Model cards for model reporting" (Mitchell et al. 2019, arXiv 1810.03993); the header follows
    https://huggingface.co/docs/hub/model-cards.

    Parameters
    ----------
    facts : mapping of str to str
        As in the report.
    """
    filled = _template().render(
        header=_header(evaluation, spec),
        name=_plain(Path(evaluation.data).name),
        e=evaluation,
        spec=spec,
        verdict=_plain(verdict(evaluation)),
        plain=_plain,
        facts={name: _plain(value) for name, value in facts.items()},
        classes=[_plain(name) for name in spec.classes],
        rows=[
            {"name": _plain(name), **values}
            for name, values in evaluation.per_class.items()
            if values["support"]
        ],
    )
    path.write_text(filled, encoding="utf-8", errors="backslashreplace")


@cache  # compiling takes longer than filling
def _template() -> Template:
    from jinja2 import Environment

    text = resources.files(__name__).joinpath("card.md").read_text(encoding="utf-8")
    cards = Environment(autoescape=False, trim_blocks=True, keep_trailing_newline=True)
    return cards.from_string(text)


def _header(evaluation: Evaluation, spec: Spec) -> str:
    """Return the hub's metadata as YAML."""
    import yaml

    measures: dict[str, Any] = {
        "accuracy": evaluation.accuracy.value,
        "f1": evaluation.macro_f1.value,
    }
    header = {
        "library_name": "ilk",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "ilk", spec.backbone.name],
        "metrics": list(measures),
        "model-index": [
            {
                "name": escaped(Path(evaluation.data).name),
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {
                            "name": escaped(Path(evaluation.data).name),
                            "type": "imagefolder",
                            "split": evaluation.split or "all",
                        },
                        "metrics": [
                            {"type": name, "value": round(value, 6)}
                            for name, value in measures.items()
                        ],
                    }
                ],
            }
        ],
    }
    text: str = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return text.strip()


def _plain(text: str) -> str:
    """Return a text that is safe in a Markdown table."""
    return escaped(text).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
