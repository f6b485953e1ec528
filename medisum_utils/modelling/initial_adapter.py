"""Training that goes on from a finished adapter, on other data: what it must fit, and its place.

An adapter that has learnt short notes from much data is a better start for long notes of which
there are few than one that is zero. It must belong to the same base, have the same rank and scale,
and must not have been trained on a source that this run is tested on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from medisum_utils.modelling.adapter import read_adapter, require_adapter
from medisum_utils.modelling.training_record import check_adapter
from medisum_utils.runs import shown_path

if TYPE_CHECKING:
    from peft import PeftModel


def start_from(
    model: PeftModel,
    folder: str | os.PathLike,
    *,
    base_sha256: str,
    test_sources: Iterable[str],
) -> dict[str, Any]:
    """Puts the matrices of the adapter in `folder` into `model`; returns that adapter's record.

    `base_sha256` is the digest of the base below `model`, `test_sources` the corpora that the
    profile's tests come from. The matrices keep the data type that they have in `model`.

    Raises: FileNotFoundError for a missing adapter or record; ValueError for an adapter of another
    base, of other sizes or scale, one that saw a source of the tests, or one that does not say.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    record = check_adapter(folder, base_sha256=base_sha256)
    named = f"the initial adapter in {shown_path(folder)}"
    if not (sources := record.get("sources")):
        raise ValueError(
            f"{named} does not say which sources it was trained on, so that nobody can tell "
            "whether it knows the tests; train it anew with notebook 03_qlora_train"
        )
    if known := sorted({*sources} & {*test_sources}):
        raise ValueError(
            f"{named} was trained on {' and '.join(known)}, where this profile's tests come from; "
            "take an adapter of other sources, or none"
        )
    _, stored = read_adapter(require_adapter(folder))
    expected = get_peft_model_state_dict(model)
    sizes, stored_sizes = (
        {name: tuple(matrix.shape) for name, matrix in matrices.items()}
        for matrices in (expected, stored)
    )
    scale = model.active_peft_config.lora_alpha / model.active_peft_config.r
    stored_scale = record["settings"]["lora_alpha"] / record["settings"]["lora_rank"]
    if sizes != stored_sizes or scale != stored_scale:
        ranks = model.active_peft_config.r, record["settings"]["lora_rank"]
        raise ValueError(
            f"{named}: expected {len(sizes)} matrices of rank {ranks[0]} with alpha / r of "
            f"{scale:g}, got {len(stored_sizes)} of rank {ranks[1]} with {stored_scale:g}; set "
            "lora_rank and lora_alpha as they were for it"
        )
    set_peft_model_state_dict(model, stored)
    return record
