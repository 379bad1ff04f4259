"""DSC by subgroup and by Likert score, by hand, beside the published figures."""

import numpy as np
import pandas as pd
import pytest

from otovox.errors import InputError
from otovox.evaluation.lim_tables import (
    EXTERNAL,
    LIKERT_PUBLISHED,
    MALFORMATIONS,
    SUBGROUPS,
    SUBGROUPS_PUBLISHED,
    TRAINING,
    likert_levels,
    likert_table,
    structures_table,
    subgroup_table,
    subgroups_of,
    write_likert_tables,
)
from otovox.evaluation.stebani_tables import OURS
from otovox.phantom.disease import DIAGNOSES


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "diagnosis": ["healthy", "", None, "otosclerosis", "common_cavity", "cut_field"],
            "dice": [0.9, 0.8, 0.85, 0.7, 0.5, 0.2],
            "likert": [1, 2, 1, 3, 4, np.nan],
            "lost": [
                "",
                "anterior_canal",
                "",
                "anterior_canal lateral_canal",
                "anterior_canal posterior_canal cochlea",
                "",
            ],
        }
    )


def row(frame, **wanted):
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_subgroups_by_hand(table):
    frame = subgroup_table(table).rename(columns={"from": "origin"})
    ours = {name: row(frame, subgroup=name, origin=OURS) for name in SUBGROUPS}
    assert [ours[name]["ears"] for name in ours] == [6, 3, 2, 1, 1, 1]
    assert ours["normal"]["mean"] == pytest.approx(0.85)
    assert ours["normal"]["sd"] == pytest.approx(0.05)
    assert ours["pathological"]["mean"] == pytest.approx(0.6)
    assert ours["overall"]["least"] == 0.2
    assert np.isnan(ours["malformation"]["sd"])


def test_the_published_figures_stand_beside(table):
    frame = subgroup_table(table).rename(columns={"from": "origin"})
    external = row(frame, subgroup="otosclerosis", origin=EXTERNAL)
    assert (external["mean"], external["median"]) == (0.72, 0.67)
    assert row(frame, subgroup="incomplete", origin=TRAINING)["ears"] == 5
    means = [SUBGROUPS_PUBLISHED[EXTERNAL][name].mean for name in ("overall", "normal")]
    assert means == [0.83, 0.85]


def test_the_published_counts_add_up():
    assert sum(LIKERT_PUBLISHED[EXTERNAL].ears) == 70
    assert sum(LIKERT_PUBLISHED[TRAINING].ears) == 271
    for sets in SUBGROUPS_PUBLISHED.values():
        assert sets["normal"].ears + sets["pathological"].ears == sets["overall"].ears
    # The mean over all follows from the means of the scores.
    external = LIKERT_PUBLISHED[EXTERNAL]
    assert np.average(external.means, weights=external.ears) == pytest.approx(0.84, abs=0.01)


def test_likert_levels_by_hand(table):
    levels = likert_levels(table)
    assert levels.ears == (2, 1, 1, 1)
    assert levels.means == pytest.approx((0.875, 0.8, 0.7, 0.5))
    # Ranks of DSC 5, 3, 4, 2, 1 and of the score 1.5, 3, 1.5, 4, 5.
    expected = np.corrcoef([5, 3, 4, 2, 1], [1.5, 3, 1.5, 4, 5])[0, 1]
    assert levels.correlation == pytest.approx(expected)
    assert levels.p == pytest.approx(0.0048, abs=0.001)


def test_nothing_to_correlate_gives_nan():
    same = pd.DataFrame({"dice": [0.9, 0.8, 0.7], "likert": [1, 1, 1]})
    levels = likert_levels(same)
    assert np.isnan(levels.correlation)
    assert np.isnan(levels.means[3])


def test_wrong_tables_are_refused(table):
    with pytest.raises(InputError, match="lacks likert"):
        likert_table(table.drop(columns="likert"))
    with pytest.raises(InputError, match="not 5"):
        likert_table(table.assign(likert=5))


def test_every_diagnosis_of_the_phantom_has_its_place():
    assert set(DIAGNOSES) >= MALFORMATIONS
    assert all(subgroups_of(name)[0] == "overall" for name in DIAGNOSES)
    assert subgroups_of("mastoidectomy") == ("overall", "pathological")


def test_tables_are_written(table, tmp_path):
    files = write_likert_tables(table, tmp_path)
    names = ["dsc-by-subgroup.csv", "dsc-by-likert.csv", "lost-structures.csv", "likert.md"]
    assert [path.name for path in files] == names
    text = files[-1].read_text("utf-8")
    assert "| Lim et al. 2024, external | 70 | 29 | 0.90 | 17 | 0.90 |" in text
    assert "| otosclerosis | otovox | 1 | 0.70 |" in text
    written = pd.read_csv(files[0])
    assert written["mean"].to_list()[0] == pytest.approx(table["dice"].mean())


def test_lost_structures_by_hand(table):
    """Six losses in five ears, five of them canals."""
    found = structures_table(table)
    anterior = row(found, structure="anterior_canal")
    assert (anterior["ears"], anterior["lost"]) == (5, 3)
    assert anterior["share of losses"] == pytest.approx(3 / 6)
    canals = row(found, structure="all canals")
    assert (canals["lost"], canals["published share"]) == (5, 0.85)
    assert canals["share of losses"] == pytest.approx(5 / 6)
    assert row(found, structure="vestibule")["lost"] == 0
    assert np.isnan(structures_table(table.assign(lost=""))["share of losses"]).all()


def test_without_scores_only_the_subgroups_are_written(table, tmp_path):
    files = write_likert_tables(table.drop(columns="likert"), tmp_path)
    assert [path.name for path in files] == ["dsc-by-subgroup.csv", "likert.md"]
