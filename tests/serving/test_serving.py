"""The server over real HTTP: with a small random model, without one, and with bad requests."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import small_chat
import small_model

from medisum_utils.encounter import SECTIONS
from medisum_utils.modelling.decoding import DECODING_FILE, Decoding, write_decoding
from medisum_utils.modelling.generation import WrittenNote
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.modelling.template import CONTROL_TOKENS
from medisum_utils.serving.app import create_app, n_soap_sections
from medisum_utils.serving.background import BackgroundServer
from medisum_utils.serving.checks import Limits, Refusal, check_dialogue
from medisum_utils.serving.engine import Engine
from medisum_utils.serving.writer import ModelWriter, load_writer

ROOT = Path(__file__).resolve().parents[2]
PROFILE = "made-up"
DIALOGUE = "Doctor: What is wrong?\nPatient: I have had a dry cough for 9 days."
SECRET = ("Quixby", "xylophobia", "zanzibar")  # words that no response and no log may contain
SECRET_DIALOGUE = "Doctor: What is it, Quixby?\nPatient: I have xylophobia since zanzibar."


@pytest.fixture(scope="module", autouse=True)
def no_proxy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A project folder with a random base and a random adapter, as 03 writes them."""
    return make_home(tmp_path_factory.mktemp("home"), small_model.make_tokenizer)


def make_home(root: Path, tokenizer_maker) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = small_model.make_base(root / "models" / "small-base", tokenizer_maker=tokenizer_maker)
    adapter = root / "models" / PROFILE
    lora = LoraConfig(
        r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(adapter)
    tokenizer = AutoTokenizer.from_pretrained(base)
    Renderer(tokenizer, small_model.INSTRUCTION, str(base)).save(adapter)
    small_model.record_adapter(adapter, base)
    return root


@pytest.fixture(scope="module")
def writer(home) -> ModelWriter:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISUM_HOME", str(home))
        return load_writer(PROFILE)


@pytest.fixture
def copied_home(home, tmp_path, monkeypatch) -> Path:
    """A copy of the project that a test may damage; returns its adapter."""
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.setenv("MEDISUM_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models" / PROFILE


def test_what_is_served_is_what_was_scored(copied_home, writer):
    from medisum_utils.modelling.generation import generate_notes

    dialogues = [e.dialogue_text for e in small_model.encounters(2)]
    notes = generate_notes(writer.model, writer.renderer, dialogues, Decoding(20))
    write_decoding(copied_home / DECODING_FILE, Decoding(20), copied_home)
    with pytest.raises(ValueError, match=r"decoding\.json is not the one that 04_eval wrote"):
        load_writer(PROFILE)
    small_model.record_run(copied_home)
    served = load_writer(PROFILE).write(dialogues)
    assert [note.text for note in served] == [note.text for note in notes]
    assert served != writer.write(dialogues)


def test_an_adapter_that_was_never_scored_is_not_served(copied_home):
    (copied_home / DECODING_FILE).unlink()
    with pytest.raises(FileNotFoundError, match="04_eval"):
        load_writer(PROFILE)


def test_a_decoding_of_another_adapter_or_another_form_is_refused(copied_home):
    path = copied_home / DECODING_FILE
    scored = json.loads(path.read_text())
    changes = (
        {"adapter_sha256": "0" * 64},
        {"max_new_tokens": 0},
        {"max_new_tokens": "24"},
        {"guidance": 1.75},
    )
    for change in changes:
        path.write_text(json.dumps({**scored, **change}))
        with pytest.raises(ValueError, match=r"decoding\.json.*04_eval") as refused:
            load_writer(PROFILE)
    assert "'guidance'" in str(refused.value)


def test_the_adapter_of_another_profile_is_not_served_under_this_name(copied_home):
    other = shutil.copytree(copied_home, copied_home.with_name("other"))
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 2}))
    record = json.loads((other / "training.json").read_text())
    small_model.record_adapter(other, Path(record["base"]))  # consistent in itself
    shutil.rmtree(copied_home)
    shutil.copytree(other, copied_home)
    with pytest.raises(ValueError, match="is not the one that 03_qlora_train wrote"):
        load_writer(PROFILE)


def test_another_adapter_base_prompt_or_tokenizer_is_not_served(copied_home, home):
    base = copied_home.parent / "small-base"
    moved = str(shutil.copytree(base, base.with_name("moved")))
    assert load_writer(PROFILE, moved)  # the same base in another folder

    prompt = json.loads((copied_home / "prompt.json").read_text())
    (copied_home / "prompt.json").write_text(json.dumps({**prompt, "instruction": "Rhyme."}))
    with pytest.raises(ValueError, match=r"prompt\.json changed"):
        load_writer(PROFILE, moved)
    shutil.copy(home / "models" / PROFILE / "prompt.json", copied_home)

    small_model.make_base(Path(moved), seed=1)
    with pytest.raises(ValueError, match="trained on another base"):
        load_writer(PROFILE, moved)

    weights = copied_home / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors changed"):
        load_writer(PROFILE, str(base))


