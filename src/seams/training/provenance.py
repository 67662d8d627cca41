"""Where a result comes from: versions, machine, commit, data."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

import seams

__all__ = ["environment", "provenance"]


@cache
def environment() -> dict[str, Any]:
    """The machine and the versions: what does not change from call to call, as plain values."""
    return {
        "seams": seams.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        **_commit(),
    }


def provenance(data: Any, device: str) -> dict[str, Any]:
    """What a stored run says of its origin: `environment`, its data, device, memory and date."""
    if device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        peak = _peak_megabytes()
    return environment() | {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "data_size": data.batch(torch.zeros(1, dtype=torch.long)).shape[-1],
        "data_count": len(data),
        "data_checksum": data.checksum,
        "threads": torch.get_num_threads(),
        "peak_memory_mb": round(peak),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _peak_megabytes() -> float:
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    named = [line for line in text.splitlines() if line.startswith("model name")]
    names = [line.partition(":")[2].strip() for line in named]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> dict[str, Any]:
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, encoding="utf-8")
        if commit.returncode:
            return {"commit": None, "dirty": None}
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/notebooks"],
            capture_output=True,
            encoding="utf-8",
        )
    except FileNotFoundError:  # git is not installed
        return {"commit": None, "dirty": None}
    return {"commit": commit.stdout.strip(), "dirty": bool(changed.stdout.strip())}
