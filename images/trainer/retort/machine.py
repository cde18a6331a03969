"""What a stage ran on: what may change a result's last bits though all that decides it is the same."""

import os
import platform
import sys
from pathlib import Path
from typing import Any


def described() -> dict[str, Any]:
    """Accelerator (or "cpu"), processor, cores this process may use, and how many workers shared the stage.

    Torch is asked only if the stage has loaded it: the stages that compute have.
    """
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available()
    return {
        "accelerator": torch.cuda.get_device_name() if torch is not None and on_gpu else "cpu",
        "processor": _processor(Path("/proc/cpuinfo")),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "workers": int(os.environ.get("WORLD_SIZE", "1")),
    }


def _processor(cpuinfo: Path) -> str:
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
