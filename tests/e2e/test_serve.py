"""``ilk serve`` as people and programs use it, hostile ones included."""

from __future__ import annotations

import csv
import io
import os
import random
import shutil
import signal
import threading
import time
import zlib
from contextlib import ExitStack

import httpx2
import pytest
from PIL import Image

from service import Load, Served, connected, raw, until

SLOW = bool(os.environ.get("ILK_TEST_SLOW"))
HOSTILE = 10_000 if SLOW else 600
RESTARTS = 50 if SLOW else 1
DOCUMENTED = {400, 404, 405, 408, 413, 415, 422, 429}


@pytest.fixture(scope="module")
def served(trained, environment, tmp_path_factory):
    feedback = tmp_path_factory.mktemp("feedback") / "fixes.sqlite"
    service = Served(trained.run, "--feedback", feedback, "--header-timeout", "3",
                     "--body-timeout", "3", "--linger", "0", environment=environment)  # fmt: skip
    service.feedback = feedback
    with service:
        yield service
        assert service.stop() == 0
    assert not [line for line in service.lines if "Traceback" in line]


@pytest.fixture(scope="module")
def picture(pictures):
    return (pictures / "blue" / "blue01.jpg").read_bytes()


def test_the_server_and_the_command_line_agree(served, ilk, trained, pictures, picture):
    found = served.post("/predict", files={"image": ("blue01.jpg", picture, "image/jpeg")}).json()
    row = found["predictions"][0]
    assert (found["model"], row["label"], row["name"]) == ("colours", "blue", "blue01.jpg")
    local, remote = (
        list(csv.DictReader(io.StringIO(ilk("predict", *words, pictures, "--csv").stdout)))
        for words in ((trained.run,), ("--url", served.url))
    )
    assert len(local) == len(remote) == 24
    for a, b in zip(local, remote, strict=True):
        assert (a["path"], a["label"], a["unknown"]) == (b["path"], b["label"], b["unknown"])
        assert float(a["probability"]) == pytest.approx(float(b["probability"]), abs=0.02)


def test_a_folder_with_a_broken_picture_goes_through(served, ilk, picture, tmp_path):
    (tmp_path / "good.jpg").write_bytes(picture)
    (tmp_path / "bad.jpg").write_bytes(picture[:200])
    (tmp_path / "empty.jpg").write_bytes(b"")
    done = ilk("predict", "--url", served.url, tmp_path, code=3)
    assert "2 of 3 pictures could not be read" in done.stderr
    assert "blue" in done.stdout


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("--url", "ftp://x"), 2, "give a URL such as"),
        (("--url", "http://127.0.0.1:1"), 1, "No server answers at"),
        (("--url", "http://127.0.0.1:1", "--batch", "2"), 2, "do not apply with --url"),
        (("--url", "http://127.0.0.1:1", "model.safetensors"), 2, "the server has the model"),
    ],
)
def test_flags_that_do_not_apply_to_a_server_are_refused(refused, pictures, words, code, said):
    assert said in refused("predict", *words, pictures, code=code)


@pytest.mark.parametrize(
    "words, said",
    [
        (("gone",), "The model gone is not there"),
        (("{model}", "--port", "1", "--host", "203.0.113.7"), "Cannot listen on 203.0.113.7:1"),
        (("{model}", "--formats", "HEIC"), "Unknown format HEIC"),
        (("{model}", "--queue", "1"), "must be at least 32"),
        (("{model}", "--port", "70000"), "--port 70000: give 0 to 65535"),
        (("{model}", "--cors", "shop.example"), "give a site such as"),
    ],
)
def test_a_service_that_cannot_start_says_why(ilk, trained, words, said):
    words = [word.format(model=trained.model) for word in words]
    more = () if "--port" in words else ("--port", "0")
    codes = {"gone": 1}
    done = ilk("serve", *words, *more, code=codes.get(words[0], 2), apart=True)
    assert said in done.stderr


def hostile(picture, seed):
    """Return a hostile body, and its content type."""
    rng = random.Random(seed)
    kind = seed % 8
    if kind == 0:  # mutated
        changed = bytearray(picture)
        for _ in range(rng.randrange(1, 40)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed), "image/jpeg"
    if kind == 1:  # cut off, of any format
        file = io.BytesIO()
        Image.new("RGB", (40, 30), "red").save(
            file, rng.choice(["JPEG", "PNG", "WEBP", "GIF", "BMP"])
        )
        whole = file.getvalue()
        return whole[: rng.randrange(len(whole))], "application/octet-stream"
    if kind == 2:
        return bomb(), "image/png"
    if kind == 3:  # a polyglot: one format's beginning, another's rest
        start = rng.choice(
            [b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"%PDF-1.4\n", b"PK\3\4"]
        )
        return start + picture[rng.randrange(100) :], "image/png"
    if kind == 4:
        return b"", rng.choice(["image/jpeg", "multipart/form-data; boundary=x", "text/plain"])
    if kind == 5:
        return picture, rng.choice(["text/html", "application/json", "video/mp4", "image\0"])
    if kind == 6:  # a form in a form, or half of one
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n'
        inner = b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nx\r\n--y--"
        body = head + inner + b"\r\n--x--\r\n"
        length = rng.choice([len(body), rng.randrange(len(body))])
        return body[:length], "multipart/form-data; boundary=x"
    return rng.randbytes(rng.randrange(2000)), rng.choice(
        ["image/webp", "multipart/form-data; boundary=" + "z" * 80]
    )


def bomb():
    """Return a PNG of 144 megapixels in few bytes."""

    def chunk(name, data):
        crc = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + crc

    side = (12_000).to_bytes(4, "big")
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", side + side + b"\x08\x00\x00\x00\x00")
            + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b""))  # fmt: skip


