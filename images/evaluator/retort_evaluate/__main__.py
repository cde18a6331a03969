"""`python -m retort_evaluate STAGE.json`: the evaluate stage as a process."""

from pathlib import Path
from typing import Any

from retort.stage import Stage, run_stage


def main(stage: Stage, work: Path) -> dict[str, Any]:
    # Imported here: a finished stage finds its manifest and exits without the seconds that torch takes to load.
    from retort_evaluate import evaluate

    return evaluate.main(stage, work)


run_stage(main, resumable=("inputs",))
