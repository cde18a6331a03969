"""`python -m retort_evaluate STAGE.json`: the evaluate stage as a process."""

from importlib import import_module
from typing import cast

from retort.stage import Stage, Work, run_stage


def load(_: Stage) -> Work:
    return cast(Work, import_module("retort_evaluate.evaluate"))


run_stage(load)
