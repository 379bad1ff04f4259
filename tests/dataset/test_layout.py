"""Data sets on disk: written and read back, checked, split by patient, imported."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.core.case import Case
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.dataset.checks import check_dataset
from otovox.dataset.importers import import_release, load_recipe, read_sides, recipe_names
from otovox.dataset.layout import (
    Entry,
    add_case,
    load_case,
    read_index,
    split_by_patient,
    start_dataset,
    write_index,
)
from otovox.dataset.points import read_points
from otovox.errors import ConfigError, InputError, OutputError
from otovox.evaluation.dataset_summary import summarise, training_intensity
from otovox.formats.images import save_label_map, save_volume
from otovox.formats.markups import write_markups

GRID = Grid.centred((10, -20, 30), (48, 56, 50), spacing_mm=0.4)


def a_case(name: str, side: Side = Side.RIGHT, seed: int = 0) -> Case:
    """Noise, with a ball through all landmarks of a mean ear for a labyrinth."""
    pose = mean_pose(side, GRID.center_mm)
    points = pose.to_lps(list(CANONICAL_MM.values()))
    away = np.linalg.norm(
        GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1))[..., None, :] - points, axis=-1
    )
    mask = away.min(axis=-1) < 1.9
    values = np.random.default_rng(seed).normal(0, 50, GRID.shape) + np.where(mask, 0, 1200)
    labels = np.where(mask, side.label, 0).astype(np.uint8)
    landmarks = {side: Landmarks(tuple(CANONICAL_MM), points)}
    return Case(Scan(values.astype(np.float32), GRID, name), LabelMap(labels, GRID), landmarks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound data set of four cases of three patients."""
    path = tmp_path / "set"
    start_dataset(path, name="test", source="made here")
    for number, side in enumerate((Side.RIGHT, Side.LEFT, Side.RIGHT, Side.LEFT)):
        entry = Entry("", patient=f"p{min(number, 2)}", scanner="msct" if number % 2 else "cbct")
        add_case(path, a_case(f"c{number}", side, number), entry)
    return path


def findings(folder: Path, *, serious: bool = True) -> list[str]:
    return [f"{f.case}: {f.text}" for f in check_dataset(folder) if f.serious or not serious]


def test_a_case_comes_back_as_it_was(folder: Path) -> None:
    entries = read_index(folder)
    assert [entry.case for entry in entries] == ["c0", "c1", "c2", "c3"]
    assert [entry.side for entry in entries] == ["right", "left", "right", "left"]
    case, again = a_case("c1", Side.LEFT, 1), load_case(folder, entries[1])
    np.testing.assert_allclose(again.scan.values, case.scan.values, atol=1e-3)
    np.testing.assert_array_equal(again.labels.values, case.labels.values)
    assert again.scan.grid.same_as(case.scan.grid)
    for name in CANONICAL_MM:
        found = again.landmarks[Side.LEFT][name]
        np.testing.assert_allclose(found, case.landmarks[Side.LEFT][name], atol=1e-3)


def test_a_sound_data_set_has_no_errors(folder: Path) -> None:
    assert findings(folder) == []


def test_a_data_set_goes_on_and_other_folders_are_left_alone(folder: Path, tmp_path: Path) -> None:
    assert len(start_dataset(folder, name="again", source="")) == 4
    add_case(folder, a_case("c1", Side.RIGHT, 9), Entry("", patient="p1"))
    assert [entry.side for entry in read_index(folder)][:2] == ["right", "right"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="choose another"):
        start_dataset(tmp_path / "other", name="", source="")
    with pytest.raises(InputError, match="not an otovox data set"):
        read_index(tmp_path / "other")


def test_splits_keep_patients_together(folder: Path) -> None:
    entries = split_by_patient(read_index(folder), validation=1, test=1, seed=3)
    write_index(folder, entries)
    assert entries == split_by_patient(read_index(folder), validation=1, test=1, seed=3)
    assert {entry.split for entry in entries} == {"train", "validation", "test"}
    assert entries[2].split == entries[3].split
    assert findings(folder) == []
    with pytest.raises(InputError, match="too few"):
        split_by_patient(entries, validation=2, test=1)


def spoil_leak(folder: Path, entries: list[Entry]) -> list[Entry]:
    return [
        *entries[:2],
        replace(entries[2], split="train"),
        replace(entries[3], split="validation"),
    ]


def spoil_double(folder: Path, entries: list[Entry]) -> list[Entry]:
    (folder / entries[1].image).write_bytes((folder / entries[0].image).read_bytes())
    return entries


def spoil_side(folder: Path, entries: list[Entry]) -> list[Entry]:
    return [replace(entries[0], side="left"), *entries[1:]]


