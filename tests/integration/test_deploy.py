"""What lies in ``deploy/``: manifests against Kubernetes' schemas, and what the image holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VERSION = "1.34"


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_what_kubernetes_takes(path):
    for document in documents(path):
        kubernetes_validate.validate(as_kubernetes(document), VERSION, strict=True)


def as_kubernetes(document):
    """Return a manifest; of KServe, whose schema is not among the others, the pod within."""
    if not document["apiVersion"].startswith("serving.kserve.io"):
        return document
    predictor = document["spec"]["predictor"]
    spec = {name: predictor[name] for name in ("containers", "volumes")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": document["metadata"], "spec": spec}


def test_a_wrong_manifest_would_be_seen():
    document = documents(DEPLOY / "kubernetes" / "deployment.yaml")[0]
    document["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_manifests_agree_with_one_another():
    found = {d["kind"]: d for path in MANIFESTS for d in documents(path)}
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
    assert target == found["Deployment"]["metadata"]["name"]
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    linger, deadline = (int(container["args"][container["args"].index(f) + 1])
                        for f in ("--linger", "--deadline"))  # fmt: skip
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= sleep + linger + deadline
    for path in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[path]["httpGet"]["path"].startswith("/v2/health/")
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_compose_runs_it_read_only_and_prometheus_reads_it():
    services = documents(DEPLOY / "compose.yaml")[0]["services"]
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert all(str(port).startswith("127.0.0.1:") for port in service["ports"])
    scraped = documents(DEPLOY / "prometheus.yaml")[0]["scrape_configs"][0]
    assert scraped["static_configs"][0]["targets"] == ["ilk:8000"]


def test_the_dockerfile_keeps_to_good_custom():
    text = (DEPLOY / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.M)
    assert [name for _, name in stages] == ["build", "build-full", "base", "lean", "full"]
    assert all(":" in image or image in {"build", "base"} for image, _ in stages)
    assert "latest" not in text
    assert re.search(r"^USER 10001$", text, re.M)
    assert "HEALTHCHECK" in text
    assert "STOPSIGNAL SIGTERM" in text
    for line in re.findall(r"pip install[^\\\n]*", text.split("FROM python:3.11-slim AS base")[0]):
        assert "-c constraints.txt" in line or "--no-deps" in line or line.startswith("#"), line
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        for name in source.split():
            assert (ROOT / name).exists(), name
    entry = re.search(r"^ENTRYPOINT \[(.+)\]$", text, re.M).group(1)
    assert entry.startswith('"ilk", "serve"')


def test_the_dockerfile_is_linted():
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, DEPLOY / "Dockerfile"], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_lean_image_installs_is_pinned():
    pinned = {
        re.sub(r"[_.]", "-", line.partition("==")[0]).lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = [
        line.strip()
        for line in (DEPLOY / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert [name for name in wanted if name not in pinned] == []
    assert "torch" not in wanted
