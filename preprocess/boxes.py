"""Rectangles in source pixels."""

from typing import NamedTuple


class Box(NamedTuple):
    """x0, y0, x1, y1; x1 and y1 are exclusive. May reach beyond the picture."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def side(self) -> float:
        """The longer one."""
        return max(self.width, self.height)

    @property
    def area(self) -> float:
        """0 where a side is not positive."""
        return max(0.0, self.width) * max(0.0, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def moved(self, dx: float, dy: float) -> "Box":
        """The same box elsewhere."""
        return Box(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)

    def holds_most_of(self, other: "Box") -> bool:
        """Whether four fifths of the other box lie in this one."""
        return _shared(self, other) >= 0.8 * other.area


def _shared(a: Box, b: Box) -> float:
    return max(0.0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0.0, min(a.y1, b.y1) - max(a.y0, b.y0))


def iou(a: Box, b: Box) -> float:
    """Intersection over union, in [0, 1]."""
    shared = _shared(a, b)
    union = a.area + b.area - shared
    return shared / union if union > 0 else 0.0
