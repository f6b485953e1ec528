"""What 04 compares, baselines first: who writes the notes, and the files that keep them.

- copy: the dialogue itself, handed in as the note;
- nearest: the note of the training encounter whose dialogue is most like this one (TF-IDF cosine);
- base: the base model in NF4, dequantised, asked with the adapter's prompt but without the adapter;
- finetuned: the same weights with the adapter merged in.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils import modelling, runs
from medisum_utils.data import variety
from medisum_utils.encounter import Encounter
from medisum_utils.evaluation.scores import facts_known
from medisum_utils.modelling.adapter import ADAPTER_FILES, require_adapter
from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.generation import (
    Visit,
    WrittenNote,
    generate_notes,
    reserved_tokens,
)
from medisum_utils.modelling.model import (
    WRITING_DTYPES,
    base_digest,
    load_base,
    load_tokenizer,
    merge,
    pick_device,
)
from medisum_utils.modelling.prompt import PROMPT_FILE, Renderer
from medisum_utils.notes.parts import WHOLE, section_title
from medisum_utils.notes.scored_texts import protocol_of
from medisum_utils.runs import live
from medisum_utils.runs.files import write_json_lines
from medisum_utils.runs.results import NAMED

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODEL_SYSTEMS = ("base", "finetuned")
SYSTEMS = ("copy", "nearest", *MODEL_SYSTEMS)

# What may change a note beside data and weights; a change of any makes old notes stale.
_CODE = (
    "modelling/adapter.py",
    "modelling/candidates.py",
    "modelling/consensus.py",
    "modelling/conversation.py",
    "modelling/conversation_cache.py",
    "modelling/generation.py",
    "modelling/model.py",
    "modelling/plain_text.py",
    "modelling/prompt.py",
    "modelling/row_attention.py",
    "modelling/stutter.py",
    "modelling/template.py",
    "notes/parts.py",
)
_PACKAGE = Path(modelling.__file__).parents[1]
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "tokenizers")


@dataclass(frozen=True, slots=True)
class WrittenNotes:
    """One system's notes for a split, in the encounters' order.

    `seconds` is the decoding time without loading the model, of the run that wrote them; `reused`
    says that it was an earlier one.
    """

    notes: tuple[WrittenNote, ...]
    seconds: float
    reused: bool = False

    @property
    def texts(self) -> list[str]:
        """The notes' texts."""
        return [note.text for note in self.notes]

    @property
    def n_tokens(self) -> int:
        """Tokens written in all."""
        return sum(note.n_tokens for note in self.notes)

    @property
    def n_cut_dialogues(self) -> int:
        """Dialogues that were too long to be read whole."""
        return sum(note.n_cut_turns > 0 for note in self.notes)

    @property
    def n_unfinished(self) -> int:
        """Notes that reached the token limit."""
        return sum(not note.finished for note in self.notes)


def with_named_sections(
    splits: Mapping[str, Sequence[Encounter]], parts: str
) -> dict[str, Sequence[Encounter]]:
    """The splits, each whose notes are one section a second time, for prompts that name it.

    MTS-Dialog has two tasks: to find the section and write it, and to write the one that is given.
    A model that writes notes whole (`parts`) is asked for no section, and has only the first.
    """
    both: dict[str, Sequence[Encounter]] = {}
    for split, encounters in splits.items():
        both[split] = encounters
        if parts != WHOLE and protocol_of(encounters) == "mts":
            both[f"{split}{NAMED}"] = encounters
    return both


def _visit(encounter: Encounter, split: str) -> Visit:
    section = section_title(encounter) if split.endswith(NAMED) else ""
    return Visit(encounter.dialogue_text, section)


def baselines(
    train: Sequence[Encounter], encounters: Sequence[Encounter]
) -> tuple[dict[str, list[str]], list[float]]:
    """The notes that need no model, by system in the order of the tables, and the cosines.

    Where facts are not known the nearest note stands first: it is the one to beat there. The
    cosines are those of `nearest_notes`.
    """
    nearest, cosines = nearest_notes(train, encounters)
    notes = {"copy": copied(encounters), "nearest": nearest}
    order = ("copy", "nearest") if facts_known(encounters) else ("nearest", "copy")
    return {name: notes[name] for name in order}, cosines


def copied(encounters: Sequence[Encounter]) -> list[str]:
    """The dialogue of each encounter, as if it were the note."""
    return [encounter.dialogue_text for encounter in encounters]


def nearest_notes(
    train: Sequence[Encounter], encounters: Sequence[Encounter]
) -> tuple[list[str], list[float]]:
    """For each encounter the note of the most similar training dialogue, and their cosine.

    Raises: ValueError without training encounters; see `variety.nearest`.
    """
    nearest = variety.nearest(train, encounters)
    return variety.nearest_notes(train, nearest), nearest.cosine.tolist()


