"""What can go wrong between a checkpoint and a model repository, or a server that runs on it.

ExportError
├── CheckpointError        the file cannot be used
│   ├── UnreadableCheckpoint   truncated, no checkpoint at all, or a pickle with code in it
│   ├── UnknownLayout          tensors of another network: keys missing, surplus or of the wrong shape
│   └── FactError              a fact that matters is not known, impossible, or said twice differently
├── CalibrationError       INT8 was asked for and there is nothing to calibrate it on
├── ParityError            a graph does not compute what PyTorch computes; nothing was written
├── RepositoryError        the repository cannot be written or read
│   └── RepositoryBusy     another export is writing to it, or a server runs on what would be replaced
└── LiveError              a running server refused the change; what it served before, it still serves
"""


class ExportError(Exception):
    """Base of all errors of the export; the message names the value, the limit and the remedy."""


class CheckpointError(ExportError):
    """The file cannot be used."""


class UnreadableCheckpoint(CheckpointError):
    """Truncated, no checkpoint at all, or a pickle with code in it."""


class UnknownLayout(CheckpointError):
    """Tensors of another network: keys are missing, surplus or of the wrong shape; the message names all of them."""


class FactError(CheckpointError):
    """A fact that matters is not known, impossible, or said twice differently."""


class CalibrationError(ExportError):
    """INT8 was asked for and there is nothing to calibrate it on."""


class ParityError(ExportError):
    """A graph does not compute what PyTorch computes; nothing was written."""


class RepositoryError(ExportError):
    """The repository cannot be written or read."""


class RepositoryBusy(RepositoryError):
    """Another export is writing to the repository, or a server runs on what would be replaced."""


class LiveError(ExportError):
    """A running server refused the change; what it served before, it still serves."""
