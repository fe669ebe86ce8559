"""The README's table is made from the result files in git."""

from pathlib import Path

import pytest

from benchmarks import readme_figures
from benchmarks.errors import RecordError
from tests.benchmarks.test_commands import run_file


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