def keep_written(
    path: Path, key: Mapping[str, Any], ids: Sequence[str], written: WrittenNotes
) -> None:
    """Writes the notes as JSON Lines and, last, what they depend on beside them (`.json`)."""
    beside = path.with_suffix(".json")
    beside.unlink(missing_ok=True)
    pairs = zip(ids, written.notes, strict=True)
    write_json_lines(path, ({"id": each, **asdict(note)} for each, note in pairs))
    entry = {"key": key, "sha256": runs.sha256_file(path), "seconds": written.seconds}
    runs.write_json(beside, entry)


def keep_texts(path: Path, ids: Sequence[str], texts: Sequence[str]) -> None:
    """Writes notes that no model wrote as JSON Lines; they are quicker made than checked."""
    pairs = zip(ids, texts, strict=True)
    write_json_lines(path, ({"id": each, "text": text} for each, text in pairs))


def read_written(path: Path, key: Mapping[str, Any], ids: Sequence[str]) -> WrittenNotes | None:
    """The kept notes if they depend on exactly `key` and are unchanged, else None."""
    beside = path.with_suffix(".json")
    if not (path.is_file() and beside.is_file()):
        return None
    try:
        entry = json.loads(beside.read_text(encoding="utf-8"))
        is_same = entry["key"] == json.loads(json.dumps(key))
        is_same &= entry["sha256"] == runs.sha256_file(path)
    except (ValueError, KeyError, TypeError):  # broken off while it was written: write notes anew
        return None
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file] if is_same else []
    if [row.pop("id") for row in rows] != list(ids):
        return None
    return WrittenNotes(tuple(WrittenNote(**row) for row in rows), entry["seconds"], reused=True)


def write_all(
    base: str,
    adapter: Path,
    splits: Mapping[str, Sequence[Encounter]],
    folder: Path,
    *,
    decoding: Decoding,
    batch_size: int,
    n_base: int = 0,
) -> dict[str, dict[str, WrittenNotes]]:
    """The notes of both `MODEL_SYSTEMS`, by split and system, one model in memory at a time.

    Notes are kept in `folder`, and kept ones are taken if nothing that they depend on has changed.
    The base writes the first `n_base` notes of each split, 0 for all.

    Raises: FileNotFoundError for a missing adapter or base, though notes of them be kept.
    """
    renderer = Renderer.load(require_adapter(adapter), load_tokenizer(base))
    written: dict[str, dict[str, WrittenNotes]] = {split: {} for split in splits}
    for system in MODEL_SYSTEMS:
        model = None
        settings = _settings(system, base, adapter, decoding, batch_size)
        for split, encounters in splits.items():
            asked = encounters[: n_base or None] if system == "base" else encounters
            ids = [encounter.id for encounter in asked]
            visits = [_visit(encounter, split) for encounter in asked]
            texts = "\0".join(
                part
                for each, visit in zip(ids, visits, strict=True)
                for part in (each, visit.dialogue, visit.section)
            )
            key = {**settings, "dialogues": hashlib.sha256(texts.encode()).hexdigest()}
            path = folder / f"{split}_{system}.jsonl"
            notes = read_written(path, key, ids)
            if notes is None:
                model = model or _load(system, base, adapter)
                notes = _write(model, renderer, visits, decoding, batch_size)
                keep_written(path, key, ids, notes)
            written[split][system] = notes
        del model  # the next one needs the memory
        gc.collect()
    return written


def _settings(
    system: str, base: str, adapter: Path, decoding: Decoding, batch_size: int
) -> dict[str, Any]:
    """All that notes depend on beside their dialogues, as hashes and values."""
    files = (PROMPT_FILE, *(ADAPTER_FILES if system == "finetuned" else ()))
    installed = runs.versions()
    return {
        "system": system,
        "base": base_digest(base),
        "adapter": {name: runs.sha256_file(adapter / name) for name in files},
        "decoding": asdict(decoding),
        "batch_size": batch_size,
        "device": pick_device(),
        "versions": {name: installed.get(name) for name in _PACKAGES},
        "code": {name: runs.sha256_file(_PACKAGE / name) for name in _CODE},
    }


def _load(system: str, base: str, adapter: Path) -> PreTrainedModel:
    """The model in the dtype of its device, from the NF4 weights that the adapter saw."""
    device = pick_device()
    if system == "finetuned":
        return merge(base, adapter, device)
    model = load_base(base, device=device, dtype=WRITING_DTYPES[device])
    return model.dequantize(dtype=model.dtype).eval()


def _write(
    model: PreTrainedModel,
    renderer: Renderer,
    visits: Sequence[Visit],
    decoding: Decoding,
    batch_size: int,
) -> WrittenNotes:
    """Lets the model write, and tells the runner's terminal by `runs.live` how many are done."""
    started = time.perf_counter()
    tell = functools.partial(live.tell, "note", n_total=len(visits))
    tell(n_done=0)
    notes = generate_notes(
        model,
        renderer,
        visits,
        decoding,
        batch_size=batch_size,
        max_prompt_tokens=model.config.max_position_embeddings
        - reserved_tokens(renderer, decoding),
        on_batch=lambda n_done: tell(n_done=n_done),
    )
    return WrittenNotes(tuple(notes), time.perf_counter() - started)
