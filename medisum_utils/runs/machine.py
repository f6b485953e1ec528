"""The machine a step runs on: cores, memory, device, versions, and checks before work starts."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.runs.paths import PathLike, project_root

if TYPE_CHECKING:
    import pandas as pd

GIB = 2**30
CONTROL_GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")  # the control groups that this process is in

# The packages that can change a number; the rest follow from the constraints file.
PACKAGES = (
    "torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets", "tokenizers",
    "rouge-score", "numpy", "scipy", "pandas",
)  # fmt: skip


def versions() -> dict[str, str]:
    """The installed versions of `PACKAGES`; one that is not installed is left out."""
    installed = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def n_cores() -> int:
    """How many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The processor's name, as the operating system gives it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return name[1] if name else platform.processor() or platform.machine()


def memory_gib() -> float:
    """The memory that this process may use in all, a container's limit included."""
    import psutil

    limits = [limit for limit, _ in _container_memory()]
    return min([psutil.virtual_memory().total, *limits]) / GIB


def available_memory_gib() -> float:
    """The memory that is free for use now: of the machine, and below a container's limit."""
    import psutil

    left = [max(0.0, limit - used) for limit, used in _container_memory()]
    return min([psutil.virtual_memory().available, *left]) / GIB


def children_gib(pid: int) -> float:
    """The resident memory of a process's children and theirs; pages they share count for each."""
    import psutil

    total = 0
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended since it was listed
            total += child.memory_info().rss
    return total / GIB


def _container_memory() -> Iterator[tuple[float, float]]:
    """Limit and use in bytes of this process's control group and of each above it.

    Pages of files that the kernel would drop for whoever needs memory do not count as used. Some
    sandboxes tell a limit and nothing else: their use counts as nothing.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst ("Memory") and cgroup-v1/memory.rst.
    """
    for folder in _control_groups():
        for limit_name, used_name, cache_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            if (folder / limit_name).exists():
                limit = (folder / limit_name).read_text().strip().replace("max", "inf")
                used, stat = folder / used_name, folder / "memory.stat"
                lines = stat.read_text().splitlines() if stat.exists() else []
                cache = float(dict(line.split() for line in lines).get(cache_name, 0))
                yield float(limit), float(used.read_text()) - cache if used.exists() else 0.0


def _control_groups() -> Iterator[Path]:
    """The folders of this process's memory control group and of those above it.

    In a container, the group's path may be that of the host, with no folder here; its own root is.
    """
    if not MEMBERSHIP.exists():
        return
    for line in MEMBERSHIP.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CONTROL_GROUPS / "memory" if controllers else CONTROL_GROUPS
        own = root / path.lstrip("/")
        yield from (each for each in (own, *own.parents) if each.is_relative_to(root))


def device_name() -> str:
    """The GPU's name if torch is loaded and sees one, else "cpu": no torch, no work on a GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "cpu"


def peak_memory_gib() -> dict[str, float]:
    """The largest resident size of this process so far, and of the GPU's memory where used."""
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = {"peak_memory_gib": round(kib / (GIB if sys.platform == "darwin" else 2**20), 3)}
    if device_name() != "cpu":
        gpu = sys.modules["torch"].cuda.max_memory_allocated()
        peak["peak_gpu_memory_gib"] = round(gpu / GIB, 3)
    return peak


def describe() -> dict[str, Any]:
    """The machine for a manifest: cores, processor, memory, device; no name that identifies it."""
    return {
        "n_cores": n_cores(),
        "cpu": cpu_model(),
        "memory_gib": round(memory_gib(), 1),
        "device": device_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def environment_table() -> pd.DataFrame:
    """Machine, commit and package versions for the end of a report."""
    import pandas as pd

    machine = describe()
    rows = {
        "Python": machine["python"],
        "system": machine["system"],
        "processor": f"{machine['cpu']}, {machine['n_cores']} cores",
        "memory": f"{machine['memory_gib']} GiB",
        "device": machine["device"],
        "git commit": git_commit() or "no git history",
    }
    return pd.DataFrame({"value": rows | versions()})


def git_commit() -> str | None:
    """The commit of the project, with "+changes" if tracked files differ; None outside git."""
    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports")
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy without its history
        return None
    return head.strip() + ("+changes" if changed else "")


def git(*arguments: str) -> str:
    """What a git command says of the project.

    Raises: subprocess.CalledProcessError where it fails, OSError without git.
    """
    command = ["git", "-C", str(project_root()), *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


def check_free_disk(path: PathLike, needed_gib: float) -> None:
    """Raises OSError, with both amounts, unless `needed_gib` are free where `path` will be."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free / GIB
    if free < needed_gib:
        raise OSError(f"expected {needed_gib:.1f} GiB of free disk for this step, got {free:.1f}")


def check_memory(needed_gib: float) -> None:
    """Raises MemoryError, with both amounts, unless `needed_gib` of memory are free."""
    free = available_memory_gib()
    if free < needed_gib:
        raise MemoryError(f"expected {needed_gib:.1f} GiB of free memory, got {free:.1f}")


def check_gpu(needed_gib: float) -> None:
    """Raises RuntimeError, with what was found, unless a CUDA device has `needed_gib`."""
    import torch

    device = "none; the profiles tiny and smoke need no GPU"
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory / GIB
        if total >= needed_gib:
            return
        device = f"{torch.cuda.get_device_name(0)} with {total:.1f} GiB"
    raise RuntimeError(f"expected a CUDA GPU with {needed_gib:.0f} GiB of memory, found {device}")
