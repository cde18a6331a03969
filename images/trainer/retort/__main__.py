"""`python -m retort STAGE.json`: the train or the merge stage as a process, whichever the document is of."""

from importlib import import_module
from typing import cast

from retort.stage import Stage, Work, run_stage


def load(stage: Stage) -> Work:
    return cast(Work, import_module(f"retort.{stage.stage}"))


run_stage(load)
