"""The server's model: base and adapter merged, with the renderer it was trained with.

Loading merges the adapter into the dequantised weights: the merge is exact, and generating in NF4
is 3 to 16 times slower on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medisum_utils import runs
from medisum_utils.modelling.adapter import ADAPTER_FILES, require_adapter, trained_base
from medisum_utils.modelling.checkpoints import ADAPTER_AND_BESIDE
from medisum_utils.modelling.decoding import DECODING_FILE, Decoding, read_decoding
from medisum_utils.modelling.fetched_base import bring_base
from medisum_utils.modelling.generation import WrittenNote, generate_notes, reserved_tokens
from medisum_utils.modelling.model import (
    base_digest,
    load_tokenizer,
    merge,
    pick_device,
)
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.modelling.training_record import check_adapter
from medisum_utils.runs import chain

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class ModelWriter:
    """Writes notes with a merged model and the decoding that was scored."""

    name: str
    model: PreTrainedModel
    renderer: Renderer
    decoding: Decoding

    @property
    def max_prompt_tokens(self) -> int:
        """The longest prompt that leaves room for the note, in tokens."""
        positions = self.model.config.max_position_embeddings
        return positions - reserved_tokens(self.renderer, self.decoding)

    def count_tokens(self, dialogue: str) -> int:
        """The length of the rendered prompt, in tokens."""
        return len(self.renderer.prompt_ids(dialogue))

    def write(self, dialogues: Sequence[str]) -> list[WrittenNote]:
        """One note per dialogue, in order, all in one batch."""
        return generate_notes(
            self.model,
            self.renderer,
            list(dialogues),
            self.decoding,
            batch_size=len(dialogues),
        )


def bring_base_of(profile: str, base_model: str | None, say: Callable[[str], None]) -> None:
    """Makes the base of a profile's adapter if it is missing; see `fetched_base.bring_base`.

    `base_model` is as in `load_writer`, which says what else is missing.

    Raises: what `make_base` raises; ValueError for a broken adapter.
    """
    folder = runs.adapter_dir(profile)
    if base_model or (folder / ADAPTER_FILES[0]).is_file():
        bring_base(base_model or trained_base(folder), say)


def load_writer(profile: str, base_model: str | None = None) -> ModelWriter:
    """Merges the adapter of a profile into its base and returns the two as a writer.

    `base_model` is where the adapter's base is now; None takes the location that the adapter
    names. The base must be the one that the adapter was trained on. Decoding is that of 04.

    Raises: FileNotFoundError that names the notebook that makes the missing file; ValueError if
    adapter, base and decoding do not belong together.
    """
    folder = require_adapter(runs.adapter_dir(profile))
    base = base_model or trained_base(folder)
    check_adapter(folder, base_sha256=base_digest(base))
    decoding = read_decoding(folder)
    entries = runs.read_manifest(profile)["steps"]
    for step, names in (("03_qlora_train", ADAPTER_AND_BESIDE), ("04_eval", (DECODING_FILE,))):
        files = {runs.shown_path(folder / n): runs.sha256_file(folder / n) for n in names}
        chain.check_written(profile, step, files, entries)
    renderer = Renderer.load(folder, load_tokenizer(base))
    model = merge(base, folder, pick_device())
    writer = ModelWriter(f"{Path(base).name}+{profile}", model, renderer, decoding)
    if writer.max_prompt_tokens < 1:
        raise ValueError(
            f"expected max_new_tokens below the model's {model.config.max_position_embeddings} "
            f"positions, got {decoding.max_new_tokens}"
        )
    return writer