def spoil_handedness(folder: Path, entries: list[Entry]) -> list[Entry]:
    case = load_case(folder, entries[0])
    values = np.where(case.labels.values > 0, Side.LEFT.label, 0).astype(np.uint8)
    save_label_map(LabelMap(values, GRID), folder / entries[0].labels)
    write_markups(folder / entries[0].landmarks, {Side.LEFT: case.landmarks[Side.RIGHT]})
    return [replace(entries[0], side="left"), *entries[1:]]


def spoil_frame(folder: Path, entries: list[Entry]) -> list[Entry]:
    points = load_case(folder, entries[0]).landmarks[Side.RIGHT]
    ras = Landmarks(points.names, points.points_mm * (-1, -1, 1))
    write_markups(folder / entries[0].landmarks, {Side.RIGHT: ras})
    return entries


def spoil_grid(folder: Path, entries: list[Entry]) -> list[Entry]:
    moved = Grid.centred((10, -20, 31), GRID.shape, spacing_mm=0.4)
    save_label_map(LabelMap(np.ones(GRID.shape, np.uint8), moved), folder / entries[0].labels)
    return entries


def spoil_labels(folder: Path, entries: list[Entry]) -> list[Entry]:
    values = load_case(folder, entries[0]).labels.values.copy()
    values[0, 0, 0] = 7
    save_label_map(LabelMap(values, GRID), folder / entries[0].labels)
    return entries


def spoil_file(folder: Path, entries: list[Entry]) -> list[Entry]:
    (folder / entries[0].image).unlink()
    return entries


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (spoil_leak, "patient p2 is in train and validation: data leak"),
        (spoil_double, "c1: has the same voxels as c0"),
        (spoil_side, "c0: is listed as left, but its labels are right"),
        (spoil_handedness, "the left ear has the anatomy of a right one"),
        (spoil_frame, "right helicotrema is outside the scan: wrong frame or unit?"),
        (spoil_grid, "is not on the same grid"),
        (spoil_labels, "has label values [7]"),
        (spoil_file, "file not found"),
    ],
)
def test_what_is_wrong_is_found(folder: Path, spoil, text: str) -> None:
    write_index(folder, spoil(folder, read_index(folder)))
    assert any(text in finding for finding in findings(folder))


def test_summary_measures_contrast_and_scales_by_training_alone(folder: Path, tmp_path) -> None:
    entries = read_index(folder)
    write_index(
        folder,
        [replace(entries[0], split="train"), *(replace(e, split="test") for e in entries[1:])],
    )
    rows = summarise(folder, tmp_path / "out")
    assert rows[0].lumen[2] == pytest.approx(0, abs=10)
    assert rows[0].capsule[2] == pytest.approx(1200, abs=20)
    first = load_case(folder, entries[0]).scan.values
    assert training_intensity(rows)["mean"] == pytest.approx(first.mean(), abs=0.1)
    for name in ("contrast.csv", "groups.csv", "contrast.png"):
        assert (tmp_path / "out" / name).stat().st_size > 100


# --- importers -------------------------------------------------------------------------------


def write_companion(path: Path, points: dict[str, np.ndarray], ijk: dict[str, np.ndarray]) -> None:
    names = {
        "helicotrema": "CochleaTop",
        "oval_window": "OvalWindow",
        "round_window": "RoundWindow",
    }
    records = [
        {
            "label": names[name],
            "xyz_position": (points[name] * [-1, -1, 1]).tolist(),  # RAS, as the notebook
            "ijk_position": ijk[name].tolist(),
        }
        for name in LANDMARK_NAMES
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))


def release(folder: Path, names: dict[str, str], *, merged: int = 1) -> Case:
    """One case of a release, its files named as asked; `{}` in names stands for the case."""
    case = a_case("x")
    truth = case.landmarks[Side.RIGHT]
    points = {name: truth[name] for name in LANDMARK_NAMES}
    for number, kinds in ((1, names), (12, {k: v for k, v in names.items() if k != "landmarks"})):
        for kind, name in kinds.items():
            path = folder / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "image":
                values = case.scan.values + number
                save_volume(values, GRID, path)
            elif kind == "labels":
                values = (case.labels.values * merged).astype(np.uint8)
                save_label_map(LabelMap(values, GRID), path)
            elif name.endswith(".mrk.json"):
                write_markups(path, {Side.RIGHT: truth.only(LANDMARK_NAMES)})
            elif name.endswith("_DESC.json"):
                letters = dict(zip(["A", "OW", "RW"], LANDMARK_NAMES, strict=True))
                marks = {k: (points[n] * [-1, -1, 1]).tolist() for k, n in letters.items()}
                marks |= {"C": [0, 0, 0], "V": [1, 1, 1]}
                path.write_text(json.dumps({"ID": "x", "SIDE": "RIGHT", "LANDMARKS": marks}))
            elif name.endswith(".json"):
                ijk = {n: GRID.to_ijk(p) * GRID.spacing_mm / 0.099 for n, p in points.items()}
                write_companion(path, points, ijk)
            else:
                lines = [
                    f"{n.replace('_', ' ').title()}: {p[0]}, {p[1]}, {p[2]}"
                    for n, p in points.items()
                ]
                path.write_text("Specimen 1\n" + "\n".join(lines) + "\n")
    return case


