"""Loading, the gradient trap, merging, and what is said about a base that cannot be had."""

from __future__ import annotations

import http.server
import json
import math
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_model
import torch

from medisum_utils.modelling.adapter import attach_lora
from medisum_utils.modelling.model import (
    base_digest,
    load_base,
    load_tokenizer,
    merge,
    pick_device,
    use_bf16,
    weights_gib,
)
from medisum_utils.modelling.training import check_machine
from medisum_utils.runs.hub import find_base

RANK, ALPHA = 4, 8


def with_lora(model):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    model = get_peft_model(model, config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # zero at first, which would hide every mistake
            weight.data.normal_(std=0.05)
    return model


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    with_lora(load_base(base)).save_pretrained(folder)
    return folder


def batch() -> torch.Tensor:
    return torch.randint(10, 250, (2, 24), generator=torch.Generator().manual_seed(3))


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(batch()).logits


def gradients(model) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad()
    model(input_ids=batch(), labels=batch()).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_linear_layers_are_nf4_with_double_quantisation(base):
    from bitsandbytes.nn import Linear4bit

    model = load_base(base)
    layers = [m for m in model.modules() if isinstance(m, Linear4bit)]
    assert len(layers) == 2 * 7  # q, k, v, o, gate, up, down of two blocks
    for layer in layers:
        assert layer.weight.dtype == torch.uint8
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.nested
    assert model.get_input_embeddings().weight.dtype == torch.float32


def test_gradients_are_the_same_before_and_after_an_evaluation(base):
    model = with_lora(load_base(base))
    before = gradients(model)
    logits(model)
    after = gradients(model)
    assert len(before) == 2 * 2 * 7
    for name, gradient in before.items():
        assert gradient.abs().sum() > 0
        assert torch.equal(gradient, after[name]), name


def test_the_trap_that_the_guard_closes_is_there(base):
    from bitsandbytes.functional import has_avx512bf16
    from bitsandbytes.nn import Linear4bit

    if not has_avx512bf16():
        pytest.skip("needs a CPU with AVX512-BF16; others do not repack")
    model = with_lora(load_base(base))
    before = gradients(model)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = True
    logits(model)
    after = gradients(model)
    wrong = sum((after[n] - g).norm() > 0.05 * g.norm() for n, g in before.items())
    assert wrong > len(before) / 2


def test_merging_gives_w_plus_b_a(base, adapter):
    from bitsandbytes.functional import dequantize_4bit

    quantised = attach_lora(load_base(base), adapter)
    merged = merge(base, adapter)
    for n, block in enumerate(merged.model.layers):
        for part, name in (("self_attn", "q_proj"), ("self_attn", "v_proj"), ("mlp", "down_proj")):
            layer = getattr(getattr(quantised.base_model.model.model.layers[n], part), name)
            weight = layer.base_layer.weight
            w = dequantize_4bit(weight.data, weight.quant_state).float()
            b, a = layer.lora_B["default"].weight, layer.lora_A["default"].weight
            expected = w + ALPHA / RANK * (b @ a)
            got = getattr(getattr(block, part), name).weight
            assert (expected - w).abs().max() > 0.01
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_a_merged_model_computes_what_base_and_adapter_compute(base, adapter):
    merged, apart = logits(merge(base, adapter)), logits(attach_lora(load_base(base), adapter))
    plain = logits(load_base(base))
    scale = (apart - plain).norm()  # what the adapter contributes
    assert scale > 0.1
    assert (merged - apart).norm() < 1e-3 * scale


def test_merging_twice_gives_the_same_and_changes_no_file(base, adapter):
    files = {p: p.read_bytes() for p in [*adapter.iterdir(), *Path(base).iterdir()] if p.is_file()}
    first, second = merge(base, adapter).state_dict(), merge(base, adapter).state_dict()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert all(path.read_bytes() == content for path, content in files.items())


def test_a_merged_model_is_a_plain_one_that_can_be_saved(base, adapter, tmp_path):
    from transformers import AutoModelForCausalLM

    merged = merge(base, adapter)
    merged.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(again), logits(merged))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_incomplete_adapter_is_an_error(base, adapter, tmp_path, name):
    for path in adapter.iterdir():
        if path.name != name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    for use in (lambda: merge(base, tmp_path), lambda: attach_lora(load_base(base), tmp_path)):
        with pytest.raises(FileNotFoundError, match=f"{name}.*03_qlora_train"):
            use()


