"""What can go wrong between `unmask serve` and a ready server.

ServingError
├── TritonMissing        a package that serving needs, the wheel with the server's binary, or an engine, is not installed
├── RepositoryError      the model repository is not there or is incomplete
├── ProfileUnavailable   the profile that was asked for cannot run on this machine
├── PortInUse            somebody else listens on the port
├── StartFailed          the server ended, or a model did not load
│   └── ProfileMismatch  the server is up, but a model does not run the profile that was asked for
├── StartTimeout         not ready within the start timeout
└── BackendConfigError   a model's configuration has a value that the backend does not take
"""


class ServingError(Exception):
    """Base of all errors of the embedded Triton; the message names the value, the limit and the remedy."""


class TritonMissing(ServingError):
    """The wheel with the server's binary, or an engine behind a backend, is not installed."""


class RepositoryError(ServingError):
    """The model repository is not there or is incomplete."""


class ProfileUnavailable(ServingError):
    """The profile that was asked for cannot run on this machine."""


class PortInUse(ServingError):
    """Somebody else listens on the port."""


class StartFailed(ServingError):
    """The server ended while starting, or a model did not load."""


class ProfileMismatch(StartFailed):
    """The server is up, but a model's live configuration is not the profile that was asked for."""


class StartTimeout(ServingError):
    """The server was not ready within the start timeout."""


class BackendConfigError(ServingError):
    """A model's configuration has a value that the backend does not take."""