class Watched:
    """The real writer, with a record of its batches; a test can make it wait before each."""

    def __init__(self, writer: ModelWriter) -> None:
        self.writer = writer
        self.name, self.max_prompt_tokens = writer.name, writer.max_prompt_tokens
        self.batches: list[list[str]] = []
        self.may_write = threading.Event()
        self.may_write.set()
        self.error: Exception | None = None
        self.signed = False  # adds the dialogue's last line, so that notes can be told apart

    def count_tokens(self, dialogue: str) -> int:
        return self.writer.count_tokens(dialogue)

    def write(self, dialogues):
        self.batches.append(list(dialogues))
        assert self.may_write.wait(60), "nobody let the writer go on"
        if self.error:
            raise self.error
        notes = self.writer.write(dialogues)
        if self.signed:
            pairs = zip(notes, dialogues, strict=True)
            notes = [replace(n, text=f"{n.text}\nPlan: {d.splitlines()[-1]}") for n, d in pairs]
        return notes


@contextmanager
def serving(load, limits: Limits | None = None, **settings):
    """A running server and its engine."""
    engine = Engine(load, **settings)
    with BackgroundServer(create_app(engine, limits)) as server:
        yield server.url, engine


@pytest.fixture
def watched(writer) -> Watched:
    return Watched(writer)


@pytest.fixture
def served(watched):
    with serving(lambda: watched, max_waiting=3, max_batch=3, gather_s=0.0) as (url, engine):
        engine.wait_until_loaded(30)
        yield url, engine
        watched.may_write.set()


def ask(url: str, dialogue: str = DIALOGUE, **options) -> requests.Response:
    return requests.post(f"{url}/generate", json={"dialogue": dialogue}, timeout=60, **options)


