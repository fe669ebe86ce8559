"""What can go wrong in a benchmark.

BenchmarkError
├── UsageError          a flag has a value that makes no sense
├── EngineUnavailable   an engine is not installed or cannot run on this machine
├── RecordError         a result file cannot be read, or is not of this schema
│   └── ForeignRecord   JSON that `unmask bench` did not write
├── ToolMissing         a program that a comparison needs is not here, with the way to get it
├── OutputError         a result cannot be written where it is wanted
├── NoServer            nobody answers at the address that was given
└── ServerDied          the server ended in mid-run; what was measured until then is kept
"""


class BenchmarkError(Exception):
    """Base of all errors of the benchmarks; the message names the value, the limit and the remedy."""


class UsageError(BenchmarkError):
    """A flag has a value that makes no sense."""


class EngineUnavailable(BenchmarkError):
    """An engine is not installed or cannot run on this machine."""


class RecordError(BenchmarkError):
    """A result file cannot be read, or is not of this schema."""


class ForeignRecord(RecordError):
    """JSON that ``unmask bench`` did not write."""


class ToolMissing(BenchmarkError):
    """A program that a comparison needs is not here."""


class OutputError(BenchmarkError):
    """A result cannot be written where it is wanted."""


class NoServer(BenchmarkError):
    """Nobody answers at the address that was given."""


class ServerDied(BenchmarkError):
    """The server ended in mid-run; what was measured until then is kept."""