LAYOUTS = {
    "stebani-a": {
        "image": "volumes/{:02d}_volume.nii.gz",
        "labels": "labels/{:02d}_label.nii.gz",
        "landmarks": "landmarks/{:02d}_landmarks.json",
    },
    "wimmer": {
        "image": "F{:02d}/CT/F{:02d}_CT_RAW.nii",
        "labels": "F{:02d}/CT/F{:02d}_CT_LABELS.nii",
        "landmarks": "F{:02d}/F{:02d}_DESC.json",
    },
    "hear-eu": {
        "image": "GID_{}_image.nrrd",
        "labels": "GID_{}_segmentation.nrrd",
        "landmarks": "GID_{}_landmarks.json",
    },
    "lim": {"image": "images/patient{}.nii.gz", "labels": "labels/patient{}.nii.gz"},
    "nnunet": {"image": "imagesTr/ear_{:03d}_0000.nii.gz", "labels": "labelsTr/ear_{:03d}.nii.gz"},
    "folder": {
        "image": "ear{}.nii.gz",
        "labels": "ear{}_mask.nii.gz",
        "landmarks": "ear{}.mrk.json",
    },
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_release_is_imported(name: str, tmp_path: Path) -> None:
    layout = {kind: path.replace("/F{:02d}_", "/F{0:02d}_").replace("F{:02d}/", "F{0:02d}/")
              for kind, path in LAYOUTS[name].items()}  # fmt: skip
    case = release(tmp_path / "raw", layout, merged=3)
    done = list(
        import_release(load_recipe(name), tmp_path / "raw", tmp_path / "set", sides={"*": "right"})
    )
    assert len(done) == 2
    assert all(one.entry is not None for one in done)
    first, _ = read_index(tmp_path / "set")
    if "landmarks" in layout:
        assert any("no landmarks" in one.lacking for one in done)
    again = load_case(tmp_path / "set", first)
    assert set(np.unique(again.labels.values)) == {0, 1}
    np.testing.assert_array_equal(again.labels.values > 0, case.labels.values > 0)
    if first.landmarks:
        for landmark in LANDMARK_NAMES:
            found = again.landmarks[Side.RIGHT][landmark]
            np.testing.assert_allclose(found, case.landmarks[Side.RIGHT][landmark], atol=0.01)
    assert findings(tmp_path / "set") == []
    # Again: nothing is done twice.
    again_done = import_release(
        load_recipe(name), tmp_path / "raw", tmp_path / "set", sides={"*": "right"}
    )
    assert list(again_done) == []


def test_left_ears_of_set_a_are_known(tmp_path: Path) -> None:
    release(tmp_path / "raw", LAYOUTS["stebani-a"])
    list(import_release(load_recipe("stebani-a"), tmp_path / "raw", tmp_path / "set"))
    assert [entry.side for entry in read_index(tmp_path / "set")] == ["right", "left"]


WIMMER = Path(__file__).parents[3] / "shared" / "data" / "wimmer-2019"


def test_wimmer_gives_the_side_in_either_layout_and_refuses_damaged_ears(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    once = {kind: path.replace("{:02d}", "{0:02d}") for kind, path in LAYOUTS["wimmer"].items()}
    twice = {kind: f"F{{0:02d}}/{path}" for kind, path in once.items()}
    case = release(raw, once)
    cut_off = raw / "F12" / "CT" / "F12_CT_RAW.nii"
    cut_off.write_bytes(cut_off.read_bytes()[:-100])
    done = {one.case: one for one in import_release(load_recipe("wimmer"), raw, tmp_path / "set")}
    assert done["F12"].entry is None
    (entry,) = read_index(tmp_path / "set")
    assert (entry.case, entry.side) == ("F01", "right")
    again = load_case(tmp_path / "set", entry)
    for name in LANDMARK_NAMES:
        np.testing.assert_allclose(
            again.landmarks[Side.RIGHT][name], case.landmarks[Side.RIGHT][name], atol=1e-6
        )
    other = tmp_path / "other"
    release(other, twice)
    description = other / "F01" / "F01" / "F01_DESC.json"
    description.write_text(description.read_text().replace("RIGHT", "LEFT"))
    labels = other / "F12" / "F12" / "CT" / "F12_CT_LABELS.nii"
    labels.write_bytes(labels.with_name("F12_CT_RAW.nii").read_bytes())
    done = {one.case: one for one in import_release(load_recipe("wimmer"), other, tmp_path / "s2")}
    assert done["F12"].entry is None
    assert "label map" in done["F12"].lacking[0]
    assert [one.side for one in read_index(tmp_path / "s2")] == ["left"]


@pytest.mark.skipif(not WIMMER.is_dir(), reason="the release is not there")
def test_real_ears_are_imported_with_points_on_their_walls(tmp_path: Path) -> None:
    done = list(import_release(load_recipe("wimmer"), WIMMER, tmp_path / "set"))
    assert len(done) == 9
    assert all(one.entry for one in done)
    entries = read_index(tmp_path / "set")
    assert {e.case: e.side for e in entries if e.case in ("F01", "F03")} == {
        "F01": "left", "F03": "right",
    }  # fmt: skip
    assert len({entry.patient for entry in entries}) == 6
    assert findings(tmp_path / "set") == []


def test_a_side_that_nobody_knows_is_asked_for(tmp_path: Path) -> None:
    release(tmp_path / "raw", LAYOUTS["folder"])
    done = list(import_release(load_recipe("folder"), tmp_path / "raw", tmp_path / "set"))
    assert all(one.entry is None and "use --side" in one.lacking[0] for one in done)
    table = tmp_path / "sides.csv"
    table.write_text("case,side\near1,left\near12,Right\n")
    sides = read_sides(table)
    list(import_release(load_recipe("folder"), tmp_path / "raw", tmp_path / "set", sides=sides))
    assert [entry.side for entry in read_index(tmp_path / "set")] == ["left", "right"]
    table.write_text("case,side\near1,both\n")
    with pytest.raises(InputError, match="right or left"):
        read_sides(table)


def test_a_decathlon_list_is_imported(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    release(raw, {"image": "imagesTr/e{}.nii.gz", "labels": "labelsTr/e{}.nii.gz"})
    (raw / "dataset.json").write_text(
        json.dumps(
            {
                "training": [{"image": "./imagesTr/e1.nii.gz", "label": "./labelsTr/e1.nii.gz"}],
                "test": ["./imagesTr/e12.nii.gz"],
            }
        )
    )
    recipe = load_recipe("decathlon")
    done = list(import_release(recipe, raw, tmp_path / "set", sides={"*": "left"}))
    assert [one.entry.split for one in done if one.entry] == ["train", "test"]
    assert "no label map" in done[1].lacking


def test_openear_chooses_segments_by_name(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    case = a_case("x")
    save_volume(case.scan.values, GRID, raw / "alpha_CBCT.nrrd")
    save_label_map(case.labels, raw / "plain.nrrd")
    image = sitk.ReadImage(str(raw / "plain.nrrd"))
    bone = sitk.Cast(image == 0, sitk.sitkUInt8) * 5
    image = image * 3 + bone
    names = {"Segment0_Name": "Temporal_Bone", "Segment0_LabelValue": "5"}
    names |= {"Segment1_Name": "Cochlea", "Segment1_LabelValue": "3"}
    for key, value in names.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(raw / "alpha_segmentation.nrrd"))
    (raw / "plain.nrrd").unlink()
    (one,) = import_release(load_recipe("openear"), raw, tmp_path / "set", sides={"*": "right"})
    assert one.entry is not None, one.lacking
    found = load_case(tmp_path / "set", one.entry)
    np.testing.assert_array_equal(found.labels.values > 0, case.labels.values > 0)


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "stebani-a" in recipe_names()
    with pytest.raises(ConfigError, match="no release is called"):
        load_recipe("mine")
    with pytest.raises(InputError, match="contains no file that matches a scan"):
        list(import_release(load_recipe("lim"), tmp_path / "empty", tmp_path / "set"))
    assert not (tmp_path / "set").exists()
    path = tmp_path / "recipe.toml"
    path.write_text("title = 'x'\nwhat = 1\n")
    with pytest.raises(ConfigError, match="is not a valid recipe"):
        load_recipe(path)
    table = tmp_path / "points.txt"
    table.write_text("nothing here\n")
    with pytest.raises(InputError, match="three coordinates"):
        read_points(table, "table", GRID)