def until(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def test_the_answer_is_the_models_note_in_its_sections(served, writer):
    reply = ask(served[0])
    answer = reply.json()
    (written,) = writer.write([DIALOGUE])
    assert reply.status_code == 200
    assert answer["soap_note"] == written.text
    assert answer["finished"] == written.finished
    assert set(answer["sections"]) == set(SECTIONS)
    assert answer["model"] == writer.name == f"small-base+{PROFILE}"


def test_a_note_in_divisions_is_answered_by_soap_section_with_one_place_for_a_joint_header():
    class Divided:
        name, max_prompt_tokens = "divided", 100

        def count_tokens(self, dialogue):
            return 1

        def write(self, dialogues):
            note = "CC\n\nCough.\n\nPHYSICAL EXAM\n\nClear.\n\nASSESSMENT AND PLAN\n\nCold: tea."
            return [WrittenNote(note, 9, finished=True) for _ in dialogues]

    with serving(Divided) as (url, engine):
        engine.wait_until_loaded(30)
        answer = ask(url).json()
    assert answer["sections"] == {
        "subjective": "CC\n\nCough.",
        "objective": "PHYSICAL EXAM\n\nClear.",
        "assessment": "",
        "plan": "",
    }
    assert (answer["assessment_and_plan"], answer["unknown"]) == ("Cold: tea.", "")
    assert n_soap_sections(answer) == 4
    assert n_soap_sections({**answer, "assessment_and_plan": ""}) == 2


def test_line_ends_and_empty_lines_do_not_change_the_prompt(served, watched):
    ask(served[0], "\r\n\r\n" + DIALOGUE.replace("\n", "  \r\n\r\n") + "\r\n")
    assert watched.batches == [[DIALOGUE]]


@pytest.fixture(params=["llama-3", "own"])
def writer_of_a_template(request, tmp_path, monkeypatch) -> ModelWriter:
    """Of a base with the Llama-3 template, and of one that brings its own."""
    if request.param == "llama-3":
        return request.getfixturevalue("writer")
    monkeypatch.setenv("MEDISUM_HOME", str(make_home(tmp_path, small_chat.make_tokenizer)))
    return load_writer(PROFILE)


def test_control_tokens_in_a_dialogue_reach_the_model_as_text(writer_of_a_template):
    writer = writer_of_a_template
    seen: list[list[int]] = []

    def spy(module, args, kwargs):
        seen.append(kwargs["input_ids"][0].tolist())

    spelt = (*CONTROL_TOKENS, *small_chat.MARKED, small_chat.UNMARKED)
    hostile = DIALOGUE + " " + "".join(spelt)
    hook = writer.model.register_forward_pre_hook(spy, with_kwargs=True)
    try:
        with serving(lambda: writer) as (url, engine):
            engine.wait_until_loaded(30)
            assert ask(url).status_code == 200
            n_plain = len(seen)
            assert ask(url, hostile).status_code == 200
    finally:
        hook.remove()
    plain, prompt = seen[0], seen[n_plain]
    assert set(writer.renderer.control_ids) <= set(spelt)
    control = {*writer.renderer.control_ids.values(), *writer.renderer.stop_ids}
    for number in control:
        assert prompt.count(number) == plain.count(number)
    assert len(prompt) > len(plain)
    assert prompt == writer.renderer.prompt_ids(hostile)


def test_waiting_requests_are_written_together(served, watched):
    url, engine = served
    watched.may_write.clear()
    with ThreadPoolExecutor(4) as clients:
        first = clients.submit(ask, url)
        until(lambda: len(watched.batches) == 1)
        rest = [clients.submit(ask, url, f"{DIALOGUE}\nDoctor: {i}?") for i in range(3)]
        until(lambda: engine.n_waiting == 3)
        watched.may_write.set()
        assert [reply.result().status_code for reply in (first, *rest)] == [200] * 4
    assert [len(batch) for batch in watched.batches] == [1, 3]


def test_each_client_of_a_batch_gets_its_own_note(served, watched):
    url, engine = served
    watched.signed = True
    watched.may_write.clear()
    with ThreadPoolExecutor(4) as clients:
        blocker = clients.submit(ask, url)
        until(lambda: len(watched.batches) == 1)
        replies = []
        for n, word in enumerate(small_model.MEDICINES[:3], start=1):
            replies.append(clients.submit(ask, url, f"{DIALOGUE}\nDoctor: Take {word}."))
            until(lambda n=n: engine.n_waiting == n)
        watched.may_write.set()
        plans = [reply.result().json()["sections"]["plan"] for reply in replies]
        blocker.result()
    assert len(watched.batches[1]) == 3
    assert plans == [f"Doctor: Take {word}." for word in small_model.MEDICINES[:3]]


def test_a_full_queue_answers_429_and_says_when_to_retry(served, watched):
    url, engine = served
    watched.may_write.clear()
    with ThreadPoolExecutor(4) as clients:
        first = clients.submit(ask, url)
        until(lambda: len(watched.batches) == 1)
        rest = [clients.submit(ask, url) for _ in range(3)]
        until(lambda: engine.n_waiting == 3)
        refused = ask(url)
        watched.may_write.set()
        assert all(reply.result().status_code == 200 for reply in (first, *rest))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert ask(url).status_code == 200


def test_a_client_that_disconnects_frees_its_place(served, watched):
    url, engine = served
    watched.may_write.clear()
    with ThreadPoolExecutor(1) as clients:
        first = clients.submit(ask, url)
        until(lambda: len(watched.batches) == 1)
        leaving = "Doctor: Are you there?\nPatient: Not for long."
        body = json.dumps({"dialogue": leaving})
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            until(lambda: engine.n_waiting == 1)
        until(lambda: engine.n_waiting == 0)
        watched.may_write.set()
        assert first.result().status_code == 200
    assert ask(url).status_code == 200
    assert all(leaving not in batch for batch in watched.batches)


def test_a_failing_model_answers_500_without_the_text_and_keeps_serving(served, watched, caplog):
    caplog.set_level(logging.DEBUG)
    watched.error = ValueError(SECRET_DIALOGUE)
    reply = ask(served[0], SECRET_DIALOGUE)
    assert reply.status_code == 500
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert "ValueError" in caplog.text
    assert not any(word in reply.text + caplog.text for word in SECRET)
    watched.error = None
    assert ask(served[0]).status_code == 200


JSON = {"content-type": "application/json"}
SECRET_BODY = json.dumps({"dialogue": SECRET_DIALOGUE})
BAD = {
    "empty": ({"json": {"dialogue": ""}}, 422, "no text"),
    "blank": ({"json": {"dialogue": " \n\t"}}, 422, "no text"),
    "one turn": ({"json": {"dialogue": SECRET_DIALOGUE.splitlines()[0]}}, 422, "2 turns"),
    "prose": (
        {"json": {"dialogue": "Quixby has\nxylophobia\nzanzibar"}},
        422,
        "before any known speaker",
    ),
    "labels without text": ({"json": {"dialogue": "Doctor:\nPatient:\n"}}, 422, "got none"),
    "no dialogue": ({"json": {"Quixby": "xylophobia"}}, 422, "no dialogue"),
    "a list": ({"json": [SECRET_DIALOGUE]}, 422, "expected"),
    "a number": ({"json": {"dialogue": 7}}, 422, "string"),
    "nested": ({"json": {"dialogue": {"Quixby": SECRET_DIALOGUE}}}, 422, "string"),
    "half a character": ({"json": {"dialogue": SECRET_DIALOGUE + "\ud800"}}, 422, "Unicode"),
    "characters": ({"json": {"dialogue": SECRET_DIALOGUE * 60}}, 413, "characters"),
    "tokens": ({"json": {"dialogue": SECRET_DIALOGUE + " zanzibar" * 150}}, 413, "tokens"),
    "bytes": ({"json": {"dialogue": SECRET_DIALOGUE * 400}}, 413, "bytes"),
    "bytes in chunks": ({"data": (b"Quixby " * 9 for _ in range(2000))}, 413, "bytes"),
    "cut JSON": ({"data": SECRET_BODY[:-2], "headers": JSON}, 400, "JSON"),
    "deep JSON": ({"data": "[" * 9000, "headers": JSON}, 400, "JSON"),
    "huge number": ({"data": '{"dialogue": ' + "9" * 5000 + "}", "headers": JSON}, 400, "JSON"),
    "latin-1": ({"data": SECRET_BODY[:-2].encode() + b'\xe9"}', "headers": JSON}, 400, "UTF-8"),
    "utf-16": ({"data": SECRET_BODY.encode("utf-16"), "headers": JSON}, 400, "UTF-8"),
    "form": ({"data": {"dialogue": SECRET_DIALOGUE}}, 415, "application/json"),
    "plain text": (
        {"data": SECRET_BODY, "headers": {"content-type": "text/plain"}},
        415,
        "application/json",
    ),
}


@pytest.fixture(scope="module")
def strict(writer):
    limits = Limits(max_body_bytes=10_000, max_characters=4_000)
    with serving(lambda: writer, limits) as (url, engine):
        engine.wait_until_loaded(30)
        yield url


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_the_reason_and_without_the_text(strict, caplog, name):
    caplog.set_level(logging.DEBUG, logger="medisum_utils")
    content, status, reason = BAD[name]
    reply = requests.post(f"{strict}/generate", timeout=60, **content)
    assert (reply.status_code, reason in reply.json()["detail"]) == (status, True), reply.text
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert not any(word in reply.text + str(reply.headers) + caplog.text for word in SECRET)


def test_a_body_that_never_ends_times_out(writer):
    with serving(lambda: writer, Limits(body_timeout_s=0.2)) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
            assert client.recv(65536).startswith(b"HTTP/1.1 408")


def test_logs_name_known_paths_only(served, caplog):
    caplog.set_level(logging.DEBUG)
    requests.get(f"{served[0]}/Quixby?xylophobia=zanzibar", timeout=10)
    requests.get(f"{served[0]}/health?Quixby=xylophobia", timeout=10)
    ask(served[0], SECRET_DIALOGUE)

    def ours() -> list[str]:
        return [record.getMessage() for record in caplog.records if "medisum" in record.name]

    until(
        lambda: any("POST /generate 200" in line for line in ours())
    )  # logged after the response is sent
    assert not any(word in line for word in SECRET for line in ours())


def test_request_id_is_echoed_if_it_is_plain(served):
    named = requests.get(f"{served[0]}/health", headers={"x-request-id": "visit-7.b"}, timeout=10)
    assert named.headers["x-request-id"] == "visit-7.b"
    odd = requests.get(f"{served[0]}/health", headers={"x-request-id": "Quixby xy"}, timeout=10)
    assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])


