"""Every format that runs here: exported, run in its own runtime, and loaded again."""

from __future__ import annotations

import functools
import json
import multiprocessing
import operator
import pickle
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import ilk
from ilk import export
from ilk.engines.openvino import has_bf16, import_openvino
from ilk.errors import EngineError, ExportError, GateError, ModelError, OutputError, UsageError
from ilk.exporting.publish import hidden_folder, writing
from ilk.formats import FORMATS, format_named, format_of, openvino
from ilk.formats.graphs import ExportJob
from ilk.formats.libraries import import_optional
from ilk.models.bundle import SPEC_KEY, Bundle
from ilk.models.metadata import RECEIPT_KEY
from ilk.runtime import installed
from weights import random_weights

SLOW = {"torch-aot", "executorch", "executorch-int8"}  # to convert
ELSEWHERE = {"coreml", "tensorrt", "web"}
if not installed("litert_torch"):  # it needs an environment of its own: see docs/export.md
    ELSEWHERE.add("litert")
if not has_bf16(import_openvino().Core()):
    ELSEWHERE.add("openvino-bf16")


def marked(names):
    """Return formats as parameters, the slow ones marked."""
    return [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in names]


RUNNABLE = marked(form.name for form in FORMATS if form.name not in ELSEWHERE)
CARRY_CODE = {"torchscript", "torch", "torch-aot", "torch-int8"}


@pytest.fixture(scope="module")
def small(digits, shared_cache, tmp_path_factory):
    """A network that every converter is quick with; its weights are random, its head is not."""
    assert shared_cache
    folder = tmp_path_factory.mktemp("small")
    return ilk.train(
        digits, model="test_efficientnet", weights=random_weights(folder), imgsz=64, runs=folder
    )


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    """Return the receipt of a format; each is exported once."""
    folder = tmp_path_factory.mktemp("exported")

    @functools.cache
    def of(name):
        target = folder / f"m{format_named(name).suffix}"
        return export(small.folder, name, output=target, max_drop=0.2)

    return of


@pytest.mark.parametrize("name", RUNNABLE)
def test_what_is_exported_agrees_with_the_model(name, small, exported, digits):
    receipt = exported(name)
    assert receipt.executed
    assert receipt.batches == (1, 2, 7, 15 if "executorch" in name else 32)
    assert receipt.top1_agreement.value >= (1 if format_named(name).exact else 0.85)
    ours = ilk.load(small.model, engine="pytorch", precision="fp32").predict(digits[0][::7])
    theirs = ilk.load(receipt.path, trust=name in CARRY_CODE).predict(digits[0][::7])
    difference = np.abs(theirs.probabilities - ours.probabilities)
    if format_named(name).exact:
        assert difference.max() < 1e-3
    else:
        assert difference.mean() < 0.02
    assert theirs.classes == ours.classes
    assert theirs.novelty_threshold == ours.novelty_threshold
    if format_named(name).exact:
        np.testing.assert_allclose(theirs.novelty, ours.novelty, atol=0.02)


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_receipt_lies_beside_the_file_and_in_it(name, exported):
    receipt = exported(name)
    path = Path(receipt.path)
    beside = json.loads(path.with_name(f"{path.name}.receipt.json").read_text())
    assert beside == json.loads(json.dumps(receipt.to_dict()))
    assert len(beside["sha256"]) == 64
    within = json.loads(format_of(path).metadata_of(path)[RECEIPT_KEY])
    assert within == {k: beside[k] for k in beside if k not in {"path", "sha256", "size_bytes"}}


@pytest.mark.parametrize("name", marked(sorted(CARRY_CODE)))
def test_what_may_hold_code_asks_for_trust(name, exported):
    with pytest.raises(ModelError, match="which can hold code that runs when it is loaded"):
        ilk.load(exported(name).path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_truncated_file_is_refused(name, share, exported, tmp_path):
    source = Path(exported(name).path)
    copy = tmp_path / source.name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
    for file in [copy] if copy.is_file() else [copy / "model.bin"]:
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=re.escape(copy.name)):
        ilk.load(copy, trust=True)


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_foreign_file_is_refused(name, tmp_path):
    path = tmp_path / f"m{format_named(name).suffix}"
    if "openvino" in name:
        path.mkdir()
        (path / "model.xml").write_text("<net/>")
    else:
        path.write_bytes(b"something else" * 100)
    with pytest.raises(ModelError, match=re.escape(path.name)):
        ilk.load(path, trust=True)


