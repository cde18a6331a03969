"""Stages on a store: a real S3 server, and what a stage leaves there and finds again."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import MakeStage
from moto.server import ThreadedMotoServer

from retort import checkpoint, log, manifest, storage


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket on an S3 server on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    httpx.post(f"http://{host}:{port}/moto-api/reset")  # moto keeps its buckets for as long as the process lives
    storage._s3.cache_clear()
    storage._s3().create_bucket(Bucket="retort")
    yield "s3://retort"
    storage._s3().close()
    server.stop()
    storage._s3.cache_clear()


def tree(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def make_tree(directory: Path) -> Path:
    (directory / "sub").mkdir(parents=True)
    (directory / "a.json").write_text("{}")
    (directory / "sub/b.bin").write_bytes(bytes(range(256)) * 100)
    return directory


def test_a_directory_goes_to_a_store_and_back(bucket: str, tmp_path: Path) -> None:
    made = make_tree(tmp_path / "made")
    storage.publish(made, f"{bucket}/runs/x")
    assert storage.listing(f"{bucket}/runs/x") == {"a.json": 2, "sub/b.bin": 25_600}
    assert storage.listing(f"{bucket}/runs") == {"x/a.json": 2, "x/sub/b.bin": 25_600}
    assert tree(storage.fetch(f"{bucket}/runs/x", tmp_path / "back")) == tree(made)


def test_a_file_goes_to_a_store_and_back(bucket: str, tmp_path: Path) -> None:
    made = make_tree(tmp_path / "made")
    storage.publish(made / "sub/b.bin", f"{bucket}/rows.jsonl")
    back = storage.fetch(f"{bucket}/rows.jsonl", tmp_path / "data/rows.jsonl")
    assert back.read_bytes() == (made / "sub/b.bin").read_bytes()
    assert storage.read_bytes(f"{bucket}/rows.jsonl") == back.read_bytes()


def test_what_is_not_there_is_none_empty_or_the_users_mistake(bucket: str, tmp_path: Path) -> None:
    for uri in (f"{bucket}/none", "s3://no-such-bucket/none", str(tmp_path / "none")):
        assert storage.read_bytes(uri) is None
    assert storage.listing(f"{bucket}/none") == storage.listing(str(tmp_path / "none")) == {}
    with pytest.raises(ValueError, match="s3://retort/none: nothing is stored there"):
        storage.fetch(f"{bucket}/none", tmp_path / "x")
    with pytest.raises(ValueError, match=r"none: no such file or directory"):
        storage.fetch(str(tmp_path / "none"), tmp_path / "x")


def test_a_neighbour_with_the_same_beginning_is_not_listed(bucket: str) -> None:
    storage.write_bytes(f"{bucket}/runs/x/a", b"1")
    storage.write_bytes(f"{bucket}/runs/x2/a", b"1")
    assert storage.listing(f"{bucket}/runs/x") == {"a": 1}


def test_a_copy_that_broke_off_goes_on_without_what_is_there(bucket: str, tmp_path: Path) -> None:
    made = make_tree(tmp_path / "made")
    storage.publish(made, f"{bucket}/x")
    (tmp_path / "back/sub").mkdir(parents=True)
    (tmp_path / "back/sub/b.bin").write_bytes(b"0" * 25_600)  # whole, by its size: kept
    (tmp_path / "back/a.json").write_bytes(b"")  # torn
    assert tree(storage.fetch(f"{bucket}/x", tmp_path / "back")) == {"a.json": b"{}", "sub/b.bin": b"0" * 25_600}


def test_a_reader_never_sees_half_a_local_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    contents = [bytes([n]) * 200_000 for n in (1, 2)]
    storage.write_bytes(str(path), contents[0])
    seen: set[bytes] = set()
    writing = threading.Event()

    def read() -> None:
        while not writing.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(50):
        storage.write_bytes(str(path), contents[n % 2])
    writing.set()
    reader.join()
    assert seen
    assert seen <= set(contents)


def test_a_train_stage_on_a_store_leaves_all_there_and_a_new_machine_goes_on_from_it(
    bucket: str, train_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = train_stage()
    local = train_stage("local")
    local.run()
    rows = Path(stage.document["inputs"]["data"]["hardFailures"]["uri"])
    storage.publish(rows, f"{bucket}/data/rows.jsonl")
    stage.document["inputs"]["data"]["hardFailures"]["uri"] = f"{bucket}/data/rows.jsonl"
    stage.document["output"] = output = f"{bucket}/runs/test/train-abababababab"
    monkeypatch.setenv("RETORT_WORK", str(tmp_path / "machine-1"))
    stage.run()
    made = manifest.read_valid(output, "ab" * 32)
    assert made is not None
    there = storage.listing(output)
    assert {o["path"] for o in made["outputs"]} <= set(there)
    # The manifest and the newest checkpoint are lost; another machine, with an empty disk, takes the one before.
    client = storage._s3()
    for name in ("manifest.json", "checkpoints/step-10/state.safetensors"):
        client.delete_object(Bucket="retort", Key=f"runs/test/train-abababababab/{name}")
    monkeypatch.setenv("RETORT_WORK", str(tmp_path / "machine-2"))
    stage.run()
    summary = json.loads(storage.read_bytes(f"{output}/training_summary.json") or b"")
    assert summary["resumedFrom"] == [8]
    assert [h["loss"] for h in summary["history"]] == [h["loss"] for h in local.summary()["history"]]
    assert '"event": "skipped"' in stage.run()


@pytest.mark.parametrize(
    "tear",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"bytes": 2', '"bytes": 3'),
        lambda text: text.replace("abab", "cdcd"),
        lambda text: json.dumps(json.loads(text) | {"outputs": []}),
    ],
    ids=["torn", "foreign", "wrong size", "another fingerprint", "no outputs"],
)
def test_a_manifest_that_is_not_the_whole_truth_does_not_count(tmp_path: Path, tear: object) -> None:
    (tmp_path / "a.txt").write_text("ok")
    whole = json.dumps({"fingerprint": "abab", "outputs": manifest.outputs_of(tmp_path, ())})
    (tmp_path / "manifest.json").write_text(whole)
    assert manifest.read_valid(str(tmp_path), "abab") is not None
    (tmp_path / "manifest.json").write_text(tear(whole))  # type: ignore[operator]
    assert manifest.read_valid(str(tmp_path), "abab") is None


def make_checkpoint(directory: Path, step: int) -> None:
    path = directory / f"step-{step}"
    path.mkdir(parents=True)
    (path / "progress.json").write_text(f'{{"step": {step}}}')
    (path / "state.safetensors").write_bytes(bytes(step))


def test_the_store_holds_the_checkpoints_that_the_stage_keeps_and_no_others(bucket: str, tmp_path: Path) -> None:
    kept, uri = tmp_path / "checkpoints", f"{bucket}/runs/x/checkpoints"
    for step in (2, 4):
        make_checkpoint(kept, step)
    checkpoint.publish(kept, uri)
    assert storage.listing(uri).keys() == {
        f"step-{n}/{f}" for n in (2, 4) for f in ("progress.json", "state.safetensors")
    }
    shutil.rmtree(kept / "step-2")
    make_checkpoint(kept, 6)
    storage.write_bytes(f"{uri}/step-4/state.safetensors", b"cut")
    checkpoint.publish(kept, uri)
    assert {name.partition("/")[0] for name in storage.listing(uri)} == {"step-4", "step-6"}
    assert storage.read_bytes(f"{uri}/step-4/state.safetensors") == bytes(4)


def test_what_a_stage_prints_is_kept_in_the_store_whichever_way_it_ends(
    bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = f"{bucket}/runs/x/train-1"

    def fails() -> None:
        os.write(1, b"for people\n")
        os.write(2, b"from a library\n")
        raise RuntimeError

    with log.kept(tmp_path / "train.log", output), pytest.raises(RuntimeError):
        fails()
    [name] = storage.listing(f"{output}/logs")
    assert storage.read_bytes(f"{output}/logs/{name}") == b"for people\nfrom a library\n"
    assert "for people" in capfd.readouterr().out  # a pod's own log has it, too


def test_a_local_stage_leaves_its_log_to_its_launcher(tmp_path: Path) -> None:
    with log.kept(tmp_path / "train.log", str(tmp_path)):
        print("for people")
    assert list(tmp_path.iterdir()) == []