def test_an_adapter_of_another_base_or_without_effect_is_an_error(base, adapter, tmp_path):
    for shape in ({"num_hidden_layers": 1}, {"num_hidden_layers": 3}, {"intermediate_size": 192}):
        other = small_model.make_base(tmp_path / str(shape), **shape)
        with pytest.raises(ValueError, match=r"other sizes|LoRA matrices"):
            attach_lora(load_base(str(other)), adapter)
    from peft import LoraConfig, get_peft_model

    untrained = get_peft_model(load_base(base), LoraConfig(target_modules="all-linear"))
    untrained.save_pretrained(tmp_path / "untrained")
    with pytest.raises(ValueError, match="changes nothing"):
        merge(base, tmp_path / "untrained")


def test_a_missing_base_says_what_to_do(project, tmp_path):
    for name in ("models/medisum-tiny-base", str(tmp_path / "nowhere"), "./here", "one-word"):
        with pytest.raises(FileNotFoundError, match="00_tiny_base") as caught:
            load_base(name)
        assert str(tmp_path) not in str(caught.value)
    (tmp_path / "models" / "half").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_base("models/half")
    (tmp_path / "models" / "half" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(FileNotFoundError, match=r"models/half holds no tokenizer\.json or "):
        load_tokenizer("models/half")


def test_a_base_is_found_from_any_folder(project, monkeypatch, tmp_path):
    small_model.make_base(tmp_path / "models" / "some-base")
    monkeypatch.chdir("/")
    assert load_tokenizer("models/some-base").bos_token == "<|begin_of_text|>"
    assert find_base("models/some-base") == str(tmp_path / "models" / "some-base")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of our own on this machine: it answers with the status that the test sets."""
    import huggingface_hub.constants as constants

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            status, code = self.server.answer
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ((401, "GatedRepo"), PermissionError, r"\(401\).*hf auth login"),
        ((401, "RepoNotFound"), PermissionError, r"\(401\).*hf auth login"),
        ((403, "GatedRepo"), PermissionError, r"\(403\).*licence.*huggingface\.co/some-org/gated"),
        ((403, None), PermissionError, r"\(403\).*licence"),
        ((404, "RepoNotFound"), FileNotFoundError, r"\(404\).*check its name"),
        ((404, "EntryNotFound"), FileNotFoundError, r"config\.json \(404\)"),
        ((400, None), ConnectionError, "status 400.*local path"),
    ],
)
def test_every_refusal_of_the_hub_is_told_apart(project, hub, answer, kind, says):
    hub.answer = answer
    with pytest.raises(kind, match=says) as caught:
        find_base("some-org/gated", endpoint=f"http://127.0.0.1:{hub.server_port}")
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_is_said(project, hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the hub's client tries again and again
    with pytest.raises(ConnectionError, match="cannot be reached"):
        find_base("some-org/some-model", endpoint="http://127.0.0.1:1")


def test_offline_is_said(project, hub, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=r"HF_HUB_OFFLINE.*local path"):
        find_base("some-org/some-model")
    with pytest.raises(ValueError, match="owner/model"):
        find_base("some-org/bad name?")


def test_resources_are_checked_before_work(tmp_path, monkeypatch):
    check_machine(0.01, "cpu", tmp_path / "models" / "new")
    with pytest.raises(MemoryError, match="expected 4000002"):
        check_machine(1e6, "cpu", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**29))
        with pytest.raises(OSError, match=r"expected 1\.0 GiB of free disk"):
            check_machine(0.01, "cpu", tmp_path)
    with pytest.raises(ValueError, match="auto, cpu or cuda"):
        pick_device("tpu")
    if not torch.cuda.is_available():
        assert pick_device("auto") == "cpu"
        with pytest.raises(RuntimeError, match="CUDA GPU"):
            check_machine(5.0, "cuda", tmp_path)


def test_the_weights_of_llama3_8b_take_what_was_measured_elsewhere():
    from transformers import LlamaConfig

    config = LlamaConfig(  # meta-llama/Meta-Llama-3-8B
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    )
    assert weights_gib(config, "bfloat16") == pytest.approx(5.31, abs=0.01)


def test_the_estimate_agrees_with_a_loaded_model(base):
    model = load_base(base, dtype="bfloat16")
    loaded = 0
    for weight in model.parameters():
        state = getattr(weight, "quant_state", None)
        loaded += weight.nbytes
        if state is not None:
            loaded += state.absmax.nbytes + state.state2.absmax.nbytes
    assert weights_gib(model.config, "bfloat16") * 2**30 == pytest.approx(loaded, rel=0.01)


def test_arithmetic_is_chosen_by_name_or_by_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_units in (False, True):
        monkeypatch.setattr("bitsandbytes.functional.has_avx512bf16", lambda has=has_units: has)
        assert use_bf16("auto", "cpu") is has_units
        assert use_bf16("auto", "cuda")
        assert use_bf16("bf16", "cpu")
        assert not use_bf16("fp32", "cuda")
    with pytest.raises(ValueError, match="got 'fp16'"):
        use_bf16("fp16", "cpu")


def test_a_base_has_one_digest_wherever_it_lies(project, base, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    cache = tmp_path / "cache" / "models--some-org--small"
    commit = "0123456789" * 4
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    shutil.copytree(base, cache / "snapshots" / commit)
    (cache / "snapshots" / commit / "README.md").write_text("of no weight")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    digest = base_digest(base)
    assert len(digest) == 64
    assert base_digest("some-org/small") == digest
    assert base_digest(str(shutil.copytree(base, tmp_path / "copy"))) == digest
    (tmp_path / "copy" / "pytorch_model.bin").write_bytes(b"not loaded beside safetensors")
    assert base_digest(str(tmp_path / "copy")) == digest

    (cache / "snapshots" / commit / "model.safetensors").unlink()  # only the small files are there
    with pytest.raises(FileNotFoundError, match=r"some-org/small are not all there"):
        base_digest("some-org/small")


def test_the_digest_follows_each_file_that_makes_the_base(base, tmp_path):
    digests = {base_digest(base)}
    for n, name in enumerate(
        ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"), 2
    ):
        folder = shutil.copytree(base, tmp_path / name)
        before = (folder / name).stat()
        assert base_digest(str(folder)) in digests
        content = bytearray((folder / name).read_bytes())
        content[-2] ^= 1
        (folder / name).write_bytes(content)  # of the same size and time
        os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))
        digests.add(base_digest(str(folder)))
        assert len(digests) == n
    renamed = shutil.copytree(base, tmp_path / "renamed")
    (renamed / "model.safetensors").rename(renamed / "other.safetensors")
    (renamed / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "other.safetensors", "b": "model-2.safetensors"}}'
    )
    with pytest.raises(FileNotFoundError, match=r"not all there: expected model-2\.safetensors"):
        base_digest(str(renamed))
    (renamed / "model.safetensors.index.json").unlink()
    assert base_digest(str(renamed)) not in digests
    (renamed / "other.safetensors").rename(renamed / "pytorch_model.bin")
    assert base_digest(str(renamed)) not in digests


@pytest.mark.parametrize("kept", [0, 7, 300, -1])
def test_a_truncated_adapter_is_named_with_the_step_that_makes_it(base, adapter, tmp_path, kept):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    for use in (lambda: merge(base, folder), lambda: attach_lora(load_base(base), folder)):
        with pytest.raises(
            ValueError, match=r"adapter_model\.safetensors is cut off .*03_qlora_train"
        ):
            use()


@pytest.mark.parametrize("content", ["", '{"peft_type": "LO', "[]", "{}", '{"peft_type": "LORE"}'])
def test_a_broken_adapter_configuration_is_named(base, adapter, tmp_path, content):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"adapter_config\.json.*03_qlora_train"):
        merge(base, folder)


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"]
)
def test_not_a_number_in_the_base_is_said_of_the_base(base, adapter, tmp_path, name):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(base, tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    weights[name][3, 5] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"^the base .*NaN.*{name}.*the adapter holds none"):
        merge(str(folder), adapter)


def test_not_a_number_in_the_adapter_is_said_of_the_adapter(base, adapter, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(adapter, tmp_path / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    name = sorted(weights)[-1]
    weights[name][0, 0] = math.inf
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=rf"adapter_model\.safetensors: .*1 of {len(weights)} matrices.*{name}"
    ):
        merge(base, folder)
