"""The README's table is made from the result files in git."""

from pathlib import Path

import pytest

from benchmarks import readme_figures
from benchmarks.errors import RecordError
from benchmarks.record import Check, Record
from tests.benchmarks.test_commands import run_file
from tests.conftest import ROOT


def test_the_table_quotes_the_files_and_nothing_else() -> None:
    records = readme_figures.read_results()
    table = readme_figures.table(records)
    for name in records:
        assert f"benchmarks/results/{name}.json" in table
    engines = records["engines"]
    served = engines.find(engine="served-cpu", frames=100)
    assert served is not None
    assert f"{served.figures['frames_per_s']:.0f} frames/s" in table


def test_a_run_that_is_not_there_is_not_quoted(tmp_path: Path) -> None:
    run_file(tmp_path / "frames.json", 1.0)
    table = readme_figures.table(readme_figures.read_results(tmp_path))
    assert "frames.json" in table
    assert "engines.json" not in table


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no result"):
        readme_figures.read_results(tmp_path)


def test_the_readme_has_the_table_of_the_results_in_git() -> None:
    readme = (ROOT / "README.md").read_text()
    wanted = readme_figures.put_into(readme, readme_figures.table(readme_figures.read_results()))
    assert readme == wanted, "run `python -m benchmarks.readme_figures --readme README.md`"


def test_a_readme_without_marks_is_an_error() -> None:
    with pytest.raises(RecordError, match="figures"):
        readme_figures.put_into("# Unmask", "| a |")


def test_a_missed_promise_is_quoted_as_such() -> None:
    name = "150% of the knee: p99 of accepted requests, in multiples of that at the knee"
    run = Record(
        kind="load", settings={"open_loops": [[80, 600.0]]}, state="interrupted",
        checks=[Check(name=name, value=2.4, relation="<=", limit=2.0)],
    )  # fmt: skip
    assert (
        "| 2.4 (**missed**: at most 2) | [`load.json`](benchmarks/results/load.json) (interrupted) |"
        in readme_figures.table({"load": run})
    )