def test_while_loading_503_with_retry_after_then_ok(writer):
    may_load = threading.Event()

    def load():
        assert may_load.wait(30)
        return writer

    with serving(load) as (url, engine):
        health, refused = requests.get(f"{url}/health", timeout=10), ask(url)
        assert (health.status_code, health.json()["status"]) == (503, "loading")
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "loading" in refused.json()["detail"]
        may_load.set()
        engine.wait_until_loaded(30)
        health = requests.get(f"{url}/health", timeout=10)
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        assert health.json()["model"] == writer.name
        assert ask(url).status_code == 200


@pytest.mark.parametrize("missing", ["adapter_model.safetensors", "adapter_config.json"])
def test_without_an_adapter_503_names_the_notebook(home, tmp_path, monkeypatch, missing):
    folder = tmp_path / "models" / PROFILE
    folder.mkdir(parents=True)
    for path in (home / "models" / PROFILE).iterdir():
        if path.name != missing and path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("MEDISUM_HOME", str(tmp_path))
    with serving(functools.partial(load_writer, PROFILE)) as (url, engine):
        until(lambda: engine.state != "loading")
        reply, health = ask(url), requests.get(f"{url}/health", timeout=10)
    assert reply.status_code == 503
    assert "03_qlora_train" in reply.json()["detail"]
    assert (health.status_code, health.json()["status"]) == (503, "unavailable")
    assert missing in health.json()["reason"]
    assert str(tmp_path) not in reply.text + health.text


