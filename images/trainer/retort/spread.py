"""The workers of a stage under torchrun, which end as they did: `python -m retort.spread TORCHRUN'S ARGUMENTS`.

torchrun itself ends with 1 whatever its workers ended with, and a cluster decides by that whether to try again.
"""

import sys

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

from retort.stage import STOPPED, leave

SAVE_SECONDS = 100  # for workers that were asked to stop: torchrun's own 30 are too few, a pod has 120


def run(arguments: list[str]) -> int:
    """The exit code: that of the worker which failed first, 143 if they were asked to stop."""
    try:
        main(["--shutdown-timeout", str(SAVE_SECONDS), *arguments])
        return 0
    except ChildFailedError as failed:
        _, first = failed.get_first_failure()
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    except SignalException:
        return STOPPED


if __name__ == "__main__":
    leave(run(sys.argv[1:]))
