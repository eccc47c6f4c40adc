"""What several files of the repository say has to agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import ilk

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def loaded(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def pinned(package):
    """Return the version of a package in constraints.txt."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return re.search(rf"^{package}==(.+)$", constraints, re.MULTILINE)[1]


def test_pre_commit_runs_the_ruff_of_the_constraints():
    repos = loaded(".pre-commit-config.yaml")["repos"]
    (ruff,) = (repo for repo in repos if repo["repo"].endswith("/ruff-pre-commit"))
    assert ruff["rev"] == f"v{pinned('ruff')}"


def test_continuous_integration_runs_every_python_that_is_promised():
    prefix = "Programming Language :: Python :: "
    promised = [c.removeprefix(prefix) for c in PROJECT["classifiers"] if c.startswith(prefix)]
    promised = [version for version in promised if re.fullmatch(r"3\.\d+", version)]
    matrix = loaded(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


@pytest.mark.parametrize("name", ["deployment.yaml", "kserve.yaml"])
def test_the_manifests_name_the_image_of_this_version(name):
    manifest = (ROOT / "deploy" / "kubernetes" / name).read_text(encoding="utf-8")
    assert re.findall(r"image: ilk:(\S+)", manifest) == [ilk.__version__]


@pytest.mark.parametrize("path", ["Makefile", "deploy/Dockerfile"])
def test_torch_is_installed_in_the_version_of_the_constraints(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.findall(r" torch==(\S+)", text) == [pinned("torch")]


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")))
def test_workflows_get_no_more_than_read_access_by_default(path):
    permissions = yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"]
    assert permissions in ({}, {"contents": "read"})