def test_hostile_bodies_get_a_documented_answer_and_affect_no_others(
    served, picture, record_property
):
    codes = {}
    before = None
    with httpx2.Client(base_url=served.url, timeout=30) as client:
        for seed in range(HOSTILE):
            body, kind = hostile(picture, seed)
            kind = kind.replace("\0", "x")
            found = client.post("/predict", content=body, headers={"content-type": kind})
            codes[found.status_code] = codes.get(found.status_code, 0) + 1
            assert found.status_code in DOCUMENTED | {200}, (seed, found.text)
            assert found.json()
            if seed % 100 == 99:
                assert client.post("/predict", content=picture).status_code == 200
            if seed == HOSTILE // 3:
                before = served.memory()
    after = served.memory()
    record_property("bodies", sum(codes.values()))
    for code, number in sorted(codes.items()):
        record_property(f"answered {code}", number)
    record_property("MB more in the end", round((after - before) / 1e6))
    assert codes[422] > 100
    assert after < before + 60e6
    assert served.process.poll() is None


POST = b"POST /predict HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent, code",
    [
        (POST + b"Content-Length: 99999999\r\n\r\n", 413),
        (POST + b"Content-Length: -5\r\n\r\n", 400),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 0),  # or 400, if it arrives
        (POST + b"Content-Length: 5000\r\n\r\nshort", 408),
    ],
)
def test_invalid_requests_are_answered(served, picture, sent, code):
    assert raw(served.port, sent) in {code, 400}
    assert served.post("/predict", content=picture).status_code == 200


def test_slow_senders_block_nobody_and_are_disconnected(served, picture):
    slow = [connected(served.port) for _ in range(200)]
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    ended = threading.Event()

    def drip():
        for at in range(len(head)):
            for connection in slow:
                try:
                    connection.send(head[at : at + 1])
                except OSError:
                    continue
            if ended.wait(1):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        for _ in range(40):
            assert served.post("/predict", content=picture).status_code == 200
        until(lambda: all(_closed(connection) for connection in slow))
    finally:
        ended.set()
        thread.join()
        for connection in slow:
            connection.close()


def _closed(connection):
    connection.settimeout(0.001)
    try:
        return connection.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_client_that_leaves_early_frees_its_place(served, picture):
    before = served.metric("ilk_client_gone_total")
    head = f"POST /explain HTTP/1.1\r\nHost: x\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
    for _ in range(5):
        with connected(served.port) as connection:
            connection.sendall(head + picture)
    until(lambda: served.metric("ilk_client_gone_total") > before)
    assert served.metric("ilk_queue_depth") == 0
    assert served.post("/predict", content=picture).status_code == 200


def test_explanations_are_pictures(served, picture):
    found = served.post("/explain", content=picture)
    assert (found.status_code, found.headers["content-type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(found.content)) as image:
        assert image.width == image.height
    assert served.post("/explain", content=b"no").status_code == 422
    assert served.post("/explain?label=cow", content=picture).status_code == 404


def test_at_sigterm_it_is_no_longer_ready_still_answers_and_ends(trained, environment, picture):
    service = Served(trained.run, "--linger", "3", environment=environment)
    with service, Load(picture) as load:
        load.replicas = [service.url]
        time.sleep(0.7)
        service.send(signal.SIGTERM)
        until(lambda: not service.ready())
        found = service.post("/predict", content=picture)
        assert (found.status_code, found.headers["connection"]) == (200, "close")
        load.replicas = []  # as a load balancer does now
        time.sleep(0.3)
        assert service.process.wait(120) == 0
        assert service.stop() == 0
    assert set(load.codes) == {200}
    assert load.errors == []


def test_ctrl_c_ends_it_at_once(trained, environment):
    with Served(trained.run, "--linger", "3600", environment=environment) as service:
        assert service.stop(signal.SIGINT) == 0


def test_a_reload_under_load_loses_nothing_whatever_the_file(
    trained, environment, picture, tmp_path
):
    shutil.copytree(trained.run, tmp_path / "run")
    model = tmp_path / "run" / "model.safetensors"
    service = Served(model, "--linger", "0", environment=environment)
    try:
        with Load(picture) as load:
            load.replicas = [service.url]
            (tmp_path / "bad").write_bytes(model.read_bytes()[:5000])
            shutil.copy(model, tmp_path / "good")
            for name, code in (("bad", 422), ("good", 200)):
                (tmp_path / name).replace(model)
                assert service.post("/reload").status_code == code
            (tmp_path / "bad").write_bytes(b"no model")
            (tmp_path / "bad").replace(model)
            service.send(signal.SIGHUP)
            until(lambda: "The models from before still answer" in "".join(service.lines))
            assert service.ready()
        assert len(load.codes) > 20
        assert set(load.codes) == {200}
        assert load.errors == []
    finally:
        service.stop()


def test_rolling_restarts_lose_no_request(trained, environment, picture, record_property):
    def start():
        return Served(trained.run, "--linger", "0.6", environment=environment)

    current = start()
    with ExitStack() as started, Load(picture, threads=2) as load:
        started.enter_context(current)
        load.replicas = [current.url]
        for _ in range(RESTARTS):
            following = started.enter_context(start())
            load.replicas = [current.url, following.url]
            old, current = current, following
            old.send(signal.SIGTERM)
            until(lambda old=old: not old.ready())
            load.replicas = [current.url]
            assert old.stop() == 0
    record_property("restarts", RESTARTS)
    record_property("requests", len(load.codes))
    record_property("lost", sum(code != 200 for code in load.codes) + len(load.errors))
    assert len(load.codes) > 5 * RESTARTS
    assert set(load.codes) == {200}
    assert load.errors == []
