"""A small byte-level BPE tokenizer, not of Llama-3's kind, with a chat template of its own."""

from __future__ import annotations

from pathlib import Path

import small_model

START, STOP, END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
MARKED = (END, START, STOP, "<file_sep>")  # as special tokens
UNMARKED = "<tool>"  # a control token all the same
SPACES = "    "  # an added token that is text, as some bases have
GAPS = ("\n\n", "\n\n\n", "\n ", "\n  ", " \n ", "\n   ", "\n\n ")  # so that it merges white space
CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_tokenizer(folder: Path, template: str | None = CHATML, **tokens: str):
    """GPT-2's pattern with single digits, saved in `folder`; `tokens` are those for eos and pad."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=560,
        special_tokens=list(MARKED),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made_up = [f"{e.dialogue_text}\n\n{e.note_text}" for e in small_model.encounters(200)]
    backend.train_from_iterator([*made_up, *(f"a{gap}b" for gap in GAPS * 50)], trainer)
    backend.add_tokens([AddedToken(text, normalized=False) for text in (UNMARKED, SPACES)])
    tokens = tokens or {"eos_token": STOP, "pad_token": STOP}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **tokens)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return tokenizer
