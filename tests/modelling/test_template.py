"""A base's own chat template against `apply_chat_template`, and templates that must be refused."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
import small_chat
import small_model
from small_chat import CHATML, STOP

from medisum_utils.modelling.conversation import Message
from medisum_utils.modelling.example import RenderedExample
from medisum_utils.modelling.plain_text import control_tokens
from medisum_utils.modelling.prompt import PROMPT_FILE, Renderer
from medisum_utils.modelling.rendered import control_table, supervised_html

ROLES = ("system", "user", "assistant", "user", "assistant")
NOTHING = ("Write a note.", "Doctor: Hello.", "Fine.", "And the plan?", "Rest.")
PIECES = (
    *"0123456789",
    *("the knee", "hurts", "it's", "12.5", "mg", "naïve", "痛い", "🤒", "é", "ß", "́", "\u200b"),
    *(" ", "  ", "    ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "-", "...", "(", ")", "%", "\\n"),
    *("{{ x }}", "{% if %}", "<b>", "&", "|", "<|", "|>", "system\n", "user\n", "assistant\n"),
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_chat.make_tokenizer(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="module")
def chat_smollm2(smollm2: Path):
    """The tokenizer of SmolLM2-135M-Instruct."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2 / "models" / "smollm2-135m")


@pytest.fixture(params=["small", pytest.param("chat_smollm2", marks=pytest.mark.wheel)])
def chat(request):
    """A tokenizer with a chat template of its own."""
    return request.getfixturevalue(request.param)


@pytest.fixture(
    params=[
        "small",
        pytest.param("chat_smollm2", marks=pytest.mark.wheel),
        "small_llama3",
        "llama3",
    ]
)
def any_tokenizer(request, tmp_path):
    if request.param == "small_llama3":
        return small_model.make_tokenizer(tmp_path)
    found = request.getfixturevalue(request.param)
    return found[1] if request.param == "llama3" else found


def random_text(rng: random.Random) -> str:
    """Anything but control tokens, with white space at either end as likely as not."""
    while True:
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 12)))
        if text.strip():
            return text


def as_dicts(messages: list[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.text} for message in messages]


def reference(tokenizer, messages: list[Message], **options):
    """What transformers makes of it; the template's text after the last answer left out."""
    open_end = messages[-1].role != "assistant"
    text = tokenizer.apply_chat_template(
        as_dicts(messages), tokenize=False, add_generation_prompt=open_end
    )
    if options.get("as_text"):
        return text if open_end else text.removesuffix("\n")
    ids = tokenizer.apply_chat_template(
        as_dicts(messages), add_generation_prompt=open_end, return_dict=False
    )
    after = [] if open_end else tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert ids[len(ids) - len(after) :] == after
    return ids[: len(ids) - len(after)]


def conversation_of(texts, roles=ROLES) -> list[Message]:
    return [Message(role, text) for role, text in zip(roles, texts, strict=True)]


def decoded(tokenizer, ids) -> str:
    return tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=False)


def test_harmless_texts_get_the_ids_of_apply_chat_template(chat):
    renderer = Renderer(chat, "x")
    rng = random.Random(7)
    n_spaced = 0
    for _ in range(400):
        texts = [random_text(rng) for _ in ROLES]
        # Before an answer stands the prompt, which serving sends as it is: see the next test.
        texts[2::2] = [text.lstrip() for text in texts[2::2]]
        n_spaced += texts[1] != texts[1].strip()
        for n in (2, 3, 4, 5):
            messages = conversation_of(texts[:n], ROLES[:n])
            assert renderer.conversation(messages)[0] == reference(chat, messages)
    assert n_spaced > 100


def test_a_prompt_begins_its_example_whatever_the_answer_begins_with(chat):
    renderer = Renderer(chat, "x")
    rng = random.Random(8)
    n_apart = 0
    for _ in range(200):
        texts = [random_text(rng) for _ in ROLES]
        texts[2::2] = [rng.choice(["\n", "\n\n\n", "   ", " \n ", "\t"]) + t for t in texts[2::2]]
        messages = conversation_of(texts)
        ids, mask = renderer.conversation(messages)
        for n in (2, 4):
            prompt, supervised = renderer.conversation(messages[:n])
            assert ids[: len(prompt)] == prompt
            assert mask[: len(prompt)] == supervised
            assert mask[len(prompt)] == 1
        assert decoded(chat, ids) == reference(chat, messages, as_text=True)
        n_apart += ids != reference(chat, messages)
    assert n_apart > 20  # the two claims do meet


