"""Volumes in memory keep their geometry: every kind, flipped, permuted and oblique, in mm."""

import subprocess
import sys
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from otovox.core.geometry import affine_from, rotation_from_vector
from otovox.core.volume import Grid
from otovox.errors import InputError
from otovox.formats.in_memory import scan_in_memory, to_sitk

SHAPE = (24, 22, 20)
SPACING = np.array([0.5, 0.6, 0.8])
ORIGIN = np.array([30.0, -40.0, 800.0])
VALUES = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.float32)
#: Columns: the axes i, j, k in LPS.
DIRECTIONS = {
    "plain": np.eye(3),
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "permuted": np.eye(3)[:, [2, 0, 1]],
    "oblique": rotation_from_vector((0.3, -0.2, 0.5)),
    "oblique, left-handed": rotation_from_vector((0.3, -0.2, 0.5)) @ np.diag([1.0, 1.0, -1.0]),
}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(params=DIRECTIONS.values(), ids=list(DIRECTIONS))
def lps(request: pytest.FixtureRequest) -> np.ndarray:
    """An affine from (i, j, k) to LPS mm."""
    return affine_from(request.param * SPACING, ORIGIN)


def check(scan, lps: np.ndarray) -> None:
    """Every voxel holds its value, and lies where it lay, within a micrometre."""
    assert np.array_equal(scan.values, VALUES)
    for ijk in ((0, 0, 0), (23, 0, 0), (0, 21, 0), (0, 0, 19), (7, 8, 9)):
        expected = lps[:3, :3] @ ijk + lps[:3, 3]
        assert scan.grid.to_mm(ijk) == pytest.approx(expected, abs=1e-3)


def test_simpleitk_both_ways(lps: np.ndarray) -> None:
    image = to_sitk(VALUES, Grid(SHAPE, lps))
    assert image.TransformIndexToPhysicalPoint((7, 8, 9)) == pytest.approx(
        lps[:3, :3] @ (7, 8, 9) + lps[:3, 3], abs=1e-6
    )
    check(scan_in_memory(image), lps)


def test_nibabel_is_ras(lps: np.ndarray) -> None:
    check(scan_in_memory(nibabel.Nifti1Image(VALUES, LPS_TO_RAS @ lps)), lps)


def test_nibabel_from_a_file_keeps_name_scaling_and_unit(tmp_path) -> None:
    metres = np.diag([1e-3, 1e-3, 1e-3, 1.0])
    lps = affine_from(np.diag(SPACING), ORIGIN)
    image = nibabel.Nifti1Image(VALUES[..., None], metres @ LPS_TO_RAS @ lps)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "left.nii.gz")
    scan = scan_in_memory(nibabel.load(tmp_path / "left.nii.gz"))
    assert scan.name == "left"
    check(scan, lps)


@pytest.mark.parametrize("channels", [(), (1,), (1, 1)])
def test_monai_is_ras_and_has_channels_first(lps: np.ndarray, channels: tuple[int, ...]) -> None:
    values = torch.from_numpy(VALUES).reshape(*channels, *SHAPE)
    check(scan_in_memory(MetaTensor(values, affine=torch.from_numpy(LPS_TO_RAS @ lps))), lps)


def test_monai_may_say_that_it_is_lps(lps: np.ndarray) -> None:
    tensor = MetaTensor(
        torch.from_numpy(VALUES), affine=torch.from_numpy(lps), meta={"space": "LPS"}
    )
    check(scan_in_memory(tensor), lps)


def test_arrays_say_which_space(lps: np.ndarray) -> None:
    check(scan_in_memory(VALUES, affine=lps, space="LPS"), lps)
    check(scan_in_memory(VALUES, affine=LPS_TO_RAS @ lps, space="RAS"), lps)


def test_unknown_or_contradictory_geometry_is_refused() -> None:
    lps = affine_from(np.diag(SPACING), ORIGIN)
    silent = nibabel.Nifti1Image(VALUES, None)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (VALUES, {}, "the position of its voxels"),
        (VALUES, {"affine": lps}, "the position of its voxels"),
        (VALUES, {"affine": lps, "space": "SLP"}, "neither"),
        (VALUES, {"affine": lps[:3], "space": "LPS"}, "4x4"),
        (VALUES[0], {"affine": lps, "space": "LPS"}, "2 dimensions"),
        (VALUES > 0, {"affine": lps, "space": "LPS"}, "bool"),
        (VALUES * np.nan, {"affine": lps, "space": "LPS"}, "NaN or infinite"),
        (VALUES, {"affine": np.diag([0, 1, 1, 1]), "space": "LPS"}, "voxel size"),
        (to_sitk(VALUES, Grid(SHAPE, lps)), {"affine": lps}, "own geometry"),
        (silent, {}, "neither qform nor sform"),
        (MetaTensor(torch.from_numpy(VALUES)), {}, "identity"),
        (
            MetaTensor(torch.from_numpy(np.stack([VALUES, VALUES])), affine=torch.from_numpy(lps)),
            {},
            "4 dimensions",
        ),
        ({"image": VALUES}, {}, "cannot analyse a dict"),
    ]
    for volume, options, words in cases:
        with pytest.raises(InputError, match=words):
            scan_in_memory(volume, **options)


def test_nibabel_and_monai_are_not_imported() -> None:
    code = (
        "import numpy as np, sys; from otovox.formats.in_memory import scan_in_memory;"
        "scan_in_memory(np.random.rand(40, 40, 40), affine=np.diag([.5, .5, .5, 1]), space='RAS');"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"monai", "torch"} & set(done.stdout.split())