def with_classes(text):
    spec = json.loads(text)
    return json.dumps(spec | {"classes": [f"not {name}" for name in spec["classes"]]})


def test_an_onnx_file_whose_spec_was_edited_is_refused(exported, tmp_path):
    model = onnx.load(exported("onnx").path)
    for entry in model.metadata_props:
        if entry.key == SPEC_KEY:
            entry.value = with_classes(entry.value)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"m\.onnx is damaged: its Spec .* as if edited"):
        ilk.load(tmp_path / "m.onnx")


def test_an_onnx_file_with_weights_elsewhere_is_refused(exported, tmp_path):
    model = onnx.load(exported("onnx").path)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(ModelError, match="keeps weights in other files"):
        ilk.load(tmp_path / "m.onnx")


def test_an_onnx_file_with_operators_of_someones_own_is_refused(exported, tmp_path):
    model = onnx.load(exported("onnx").path)
    model.opset_import.append(onnx.helper.make_opsetid("evil.example", 1))
    model.graph.node.append(onnx.helper.make_node("Run", [], ["x"], domain="evil.example"))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"not part of ONNX: evil\.example\.Run"):
        ilk.load(tmp_path / "m.onnx")


def test_core_ml_is_written_and_checked_but_not_run(small, tmp_path):
    coremltools = import_optional("coremltools", "ilk[coreml]")
    receipt = export(small.folder, "coreml", output=tmp_path / "m.mlpackage")
    assert not receipt.executed
    assert receipt.reason.startswith("Core ML runs it, on iOS and macOS only")
    found = {entry.name for entry in Path(receipt.path).iterdir()}
    assert found == format_named("coreml").contents  # so that it may be replaced
    model = coremltools.models.MLModel(receipt.path, skip_model_load=True)
    description = model.get_spec().description
    [image] = description.input
    side = small_spec(small).preprocess.imgsz
    assert (image.type.imageType.height, image.type.imageType.width) == (side, side)
    assert description.predictedFeatureName == "classLabel"
    spec = json.loads(model.user_defined_metadata[SPEC_KEY])
    assert tuple(spec["classes"]) == small_spec(small).classes
    with pytest.raises(EngineError, match="on iOS and macOS only"):
        ilk.load(receipt.path)


def test_the_weights_in_core_ml_are_the_models(small):
    bundle = Bundle.load(small.model)
    program = (
        format_named("coreml")
        .convert(ExportJob(bundle, np.zeros((0, 8, 8, 3), np.uint8)))
        ._mil_program
    )
    held = [
        op.outputs[0].val for op in program.functions["main"].operations if op.op_type == "const"
    ]
    held = [np.asarray(v, np.float32) for v in held if getattr(v, "size", 0) > 1000]
    ours = [v for v in bundle.tensors.values() if v.ndim == 4 and v.size > 1000]
    assert len(ours) > 3
    for weight in ours:
        same = [v for v in held if v.shape == weight.shape]
        ratios = [np.corrcoef(v.ravel(), weight.ravel())[0, 1] for v in same]
        assert max(ratios) > 0.9  # batch norms are folded into the filters


@pytest.fixture
def broken(monkeypatch):
    """Make a format whose files predict wrongly."""

    def install(name, exact):
        class Broken(type(format_named(name))):
            def convert(self, job):
                return super().convert(replace(job, bundle=job.bundle.__class__(
                    job.bundle.spec,
                    {k: -v if k.startswith("head") else v for k, v in job.bundle.tensors.items()},
                )))  # fmt: skip

        Broken.exact = exact
        forms = [Broken() if form.name == name else form for form in FORMATS]
        monkeypatch.setattr("ilk.formats.FORMATS", tuple(forms))

    return install