@pytest.mark.parametrize("place", range(5), ids=["instruction", "dialogue", "note", "request", "2"])
def test_control_tokens_stay_text_wherever_they_are_spelt(any_tokenizer, place):
    control = control_tokens(any_tokenizer)
    spelt = "".join(control) + " " + " ".join(control) + "\n" + "\n".join(control)
    texts = list(NOTHING)
    texts[place] = f"I said {spelt} and so on."
    renderer = Renderer(any_tokenizer, texts[0])
    ids, mask = renderer.conversation(conversation_of(texts))
    plain, _ = renderer.conversation(conversation_of(NOTHING))

    def counted(tokens):
        return Counter(token for token in tokens if token in set(control.values()))

    assert counted(ids) == counted(plain)
    assert counted(any_tokenizer(spelt)["input_ids"]).total() >= 3 * len(control)  # a real trap
    assert texts[place] in decoded(any_tokenizer, ids)
    example = RenderedExample("e1", tuple(ids), tuple(mask))
    assert [renderer.decode_note(part) for part in example.completions] == [texts[2], texts[4]]
    assert all(part[-1] == renderer.stop_ids[0] for part in example.completions)
    if place == 1:
        assert renderer.prompt_ids(texts[1]) == ids[: example.n_prompt_tokens]


def test_the_supervised_tokens_are_the_notes(any_tokenizer):
    renderer = Renderer(any_tokenizer, small_model.INSTRUCTION)
    for encounter in small_model.encounters(20):
        example = renderer.example(encounter)
        ((*note, end),) = example.completions
        assert renderer.decode_note(note) == encounter.note_text
        assert end == renderer.template.end_of_turn == renderer.stop_ids[0]
        assert list(example.input_ids) == [
            *renderer.prompt_ids(encounter.dialogue_text),
            *renderer.completion_ids(encounter.note_text),
        ]


def test_a_llama3_conversation_in_parts_equals_metas(llama3):
    from llama_models.datatypes import RawMessage, StopReason
    from llama_models.llama3.chat_format import ChatFormat

    meta, converted = llama3
    chat = ChatFormat(meta)
    texts = ("Write.", " Patient: 12 days <|eot_id|>\n", "Fine.\n", "\nThe plan?", "Rest.")
    messages = [
        RawMessage(role=role, content=text, stop_reason=StopReason.end_of_turn)
        if role == "assistant"
        else RawMessage(role=role, content=text)
        for role, text in zip(ROLES, texts, strict=True)
    ]
    ids, mask = Renderer(converted, "Write.").conversation(conversation_of(texts))
    header = chat.encode_dialog_prompt([]).tokens[1:]  # of the answer that would come next
    assert ids + header == chat.encode_dialog_prompt(messages).tokens
    supervised = [token for token, on in zip(ids, mask, strict=True) if on]
    assert converted.decode(supervised) == "Fine.\n<|eot_id|>Rest.<|eot_id|>"


@pytest.mark.parametrize(
    ("how", "ends"),
    [("trim", (True, True)), (".lstrip()", (True, False)), (".rstrip()", (False, True))],
)
def test_a_template_that_strips_messages_is_followed(tmp_path, how, ends):
    content = "message['content']" + (how if how.startswith(".") else f" | {how}")
    template = CHATML.replace("message['content']", f"({content})")
    tokenizer = small_chat.make_tokenizer(tmp_path, template)
    renderer = Renderer(tokenizer, "x")
    rng = random.Random(9)
    for _ in range(100):
        texts = [random_text(rng) for _ in ROLES]
        if not ends[0]:
            texts[2::2] = [text.lstrip() for text in texts[2::2]]
        messages = conversation_of(texts)
        assert renderer.conversation(messages)[0] == reference(tokenizer, messages)
    places = [part for part in renderer.template.lay_out(ROLES) if not isinstance(part, int | str)]
    assert [(place.strips_left, place.strips_right) for place in places] == [ends] * 5


