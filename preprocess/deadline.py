"""One file's time budget, asked for wherever work is done in steps."""

import time

from preprocess.errors import TimeLimitError


class Deadline:
    """Counts from its making.

    Args:
        budget_s: Seconds that the file may take.
    """

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self._end_s = time.monotonic() + budget_s

    @property
    def left_s(self) -> float:
        """Seconds left; 0 when over."""
        return max(0.0, self._end_s - time.monotonic())

    def check(self) -> None:
        """Raises:
        TimeLimitError: The budget is used up.
        """
        if time.monotonic() >= self._end_s:
            raise TimeLimitError(
                f"the file took longer than {self.budget_s:g} s; raise UNMASK_PREPROCESS_MAX_WALL_S or look at a shorter span"
            )