@pytest.mark.parametrize("exact", [True, False])
def test_what_disagrees_is_not_published(exact, broken, small, tmp_path):
    broken("openvino", exact=exact)
    said = "its probabilities differ" if exact else "its accuracy is .* points below"
    with pytest.raises(GateError, match=said) as caught:
        export(small.folder, "openvino", output=tmp_path / "m")
    assert caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "torchscript",
        "openvino",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("torch", "onnx")),
    ],
)
def test_a_full_disk_leaves_nothing_behind(name, small, tmp_path):
    """No file may grow beyond 100 kB: what the system then says is as on a full disk."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    form = format_named(name)
    converted = form.convert(job_of(Bundle.load(small.model)))
    with hidden_folder(tmp_path) as folder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(OutputError, match="cannot be written"), writing(folder):
                form.save(converted, folder / f"m{form.suffix}", {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_missing_is_named_with_its_extra(small, tmp_path, monkeypatch):
    monkeypatch.setattr("ilk.formats.libraries.installed", lambda name: name != "nncf")
    with pytest.raises(EngineError, match=r"This needs nncf: pip install 'ilk\[int8\]'"):
        export(small.folder, "openvino-int8", output=tmp_path / "m")


@pytest.mark.slow
def test_a_runtime_that_is_missing_means_not_executed(small, tmp_path, monkeypatch):
    monkeypatch.setattr("ilk.formats.libraries.installed", lambda name: name != "onnxruntime")
    receipt = export(small.folder, "onnx", output=tmp_path / "m.onnx")
    assert not receipt.executed
    assert receipt.reason == "This needs onnxruntime: pip install 'ilk[onnx]'"


@pytest.mark.parametrize(
    "name, said",
    [("litert", "an environment of its own: python -m venv"), ("tensorrt", "trtexec --onnx=")],
)
def test_what_cannot_be_made_here_says_how_it_can(name, said, small, tmp_path):
    with pytest.raises(ExportError, match=said):
        export(small.folder, name, output=tmp_path / "m")


def test_nothing_is_sent_anywhere():
    """NNCF and OpenVINO would report their use, unless it is kept from them."""
    code = (
        "import sys; from ilk.formats import openvino\n"
        "try: openvino.quantized(None, None)\nexcept AttributeError: pass\n"
        "print(sys.modules['openvino_telemetry'], 'nncf' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "True"]


def planted(path, source):
    """Copy a file of torch's with a pickle in it that touches a file; return that file."""
    touched = path.with_name("touched")

    class Payload:
        def __reduce__(self):
            return Path.touch, (touched,)

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            pickled = info.filename.endswith((".pkl", ".pt"))
            new.writestr(info, pickle.dumps(Payload()) if pickled else old.read(info))
    return touched


@pytest.mark.parametrize("name", ["torchscript", "torch"])
def test_a_planted_pickle_is_not_executed(name, exported, tmp_path, digits):
    path = tmp_path / f"m{format_named(name).suffix}"
    touched = planted(path, exported(name).path)
    with zipfile.ZipFile(path) as archive:
        payloads = [archive.read(n) for n in archive.namelist() if n.endswith((".pkl", ".pt"))]
    assert payloads
    pickle.loads(payloads[0])
    assert touched.exists()  # so it would
    touched.unlink()
    for use in (
        lambda: ilk.load(path),
        lambda: ilk.evaluate(path, digits),
        lambda: ilk.compare(path, path, digits),
        lambda: ilk.benchmark([path]),
    ):
        with pytest.raises(ModelError, match="can hold code"):
            use()
        assert not touched.exists()


def test_an_operator_that_a_converter_does_not_know_is_named(small, tmp_path, monkeypatch):
    from ilk.formats import exportable

    class Odd(exportable.Exportable):
        def forward(self, pixels):
            probabilities, logits, features = super().forward(pixels)
            return probabilities, torch.special.airy_ai(logits), features

    monkeypatch.setattr(exportable, "Exportable", Odd)
    with pytest.raises(ExportError, match=r"cannot convert this network: .*airy_ai"):
        export(small.folder, "onnx", output=tmp_path / "m.onnx")


def test_without_pictures_it_asks_for_some(small, tmp_path):
    shutil.copy(small.model, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="Give --data: pictures to verify"):
        export(tmp_path / "model.safetensors", "onnx")


def test_an_unknown_format_is_refused_with_all_there_are(small):
    with pytest.raises(
        UsageError, match=r"No format 'onxx'\. Do you mean onnx\? Choose from auto, onnx, .*, web\."
    ):
        export(small.folder, "onxx")


