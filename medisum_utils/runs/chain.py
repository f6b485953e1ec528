"""The chain of evidence: each step reads what the step before it wrote, or it does not run.

A manifest holds, for each completed step, the SHA-256 of every file that it read and wrote. Before
a step starts, the chain up to it is checked: for files that were edited, data that were made anew,
a base that was replaced under its old name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

Entries = Mapping[str, Mapping[str, Any]]  # steps by name, each with "inputs" and "outputs"
# By path the step that wrote it last or else read it first, "wrote" or "read", and the SHA-256.
Record = dict[str, tuple[str, str, str]]


class BrokenChain(ValueError):
    """A step would read other files than earlier steps wrote; running `again_from` repairs that."""

    def __init__(self, why: str, again_from: str, profile: str) -> None:
        super().__init__(
            f"{why}; run again from there: "
            f"`python -m medisum_utils run --profile {profile} --from {again_from}`"
        )
        self.again_from = again_from


class Break(NamedTuple):
    """The first place where a chain does not hold: why, and the step to run again."""

    why: str
    again_from: str


def check_chain(
    profile: str, step: str, inputs: Mapping[str, str], entries: Entries, own: Collection[str] = ()
) -> None:
    """Makes sure that `inputs` (path to SHA-256) continue the chain of the steps before `step`.

    `own` are the paths among them that only a step of this profile can have made.

    Raises: BrokenChain that says what differs and which step to run again.
    """
    earlier = {name: entry for name, entry in entries.items() if name < step}
    broken, on_record = _walk(earlier)
    broken = broken or _break_of_inputs(inputs, on_record, own, min(earlier, default="01_data"))
    if broken:
        raise BrokenChain(f"{step} cannot run: {broken.why}", broken.again_from, profile)


def _break_of_inputs(
    inputs: Mapping[str, str], on_record: Record, own: Collection[str], first: str
) -> Break | None:
    for path, digest in inputs.items():
        if path in on_record:
            name, verb, recorded = on_record[path]
            if digest != recorded:
                return Break(f"{path} is not the one that {name} {verb}", name)
        elif path in own:
            return Break(f"no completed step is on record as having written {path}", first)
    return None


def _walk(entries: Entries) -> tuple[Break | None, Record]:
    """Where completed steps stop to follow from each other, if they do, and what they did."""
    on_record: Record = {}
    for name in sorted(entries):
        for path, digest in entries[name].get("inputs", {}).items():
            maker, verb, current = on_record.setdefault(path, (name, "read", digest))
            if digest != current:
                has = "has written" if verb == "wrote" else "has read"
                return Break(f"{name} read another {path} than {maker} {has} since", name), {}
        outputs = entries[name].get("outputs", {})
        on_record |= {path: (name, "wrote", digest) for path, digest in outputs.items()}
    return None, on_record


def check_written(profile: str, made_by: str, files: Mapping[str, str], entries: Entries) -> None:
    """Makes sure that `files` (path to SHA-256) are as the completed step `made_by` wrote them.

    Raises: BrokenChain that names the file and the step.
    """
    outputs = entries.get(made_by, {}).get("outputs", {})
    for path, digest in files.items():
        if outputs.get(path) != digest:
            why = f"{path} is not the one that {made_by} wrote, by the record of its run"
            raise BrokenChain(why, made_by, profile)


def stale_steps(entries: Entries) -> list[str]:
    """The steps whose results belong to an older chain: the first that broke, and all after it."""
    broken, _ = _walk(entries)
    return [name for name in sorted(entries) if broken and name >= broken.again_from]
