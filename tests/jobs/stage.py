"""A real stage process with nothing to learn: its config says how it behaves. `python stage.py STAGE.json`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

from retort import events
from retort.errors import UserError
from retort.stage import STOPPING, Stage, Stopped, Work, run_stage

RESUMABLE: tuple[str, ...] = ()


def main(stage: Stage, directory: Path) -> dict[str, int]:
    behaviour = stage.config
    print(f"{stage.stage} begins", flush=True)
    if "grandchild" in behaviour:  # a server that left the process group
        server = subprocess.Popen(["sleep", "600"], start_new_session=True)
        (directory / "grandchild.log").write_text(str(server.pid))
    if "mistake" in behaviour:
        raise UserError(behaviour["mistake"])
    if "crash" in behaviour:
        print("about to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL) if behaviour["crash"] == "kill" else sys.exit(behaviour["crash"])
    if "deaf" in behaviour:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    saved = directory / "saved.log"
    first = int(saved.read_text()) if saved.exists() else 0
    for step in range(first + 1, behaviour.get("steps", 3) + 1):
        time.sleep(behaviour.get("stepSeconds", 0))
        saved.write_text(str(step))
        events.progress(stage.stage, stage.stage, step, behaviour.get("steps", 3), "updates", loss=1 / step)
        if STOPPING.is_set():
            while "savesUntil" in behaviour and not Path(behaviour["savesUntil"]).exists():
                time.sleep(0.05)
            raise Stopped
    (directory / "result.txt").write_text(f"{stage.stage} from step {first}\n")
    return {"steps": behaviour.get("steps", 3)}


if __name__ == "__main__":
    run_stage(lambda _: cast(Work, sys.modules[__name__]))
