"""``ilk predict``: files, folders, patterns, stdin, bad files and bad models."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from commands import PROGRESS


def records(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_file_a_folder_and_a_quoted_pattern(ilk, trained, pictures):
    paths = ["red/red00.png", "blue", "*/green0[12].*"]
    done = ilk("predict", trained.run, *paths, "--json", cwd=pictures)
    found = records(done)
    assert done.stderr == ""
    assert [r["path"] for r in found] == [
        "red/red00.png",
        *sorted(f"blue/{p.name}" for p in (pictures / "blue").iterdir()),
        "green/green01.jpg",
        "green/green02.png",
    ]
    assert all(r["label"] == r["path"].split("/")[0] for r in found)


def test_a_json_line_is_as_the_design_says(tiny, ilk, trained, pictures):
    done = ilk("predict", trained.model, "red/red00.png", "--top", 3, "--json", cwd=pictures)
    (record,) = records(done)
    keys = ["path", "label", "probability", "top", "accepted", "unknown", "error"]
    assert list(record) == keys
    assert record["accepted"] is True
    assert record["error"] is None
    assert record["label"] == "red"
    assert {r["label"] for r in record["top"]} == set(tiny.colours)
    assert record["top"][0] == {"label": "red", "probability": record["probability"]}
    probabilities = [r["probability"] for r in record["top"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_good_and_bad_mixed_go_on_and_exit_with_3(ilk, trained, pictures, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    good = pictures / "red" / "red00.png"
    done = ilk(
        "predict", trained.model, "bad.png", good, "gone.png", "empty.png", "no*.jpg", good,
        "--json", code=3, cwd=tmp_path, apart=True,
    )  # fmt: skip
    found = records(done)
    assert [r["label"] for r in found] == [None, "red", None, None, None, "red"]
    bad = found[0]
    assert bad["path"] == "bad.png"
    assert (bad["probability"], bad["top"]) == (None, [])
    assert "is not a picture" in bad["error"]
    assert "No such file" in found[2]["error"]
    assert found[3]["error"] == "is empty"
    assert done.stderr == "4 of 6 pictures could not be read.\n"


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_names_from_stdin(ilk, trained, pictures, tmp_path, end):
    names = [b"sp ace.png", b"\xff.png", b"new\nline.png" if end == "\0" else b"plain.png"]
    for name in names:
        shutil.copy(pictures / "red" / "red00.png", tmp_path / os.fsdecode(name))
    stdin = b"".join(name + end.encode() for name in names)
    done = ilk("predict", trained.model, "-", "--json", stdin=stdin, cwd=tmp_path)
    assert [os.fsencode(r["path"]) for r in records(done)] == names


def test_text_is_one_line_a_picture(ilk, trained, pictures):
    done = ilk("predict", trained.model, "red", "--top", 2, cwd=pictures)
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    pattern = r" *[\d.]+ %  red    +[\d.]+ %  (blue|green) +red/red\d\d\.(png|jpg)"
    assert all(re.fullmatch(pattern, line) for line in lines), lines
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_csv(ilk, trained, pictures, tmp_path):
    shutil.copy(pictures / "red" / "red00.png", tmp_path / "a,b\nc.png")
    (tmp_path / "bad.png").touch()
    done = ilk("predict", trained.model, ".", "--csv", "--top", 3, code=3, cwd=tmp_path)
    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert list(rows[0]) == [
        "path", "label_1", "probability_1", "label_2", "probability_2", "label_3",
        "probability_3", "accepted", "unknown", "error",
    ]  # fmt: skip
    assert [Path(r["path"]).name for r in rows] == ["a,b\nc.png", "bad.png"]
    assert [r["label_1"] for r in rows] == ["red", ""]
    assert [r["error"] for r in rows] == ["", "is empty"]
    assert "\r" not in done.stdout


def test_a_hyphenated_file_can_be_named(tiny, ilk, trained, tmp_path):
    tiny.picture(tmp_path / "-x.png", tiny.colours["blue"])
    done = ilk("predict", trained.model, "--json", "--", "-x.png", cwd=tmp_path)
    assert records(done)[0]["label"] == "blue"


@pytest.mark.parametrize("command", ["predict", "backbones"])
def test_a_reader_that_goes_away_ends_it_quietly(environment, trained, pictures, command):
    arguments = {"predict": [str(trained.model), *[str(pictures)] * 40, "--json"], "backbones": []}
    process = subprocess.Popen(
        [sys.executable, "-m", "ilk", command, *arguments[command]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if command == "predict":
        process.stdout.readline()  # as head -1 does
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(120), PROGRESS.sub("", err)) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout(environment):
    command = [sys.executable, "-m", "ilk", "backbones"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, check=False, env=environment, stdout=full, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr) == (1, b"ilk: [Errno 28] No space left on device.\n")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--jsn"], "Unknown option: --jsn"),
        (["--top", "0"], 'Invalid value "0" for --top. Must be >= 1.'),
        (["--batch", "-1"], 'Invalid value "-1" for --batch. Must be >= 1.'),
        (["--workers", "0"], 'Invalid value "0" for --workers. Must be >= 1.'),
        (["--engine", "foo"], 'Invalid value "foo" for --engine.'),
        (["--device", "foo"], "No device 'foo' here; there is: cpu"),
        (["--engine", "openvino", "--device", "cuda"], "--engine openvino runs on the CPU"),
        (["--json", "--csv"], "Give --json or --csv, not both."),
        (["--connections", "8"], "do not apply without --url"),
        (["--api-key-file", "key"], "do not apply without --url"),
    ],
)
def test_flags_that_cannot_be_used(refused, trained, pictures, arguments, expected):
    assert expected in refused("predict", trained.model, pictures, *arguments, code=2)


def test_a_folder_without_pictures(refused, trained, tmp_path):
    assert "No pictures in ." in refused("predict", trained.model, ".", code=2, cwd=tmp_path)


@pytest.fixture(scope="session")
def bad_models(trained, tmp_path_factory):
    """Files that are no models, by kind."""
    folder = tmp_path_factory.mktemp("bad")
    whole = trained.model.read_bytes()
    (folder / "damaged.safetensors").write_bytes(whole[:50_000])
    (folder / "empty.safetensors").touch()
    (folder / "pickle.pth").write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")
    (folder / "folder").mkdir()
    tensors = load_file(trained.model)
    with safe_open(trained.model, framework="numpy") as file:
        spec = json.loads(file.metadata()["ilk.spec"])
    small = {name: value for name, value in tensors.items() if name.startswith("head.")}
    for name, changed in {
        "newer": {**spec, "version": 2},
        "strange": {**spec, "surprise": 1},
        "mismatched": {**spec, "classes": ["a", "b"]},
    }.items():
        save_file(small, folder / f"{name}.safetensors", {"ilk.spec": json.dumps(changed)})
    save_file(small, folder / "foreign.safetensors")
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("damaged.safetensors", "damaged.safetensors is not a whole .safetensors file"),
        ("empty.safetensors", "is not a whole .safetensors file"),
        ("pickle.pth", "is not a whole .safetensors file"),
        ("foreign.safetensors", "holds weights but no Spec: it was not written by ilk"),
        ("newer.safetensors", "has a Spec of version 2; this ilk reads up to 1. Upgrade ilk"),
        ("strange.safetensors", "has a damaged Spec: surprise"),
        ("mismatched.safetensors", "is damaged: its weights do not match their checksum"),
        ("gone.safetensors", "The model gone.safetensors is not there;"),
        ("folder", "The model folder is a folder without a model.safetensors;"),
    ],
)
def test_models_that_cannot_be_used(refused, bad_models, pictures, name, expected):
    assert expected in refused("predict", name, pictures, code=1, cwd=bad_models)
    assert not (bad_models / "pwned").exists()