def test_without_the_base_503_and_a_line_in_the_log(home, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MEDISUM_HOME", str(home))
    load = functools.partial(load_writer, PROFILE, str(tmp_path / "no-such-base"))
    with serving(load) as (url, engine):
        until(lambda: engine.state != "loading")
        reply = ask(url)
    assert reply.status_code == 503
    assert "no model" in reply.json()["detail"]
    assert "no-such-base is missing" in caplog.text


def test_a_note_limit_beyond_the_model_is_an_error(copied_home):
    write_decoding(copied_home / DECODING_FILE, Decoding(512), copied_home)
    small_model.record_run(copied_home)
    with pytest.raises(ValueError, match="512"):
        load_writer(PROFILE)


def test_stopping_refuses_queued_requests_and_finishes_the_current_batch(watched):
    engine = Engine(lambda: watched, max_waiting=1, max_batch=1, gather_s=0.0)
    engine.start()
    engine.wait_until_loaded(30)
    watched.may_write.clear()
    running = engine.submit(DIALOGUE)
    until(lambda: len(watched.batches) == 1)
    waiting = engine.submit(DIALOGUE)
    with pytest.raises(Refusal, match="429: 1 requests are waiting"):
        engine.submit(DIALOGUE)
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    with pytest.raises(Refusal, match="503: stopped: the server is stopping"):
        waiting.result(timeout=10)
    watched.may_write.set()
    stopper.join(30)
    assert running.result(timeout=30).n_tokens > 0
    with pytest.raises(Refusal, match="503"):
        engine.submit(DIALOGUE)


@pytest.mark.parametrize("path", ["/", "/docs", "/static/demo.css", "/static/demo.js"])
def test_pages_load_nothing_from_other_hosts(served, path):
    reply = requests.get(f"{served[0]}{path}", timeout=10)
    assert reply.status_code == 200
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    loaded = re.findall(r"(?:src|href|url|import|fetch)\s*[=(]\s*[\"']?([^\"'\s)>]+)", reply.text)
    assert all(target.startswith(("/", "#", "data:,")) for target in loaded), loaded
    assert not any("//" in target for target in loaded), loaded


def test_docs_list_every_operation_status_and_field_of_the_schema(served):
    page = requests.get(f"{served[0]}/docs", timeout=10).text
    schema = requests.get(f"{served[0]}/openapi.json", timeout=10).json()
    assert set(schema["paths"]) == {"/generate", "/health"}
    listed = [*schema["paths"], *schema["paths"]["/generate"]["post"]["responses"]]
    for record in schema["components"]["schemas"].values():
        listed += record["properties"]
    assert [name for name in listed if name not in page] == []
    assert set(schema["components"]["schemas"]) == {
        *("DialogueIn", "Health", "NoteOut", "Problem", "Sections")
    }


def test_the_background_server_frees_its_port(writer):
    with serving(lambda: writer) as (url, _):
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            BackgroundServer(create_app(Engine(lambda: writer)), port=port)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/health", timeout=5)
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.slow
def test_the_serve_command_without_a_model_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = "import typer; from medisum_utils.serving.cli import serve_command as serve; "
    command = [sys.executable, "-c", script + "typer.run(serve)", "--port", str(port)]
    environment = {**os.environ, "MEDISUM_HOME": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as process:
        try:
            until(lambda: _answers(port), 60)
            reply = ask(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
        log = process.stderr.read().decode()
    assert reply.status_code == 503
    assert "03_qlora_train" in reply.json()["detail"]
    assert "POST /generate 503" in log
    assert "dry cough" not in log


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).json()["status"] != (
            "loading"
        )
    except requests.ConnectionError:
        return False


def test_a_dialogue_is_read_as_training_read_it():
    text = "GP: Where does\nit hurt?\n\n[patient] Here.\r\nDr. Singh:  I  see."
    assert check_dialogue(text, Limits()) == (
        "Doctor: Where does it hurt?\nPatient: Here.\nDoctor: I see."
    )
