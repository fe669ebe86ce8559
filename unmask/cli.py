"""The ``unmask`` command: a table of commands, each imported only when it is called.

Exit codes, the same for every command: 0 done, 1 some input could not be evaluated because of an error, 2 usage,
3 server.
"""

from importlib import import_module
from typing import Any

import click

from common.errors import InvalidSettings
from unmask import __version__

# name -> (module:attribute, one line of help). The line stands here, too, so that `unmask --help` imports no area:
# mediapipe and torch alone would take seconds. `tests/unmask/test_cli.py` holds the lines equal.
COMMANDS: dict[str, tuple[str, str]] = {
    "detect": ("unmask.detect:detect", "Say of videos, images or folders whether the faces in them are fake."),
    "setup": ("preprocess.commands:setup", "Install the face detectors; once, after pip install."),
    "faces": ("preprocess.commands:faces", "Write the face crops, a contact sheet and a JSON of what preprocessing sees."),
    "serve": ("serving.commands:serve", "Start Triton, the API and the console, and keep them running."),
    "console": ("console.commands:console", "Serve the web API and the pages for a Triton that runs elsewhere."),
    "keys": ("console.commands:keys", "Make, list and revoke the API keys of the console."),
    "export": ("export.commands:export", "Build the model repository from a checkpoint."),
    "train": ("training.commands:train", "Train a detector: collect faces, fit both stages, write weights."),
    "evaluate": (
        "training.evaluate_commands:evaluate",
        "Measure a detector: as it is served, and on fakes made of held-back faces.",
    ),
    "models": ("unmask.models:models", "List the detectors of a server or of a model repository."),
    "bench": ("benchmarks.commands:bench", "Measure latency, load and engines, side by side with the reference pipeline."),
    "doctor": ("unmask.doctor:doctor", "Say what is installed, which engines and profiles work, and what is missing."),
}


EXTRAS: dict[str, str] = {
    "serve": "serve,console",
    "console": "console",
    "keys": "console",
    "export": "export",
    "models": "export",
    "train": "training",
    "evaluate": "training",
    "bench": "bench,serve",
}
"""Command -> the extras of this project that it needs beside the client."""
OWN_PACKAGES = {module.split(":")[0].split(".")[0] for module, _ in COMMANDS.values()} | {"client", "common"}
EXIT_SERVER = 3


class ExtraMissing(click.ClickException):
    """A command was called that needs an extra which is not installed."""

    def __init__(self, command: str, package: str) -> None:
        super().__init__(
            f"`unmask {command}` needs {package}, which is not installed; install it with `pip install 'unmask[{EXTRAS[command]}]'`"
        )


class ServerMissing(ExtraMissing):
    """The same of ``unmask serve``, whose failures have a code of their own."""

    exit_code = EXIT_SERVER


class LazyGroup(click.Group):
    """A click group that imports a command's module when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        ctx.meta["unmask.command"] = cmd_name
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; wrong settings are wrong usage, whichever command reads them."""
        try:
            return super().invoke(ctx)
        except InvalidSettings as error:
            raise click.UsageError(str(error), ctx) from error
        except ModuleNotFoundError as error:
            command = ctx.meta.get("unmask.command", "")
            if command not in EXTRAS or (error.name or "").split(".")[0] in OWN_PACKAGES:
                raise
            raise (ServerMissing if command == "serve" else ExtraMissing)(command, error.name or "a package") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="unmask")
def main() -> None:
    """Unmask serves ResNeXt-50 + LSTM deepfake detectors on NVIDIA Triton and says what they know.

    \b
    Exit codes: 0 done, 1 some input could not be evaluated because of an error,
                2 usage, 3 server.
    """
