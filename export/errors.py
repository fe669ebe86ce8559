"""What can go wrong between a checkpoint and a model repository.

ExportError
├── ParityError       a graph does not compute what PyTorch computes; nothing was written
└── RepositoryError   the repository cannot be written
"""


class ExportError(Exception):
    """Base of all errors of the export; the message names the value, the limit and the remedy."""


class ParityError(ExportError):
    """A graph does not compute what PyTorch computes; nothing was written."""


class RepositoryError(ExportError):
    """The repository cannot be written."""
