"""Progress bars."""

import pytest

from otovox.cli.progress import watched
from otovox.stages import Stage, report
from otovox.workers import Outcome, Status


@pytest.mark.parametrize("scans", [1, 2])
def test_a_single_analysis_shows_its_stage(monkeypatch, capsys, scans: int) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")

    def outcomes():
        for name in range(scans):
            report(Stage.LOCATING)
            yield Outcome(name, Status.DONE)

    done = watched(outcomes(), scans, title="Analysing", line_of=lambda outcome: "")
    assert [outcome.job for outcome in done] == list(range(scans))
    shown = capsys.readouterr().err
    assert "100%" in shown
    assert ("locating the ears" in shown) is (scans == 1)