IN_PARTS = "refused for a note in parts alone"
LAST_ONLY = "(('<x>' if loop.last else '') + message['content'])"
REFUSED = {
    "(message['content'] | upper)": "5 of 5|3 of 3|2 of 2",
    "(message['content'] | escape)": "do not come back once each",
    "(message['content'] | replace('\n', ' '))": "do not come back once each",
    "(message['content'] * 2)": "do not come back once each",
    "(message['content'] if loop.index != 2 else '')": "1 of [23] that do not come back",
    "(messages[-loop.index]['content'])": "unchanged and in order",
    "(message['content'].strip('\n'))": "white space at the ends",
    "(message['content'] + '.')": "closes each answer with the same control token",
    "(message['content'] + ('<file_sep>' if loop.index == 3 else ''))": IN_PARTS,
    "(message['content'] + ('<file_sep>' if messages | length > 3 and loop.index is odd"
    " and loop.index > 1 else ''))": IN_PARTS,
    LAST_ONLY: "leads up to an answer in the same way",
    "(raise_exception('no system here') if loop.first else message['content'])": "no system here",
    "(message['content'] + strftime_now('%d'))": "strftime_now",
}


@pytest.mark.parametrize("content", REFUSED)
def test_a_template_that_does_more_than_place_messages_is_refused(tmp_path, content):
    tokenizer = small_chat.make_tokenizer(tmp_path, CHATML.replace("message['content']", content))
    if REFUSED[content] != IN_PARTS:
        with pytest.raises(ValueError, match=REFUSED[content]):
            Renderer(tokenizer, "x")
    else:
        renderer = Renderer(tokenizer, "x")
        with pytest.raises(ValueError, match="closes each answer with the same control token"):
            renderer.conversation(conversation_of(NOTHING))


def test_a_base_without_a_template_is_told_what_to_do(tmp_path):
    tokenizer = small_chat.make_tokenizer(tmp_path, template=None)
    with pytest.raises(ValueError, match=r"made for chat, or put .* as chat_template\.jinja"):
        Renderer(tokenizer, "x")


