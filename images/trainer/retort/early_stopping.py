"""When training has stopped getting better."""

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Stops after `patience` evaluations in a row without an improvement of `min_delta`. NaN is no improvement."""

    patience: int
    min_delta: float
    best: float = math.inf
    best_step: int = 0
    stale: int = 0

    def update(self, step: int, loss: float) -> bool:
        """Takes a validation loss; True if it is the best so far."""
        if loss < self.best - self.min_delta:
            self.best, self.best_step, self.stale = loss, step, 0
            return True
        self.stale += 1
        return False

    @property
    def exhausted(self) -> bool:
        return self.stale >= self.patience