def test_the_fastest_is_among_the_exported_and_lies_beside_the_model(small, monkeypatch, caplog):
    quick = [form for form in FORMATS if form.name in {"openvino", "openvino-int8"}]
    monkeypatch.setattr("ilk.formats.FORMATS", tuple(quick))
    choice = ilk.export_fastest(small.folder, max_drop=0.2, budget=600)
    timed = {c.name: c.speed.latency_ms()["p50"] for c in choice.candidates if c.speed}
    assert choice.chosen.name == min(timed, key=timed.get)
    assert set(timed) == {"openvino", "openvino-int8"}
    path = Path(choice.receipt.path)
    assert path.parent == small.folder
    assert ilk.load(path, trust=True).classes == small_spec(small).classes
    assert [p.name for p in small.folder.iterdir() if p.name.startswith(".")] == []
    assert caplog.handler.level == 0  # converters silence themselves, not the handlers of others


@pytest.mark.slow
def test_layers_that_change_answers_in_int8_stay_in_floating_point(small):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8)
    job = ExportJob(Bundle.load(small.model), pixels)
    model = openvino.converted_model(job, "fp32")
    wanted = openvino.predicted_classes(model, job)
    plain = openvino.quantized(model, job)
    before = (openvino.predicted_classes(plain, job) == wanted).mean()
    careful = openvino.quantized(model, replace(job, max_drop=0.0))
    after = (openvino.predicted_classes(careful, job) == wanted).mean()
    assert before < 1
    assert after > before


@pytest.mark.slow
def test_models_are_benchmarked_beside_one_another(small, exported):
    rows = ilk.benchmark([small.model, exported("onnx").path])
    assert [row.artefact for row in rows] == [str(small.model), exported("onnx").path]
    promised = {"artefact", "format", "latency_ms", "throughput", "end_to_end_throughput",
                "size_bytes", "load_s", "accuracy"}  # fmt: skip
    for row in rows:
        record = row.to_dict()
        assert promised <= set(record)
        assert set(record["latency_ms"]) == {"p50", "p95", "p99"}
        assert 0 < row.load_s < 60
        assert row.memory_bytes > 50e6


def job_of(bundle):
    return ExportJob(bundle, np.zeros((0, 8, 8, 3), np.uint8))


def test_an_onnx_file_says_what_its_axes_are(exported):
    model = onnx.load(exported("onnx").path)
    side, classes = 64, 10
    axes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert axes["pixels"] == ["N", side, side, 3]
    assert axes["probabilities"] == axes["logits"] == ["N", classes]
    assert axes["features"][0] == "N"
    assert (model.model_version, model.opset_import[0].version) == (1, 20)


def test_an_onnx_file_in_half_of_another_size_and_opset(small, tmp_path):
    target = tmp_path / "m.onnx"
    receipt = export(
        small.folder, "onnx", output=target, max_drop=0.2, opset=18, half=True, imgsz=96
    )
    assert receipt.options == {"opset": 18, "half": True, "imgsz": 96}
    assert receipt.max_probability_difference < 0.05
    model = onnx.load(target)
    assert model.opset_import[0].version == 18
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert {v.type.tensor_type.elem_type for v in model.graph.output} == {onnx.TensorProto.FLOAT}
    classifier = ilk.load(target)
    assert classifier.spec.preprocess.imgsz == 96
    assert classifier.predict(np.zeros((40, 40, 3), np.uint8)).errors == {}


def test_the_documented_lines_of_pillow_give_the_answer_of_ilk(
    exported, noise, tmp_path, monkeypatch, capsys
):
    page = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")
    lines = page.split("\n## Without ilk\n")[1].split("```python\n")[1].split("```")[0]
    noise(1, (700, 530)).save(tmp_path / "cat.jpg", exif=b"Exif\0\0" + turned(6))
    shutil.copy(exported("onnx").path, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    exec(lines, found := {})
    expected = ilk.load("model.onnx").predict("cat.jpg")
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-6)
    assert capsys.readouterr().out.split()[0] == expected.labels[0]


def turned(orientation):
    """Return an EXIF block."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes().removeprefix(b"Exif\0\0")


def small_spec(run):
    return Bundle.load(run.model).spec


def test_classifiers_work_in_processes_that_are_spawned(small, exported):
    """As they do in torch's DataLoader and in multiprocessing on macOS and Windows."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    predict = operator.methodcaller("predict", pixels)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for path in (small.model, exported("onnx").path, exported("openvino").path):
            classifier = ilk.load(path)
            (there,) = pool.map(predict, [classifier])
            here = predict(classifier)
            np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-5)
            assert there.classes == here.classes