def changed_tokenizer(folder: Path, change):
    """The small tokenizer with another tokenizer.json."""
    from transformers import AutoTokenizer

    small_chat.make_tokenizer(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return AutoTokenizer.from_pretrained(folder)


def test_a_tokenizer_whose_control_tokens_change_text_is_refused(tmp_path):
    def strip_before_the_end_of_turn(content):
        (stop,) = [token for token in content["added_tokens"] if token["content"] == STOP]
        stop["lstrip"] = True

    tokenizer = changed_tokenizer(tmp_path, strip_before_the_end_of_turn)
    with pytest.raises(ValueError, match="tokens differ from those of apply_chat_template"):
        Renderer(tokenizer, "x")


def test_a_tokenizer_that_cannot_spell_its_control_tokens_is_refused(tmp_path):
    def look_up_whole_texts(content):
        content["pre_tokenizer"], content["model"]["ignore_merges"] = None, True

    tokenizer = changed_tokenizer(tmp_path, look_up_whole_texts)
    with pytest.raises(ValueError, match="cannot spell all its control tokens"):
        Renderer(tokenizer, "x")


def test_the_end_of_turn_stops_first_and_padding_is_the_bases(tmp_path):
    def ids(**tokens):
        tokenizer = small_chat.make_tokenizer(tmp_path, **tokens)
        renderer = Renderer(tokenizer, "x")
        return tokenizer.convert_ids_to_tokens([*renderer.stop_ids, renderer.pad_id])

    stop, end = small_chat.STOP, small_chat.END
    assert ids(eos_token=stop, pad_token=end) == [stop, end]
    assert ids(eos_token=end, pad_token="<file_sep>") == [stop, end, "<file_sep>"]
    assert ids(eos_token=end) == [stop, end, end]
    assert ids(bos_token=end) == [stop, stop]


def test_roles_and_empty_messages_are_refused_without_their_text(small):
    renderer = Renderer(small, "x")
    for roles in (("system",), ("user", "assistant"), ("system", "assistant"), ROLES[:1] * 2):
        with pytest.raises(ValueError, match=r"system, then user and assistant in turn, got \["):
            renderer.conversation([Message(role, "secret") for role in roles])
    for place, what in enumerate(("an instruction", "a dialogue", "a note", "a request", "a note")):
        texts = ["secret"] * 5
        texts[place] = " \n"
        with pytest.raises(ValueError, match=f"expected {what} with text") as refused:
            renderer.conversation(conversation_of(texts))
        assert "secret" not in str(refused.value)


def test_a_saved_prompt_refuses_another_template_or_tokenizer(small, tmp_path):
    renderer = Renderer(small, small_model.INSTRUCTION, "models/some-base")
    path = renderer.save(tmp_path)
    again = Renderer.load(tmp_path, small)
    assert again.prompt_ids("Patient: 3 days.") == renderer.prompt_ids("Patient: 3 days.")
    saved = json.loads(path.read_text())
    assert saved["template"] == "own"
    assert saved["template_text"] == renderer.template.shown
    assert saved["control_ids"] == {small_chat.START: 1, small_chat.STOP: 2}

    def made(name: str, template: str = CHATML, **tokens: str):
        return small_chat.make_tokenizer(tmp_path / name, template, **tokens)

    for other in (CHATML.replace("\n", "\n\n"), CHATML + "{# renders alike #}"):
        with pytest.raises(ValueError, match="the chat template that .* got another one; .*02_f"):
            Renderer.load(tmp_path, made("other", other))
    with pytest.raises(ValueError, match="other pieces, ids or control tokens"):
        Renderer.load(tmp_path, made("eos", eos_token=small_chat.END))
    with pytest.raises(ValueError, match="chat template 'own' .* got 'llama-3'"):
        Renderer.load(tmp_path, small_model.make_tokenizer(tmp_path / "llama3"))

    with_bos = CHATML.replace("{% for", "{{ bos_token }}{% for", 1)
    first = Renderer(made("bos", with_bos, bos_token=small_chat.END), "x")
    first.save(tmp_path)
    with pytest.raises(ValueError, match="02_format"):  # the same template and other text from it
        Renderer.load(tmp_path, made("bos2", with_bos, bos_token="<file_sep>"))


def test_prompt_files_made_before_there_were_parts_or_other_templates_are_read(tmp_path):
    tokenizer = small_model.make_tokenizer(tmp_path)
    renderer = Renderer(tokenizer, small_model.INSTRUCTION, "models/medisum-tiny-base")
    content = {
        "template": "llama-3",
        "base_model": "models/medisum-tiny-base",
        "tokenizer_sha256": renderer.tokenizer_sha256,
        "instruction": small_model.INSTRUCTION,
        "control_ids": renderer.control_ids,
    }
    assert json.loads(renderer.save(tmp_path).read_text()) == content | {"parts": "whole"}
    (tmp_path / PROMPT_FILE).write_text(json.dumps(content))
    assert Renderer.load(tmp_path, tokenizer).parts == "whole"
    with pytest.raises(ValueError, match="chat template 'llama-3' .* got 'own'"):
        Renderer.load(tmp_path, small_chat.make_tokenizer(tmp_path / "chat"))


def test_what_02_shows_of_a_template_is_what_the_renderer_holds(small, tmp_path):
    renderer = Renderer(small, "x")
    assert renderer.template.shown == (
        "<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n{dialogue}<|im_end|>\n"
        "<|im_start|>assistant\n{note}<|im_end|>"
    )
    assert renderer.template.before_note == "<|im_end|>\n<|im_start|>assistant\n"
    table = control_table(renderer)
    assert table["times in an example"].to_dict() == {small_chat.START: 3, small_chat.STOP: 3}
    assert table["what else it does"].to_dict() == {
        small_chat.START: "",
        small_chat.STOP: "ends a note, pads a batch",
    }
    llama3 = control_table(Renderer(small_model.make_tokenizer(tmp_path), "x"))
    assert llama3["times in an example"].tolist() == [1, 0, 3, 3, 3]
    assert llama3["what else it does"].tolist()[1::3] == [
        "stops the writing as well, pads a batch",
        "ends a note",
    ]


def test_every_part_of_a_note_is_marked_where_it_is_shown(small):
    renderer = Renderer(small, "x")
    ids, mask = renderer.conversation(conversation_of(NOTHING))
    shown = supervised_html(renderer, RenderedExample("e1", tuple(ids), tuple(mask)))
    stop = "<mark><b>&lt;|im_end|&gt;</b></mark>"
    assert f"<mark>Fine.</mark>{stop}\n<b>" in shown
    assert shown.endswith(f"<mark>Rest.</mark>{stop}</pre>")
    assert shown.count("<mark>") == 4


@pytest.fixture(scope="module")
def chat_base(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("chat-base")
    return str(small_model.make_base(folder, tokenizer_maker=small_chat.make_tokenizer))


def in_parts(renderer: Renderer, n: int) -> list[RenderedExample]:
    """Notes written in two parts, each asked for."""
    examples = []
    for encounter in small_model.encounters(n):
        first, *rest = (section.text for section in encounter.note)
        dialogue = f"{encounter.dialogue_text}\nPart 1?"
        texts = (small_model.INSTRUCTION, dialogue, first, "Part 2?", " ".join(rest))
        ids, mask = renderer.conversation(conversation_of(texts))
        examples.append(RenderedExample(encounter.id, tuple(ids), tuple(mask)))
    return examples


def test_a_note_in_parts_is_trained_on_its_answers_alone(chat_base, tmp_path):
    from transformers import AutoModelForCausalLM
    from trl import SFTTrainer

    from medisum_utils.modelling import training
    from medisum_utils.modelling.model import load_tokenizer

    tokenizer = load_tokenizer(chat_base)
    renderer = Renderer(tokenizer, small_model.INSTRUCTION)
    examples = in_parts(renderer, 6)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(chat_base),
        args=training.default_sft_config(tmp_path, "cpu", per_device_eval_batch_size=2),
        train_dataset=training.to_dataset(examples),
        eval_dataset=training.to_dataset(examples),
        processing_class=tokenizer,
    )
    counted = training.check_supervision(trainer, examples, examples)
    assert counted["train"]["n_label_tokens"] == sum(e.n_completion_tokens for e in examples)
    batch = dict(next(iter(trainer.get_eval_dataloader())))
    end = renderer.template.end_of_turn
    said = training.check_batch(batch, examples, end)
    ids = tuple(batch["input_ids"][0].tolist())
    (seen,) = [e for e in examples if e.input_ids == ids[: len(e.input_ids)]]
    assert said.endswith(f"from position {seen.n_prompt_tokens} on.")
    labels = batch["labels"][0].tolist()
    assert labels[: len(seen.input_ids)] == seen.labels
    assert set(labels[len(seen.input_ids) :]) <= {training.IGNORED}  # padded with the end of turn
    assert labels.count(end) == 2

    moved = batch["labels"].clone()
    at = seen.n_prompt_tokens
    moved[0, at - 1], moved[0, at] = moved[0, at].item(), training.IGNORED
    with pytest.raises(ValueError, match=f"expected labels from position {at} to .* at others"):
        training.check_batch(batch | {"labels": moved}, examples, end)


def test_a_dialogue_longer_than_the_positions_is_refused(chat_base):
    from transformers import AutoModelForCausalLM

    from medisum_utils.modelling.decoding import Decoding
    from medisum_utils.modelling.generation import generate_notes
    from medisum_utils.modelling.model import check_positions, load_tokenizer

    renderer = Renderer(load_tokenizer(chat_base), small_model.INSTRUCTION)
    model = AutoModelForCausalLM.from_pretrained(chat_base)
    with pytest.raises(ValueError, match="at most 500 tokens beside 12 new ones, got one of"):
        generate_notes(model, renderer, ["Patient: it hurts. " * 400], Decoding(12))
    check_positions(chat_base, 512)
    with pytest.raises(ValueError, match="max_tokens: expected at most 512, the positions of"):
        check_positions(chat_base, 513)
