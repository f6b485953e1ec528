"""The chain of evidence: each step reads what the step before it wrote, or it does not run.

A manifest holds, for each completed step, the SHA-256 of every file that it read and wrote. Before
a step starts, the chain up to it is checked: for files that were edited, data that were made anew,
a base that was replaced under its old name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

Entries = Mapping[str, Mapping[str, Any]]  # steps by name, each with "inputs" and "outputs"


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
    earlier = {name: entries[name] for name in sorted(entries) if name < step}
    broken = next(breaks(earlier), None) or _break_of_inputs(inputs, earlier, own)
    if broken:
        raise BrokenChain(f"{step} cannot run: {broken.why}", broken.again_from, profile)


def breaks(entries: Entries) -> Iterator[Break]:
    """Where completed steps do not follow from each other, in the order of the steps."""
    written: dict[str, tuple[str, str]] = {}  # path to the step that wrote it, and its hash
    read: dict[str, tuple[str, str]] = {}  # likewise of what no step wrote, such as the base
    for name in sorted(entries):
        for path, digest in entries[name].get("inputs", {}).items():
            maker, current = written.get(path) or read.setdefault(path, (name, digest))
            if digest != current:
                how = "written" if path in written else "read"
                yield Break(f"{name} read another {path} than {maker} has {how} since", name)
                break
        written |= {
            path: (name, digest) for path, digest in entries[name].get("outputs", {}).items()
        }


def _break_of_inputs(
    inputs: Mapping[str, str], earlier: Entries, own: Collection[str]
) -> Break | None:
    on_record: dict[str, tuple[str, str, str]] = {}  # who read it first, or wrote it last
    for name, entry in earlier.items():
        read, written = (
            {path: (name, verb, digest) for path, digest in entry.get(key, {}).items()}
            for verb, key in (("read", "inputs"), ("wrote", "outputs"))
        )
        on_record = read | on_record | written
    for path, digest in inputs.items():
        if path in on_record:
            name, verb, recorded = on_record[path]
            if digest != recorded:
                return Break(f"{path} is not the one that {name} {verb}", name)
        elif path in own:
            first = min(earlier, default="01_data")
            return Break(f"no completed step is on record as having written {path}", first)
    return None


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
    first = next(breaks(entries), None)
    return [] if first is None else [name for name in sorted(entries) if name >= first.again_from]
