"""What can go wrong in training and evaluation.

    TrainingError
    ├── DataError
    │   ├── ManifestError      a list of files cannot be read, or names what does not exist
    │   ├── LeakError          one identity or source stands on two sides of a split
    │   ├── EmptyClassError    a split has no real or no fake pictures
    │   ├── PictureError       a picture cannot be decoded
    │   └── ShardError         a shard is damaged or of another layout
    ├── CheckpointError
    │   ├── CheckpointWriteError     not saved (full disk, no permission); the one before is untouched
    │   └── CheckpointMismatchError  saved by a run with other settings
    └── EvaluationError        too little was evaluated to say anything

Each message has the offending value, the limit and the remedy.
"""


class TrainingError(Exception):
    """Root of everything that ``training`` raises on purpose."""


class DataError(TrainingError):
    """The data are at fault."""


class ManifestError(DataError):
    """A list of files cannot be read, or names what does not exist."""


class LeakError(DataError):
    """One identity or source stands on two sides of a split."""


class EmptyClassError(DataError):
    """A split lacks a class."""


class PictureError(DataError):
    """A picture cannot be decoded."""


class ShardError(DataError):
    """A shard is damaged or of another layout."""


class CheckpointError(TrainingError):
    """A checkpoint is at fault."""


class CheckpointWriteError(CheckpointError):
    """Not saved; the checkpoint before is untouched."""


class CheckpointMismatchError(CheckpointError):
    """Saved by a run with other settings."""


class EvaluationError(TrainingError):
    """Too little was evaluated to say anything."""
