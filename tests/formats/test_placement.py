"""What headers say of left and right and of size: read rightly, or refused with what is missing."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from otovox.core.volume import Grid, LabelMap
from otovox.errors import ConfigError, InputError
from otovox.formats.images import load_image, load_label_map, save_label_map
from otovox.formats.placement import Stated, stated

VALUES = np.random.default_rng(0).integers(-1000, 2000, (20, 22, 24)).astype("<i2")
SPACING = (0.5, 0.6, 0.7)
#: Offsets in a NIfTI-1 header: the units, the codes of qform and sform, the rows of the sform.
UNITS, CODES, ROWS = 123, 252, 280
LPS = np.diag([0.5, 0.6, 0.7, 1.0]) + np.array([[0, 0, 0, v] for v in (1.0, 2.0, 3.0, 0.0)])


def image() -> sitk.Image:
    made = sitk.GetImageFromArray(VALUES)
    made.SetSpacing(SPACING)
    made.SetOrigin((1, 2, 3))
    return made


def nifti(path: Path, codes: tuple[int, int], *, change: np.ndarray | None = None) -> Path:
    """A NIfTI file whose sform is the qform after a change."""
    plain = path.with_name("plain.nii")
    sitk.WriteImage(image(), str(plain))
    raw = bytearray(plain.read_bytes())
    rows = np.array(struct.unpack_from("<12f", raw, ROWS)).reshape(3, 4)
    if change is not None:
        struct.pack_into(
            "<12f", raw, ROWS, *np.ravel((change @ np.vstack([rows, [0, 0, 0, 1]]))[:3])
        )
    struct.pack_into("<hh", raw, CODES, *codes)
    path.write_bytes(raw)
    return path


def nrrd(path: Path, *lines: str) -> Path:
    header = ["NRRD0004", "type: short", "dimension: 3", "sizes: 24 22 20", "endian: little"]
    text = "\n".join([*header, "encoding: raw", *lines])
    path.write_bytes(text.encode() + b"\n\n" + VALUES.tobytes())
    return path


def metaimage(path: Path, *lines: str) -> Path:
    header = ["ObjectType = Image", "NDims = 3", "BinaryData = True", *lines, "DimSize = 24 22 20"]
    text = "\n".join([*header, "ElementType = MET_SHORT", "ElementDataFile = LOCAL"])
    path.write_bytes(text.encode() + b"\n" + VALUES.tobytes())
    return path


AXES = "space directions: (0.5,0,0) (0,0.6,0) (0,0,0.7)"
ORIGIN = "space origin: (1,2,3)"
MATRIX, OFFSET = "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 1 2 3"
ELEMENTS = "ElementSpacing = 0.5 0.6 0.7"

SHIFTED = np.eye(4) + np.array([[0, 0, 0, 5.0], [0, 0, 0, 5], [0, 0, 0, 5], [0, 0, 0, 0]])
SCALED = np.diag([1.1, 0.95, 1.05, 1.0])
SHEARED = np.eye(4) + np.array([[0, 0.3, 0, 0], *np.zeros((3, 4))])
MIRRORED = np.diag([-1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("codes", [(1, 1), (1, 4), (2, 1), (2, 2), (1, 0), (0, 1), (0, 2)])
def test_a_nifti_whose_transforms_agree_is_read_without_a_word(tmp_path, codes) -> None:
    scan = load_image(nifti(tmp_path / "a.nii", codes))
    np.testing.assert_allclose(scan.grid.affine, LPS, atol=1e-6)
    assert scan.warnings == ()


@pytest.mark.parametrize("change", [SHIFTED, SCALED, SHEARED])
@pytest.mark.parametrize("codes", [(1, 4), (1, 2), (2, 3), (1, 5)])
def test_the_scanners_transform_counts_not_a_registrations(tmp_path, change, codes) -> None:
    scan = load_image(nifti(tmp_path / "a.nii", codes, change=change))
    np.testing.assert_allclose(scan.grid.affine, LPS, atol=1e-6)
    (warning,) = scan.warnings
    assert "qform" in warning
    assert "sform" in warning


def test_the_scanners_sform_counts_before_an_aligned_qform(tmp_path) -> None:
    scan = load_image(nifti(tmp_path / "a.nii", (2, 1), change=SHIFTED))
    np.testing.assert_allclose(scan.grid.affine[:3, 3], (-4, -3, 8), atol=1e-5)
    assert "used sform (code 1" in scan.warnings[0]


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (1, 4), (2, 2), (3, 4)])
def test_transforms_that_differ_in_left_and_right_are_refused(tmp_path, codes) -> None:
    with pytest.raises(InputError, match="qform and sform disagree on left and right"):
        load_image(nifti(tmp_path / "a.nii", codes, change=MIRRORED))


@pytest.mark.parametrize("codes", [(1, 1), (2, 2), (3, 4)])
def test_transforms_of_one_rank_that_differ_are_refused(tmp_path, codes) -> None:
    with pytest.raises(InputError, match="qform and sform"):
        load_image(nifti(tmp_path / "a.nii", codes, change=SHIFTED))


@pytest.mark.parametrize("codes", [(0, 4), (0, 1), (2, 1)])
def test_a_scaled_sform_that_is_all_there_is_is_refused(tmp_path, codes) -> None:
    with pytest.raises(InputError, match=r"sform gives voxels of 0\.55"):
        load_image(nifti(tmp_path / "a.nii", codes, change=SCALED))


def test_an_atlas_alone_is_reported(tmp_path) -> None:
    scan = load_image(nifti(tmp_path / "a.nii", (0, 4)))
    assert "atlas" in scan.warnings[0]


def test_a_nifti_without_transforms_needs_the_user(tmp_path) -> None:
    path = nifti(tmp_path / "a.nii", (0, 0))
    with pytest.raises(InputError, match=r"neither qform nor sform.*--space"):
        load_image(path)
    scan = load_image(path, Stated("LAS"))
    np.testing.assert_allclose(scan.grid.affine, np.diag([0.5, -0.6, 0.7, 1]), atol=1e-6)
    assert "positions are relative to the first voxel" in scan.warnings[0]


def test_units_of_a_nifti_count(tmp_path) -> None:
    path = nifti(tmp_path / "a.nii", (1, 1))
    raw = bytearray(path.read_bytes())
    raw[UNITS] = 3  # micrometres
    struct.pack_into("<3f", raw, 80, 500, 600, 700)  # pixdim
    struct.pack_into("<12f", raw, ROWS, -500, 0, 0, -1000, 0, -600, 0, -2000, 0, 0, 700, 3000)
    struct.pack_into("<3f", raw, 268, -1000, -2000, 3000)  # qoffset
    path.write_bytes(raw)
    np.testing.assert_allclose(load_image(path).grid.affine, LPS, atol=1e-6)


def test_analyze_needs_the_user(tmp_path) -> None:
    sitk.WriteImage(image(), str(tmp_path / "a.hdr"))
    pair = load_image(tmp_path / "a.hdr")  # a NIfTI pair
    np.testing.assert_allclose(pair.grid.affine, LPS, atol=1e-6)
    header = bytearray((tmp_path / "a.hdr").read_bytes()[:348])
    header[CODES:348] = bytes(348 - CODES)
    (tmp_path / "a.hdr").write_bytes(header)
    with pytest.raises(InputError, match=r"Analyze 7\.5.*--space"):
        load_image(tmp_path / "a.hdr")
    scan = load_image(tmp_path / "a.hdr", Stated("LPS"))
    np.testing.assert_allclose(scan.grid.affine, np.diag([*SPACING, 1]), atol=1e-6)
    np.testing.assert_array_equal(scan.values, VALUES.T)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (1, 1, 1)),
        ("LPS", (1, 1, 1)),
        ("right-anterior-superior", (-1, -1, 1)),
        ("RAS", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
    ],
)
def test_spaces_with_sides_are_read(tmp_path, space, signs) -> None:
    scan = load_image(nrrd(tmp_path / "a.nrrd", f"space: {space}", AXES, ORIGIN))
    np.testing.assert_allclose(scan.grid.affine, np.diag([*signs, 1]) @ LPS)
    assert scan.warnings == ()


@pytest.mark.parametrize(
    "lines",
    [
        (AXES, "space dimension: 3"),
        ("spacings: 0.5 0.6 0.7",),
        (AXES, "space: scanner-xyz"),
        (AXES, "space: 3D-right-handed"),
    ],
)
def test_spaces_without_sides_need_the_user(tmp_path, lines) -> None:
    path = nrrd(tmp_path / "a.nrrd", *lines[::-1])
    with pytest.raises(InputError, match=r"orientation.*--space"):
        load_image(path)
    grid = load_image(path, Stated("RAS")).grid
    np.testing.assert_allclose(grid.affine, np.diag([-0.5, -0.6, 0.7, 1]))
    turned = load_image(path, Stated("PSL")).grid
    np.testing.assert_allclose(turned.affine[:3, :3], [[0, 0, 0.7], [0.5, 0, 0], [0, 0.6, 0]])


def test_a_left_handed_space_is_not_made_right_handed(tmp_path) -> None:
    path = nrrd(tmp_path / "a.nrrd", "space: 3D-left-handed", AXES, ORIGIN)
    with pytest.raises(InputError, match="3D-left-handed"):
        load_image(path)
    with pytest.raises(InputError, match="mirror image"):
        load_image(path, Stated("LPS"))
    grid = load_image(path, Stated("RPS")).grid
    np.testing.assert_allclose(grid.affine, np.diag([-1, 1, 1, 1]) @ LPS)


def test_an_nrrd_without_directions_needs_them_and_its_spacing(tmp_path) -> None:
    path = nrrd(tmp_path / "a.nrrd", "space: left-posterior-superior")
    with pytest.raises(InputError, match=r"no space directions.*--space"):
        load_image(path)
    with pytest.raises(InputError, match=r"neither space directions nor spacings.*--spacing"):
        load_image(path, Stated("LPS"))
    grid = load_image(path, Stated("LPS", SPACING)).grid
    np.testing.assert_allclose(grid.affine, np.diag([*SPACING, 1]))
    both = nrrd(tmp_path / "b.nrrd", "space: left-posterior-superior", "spacings: 0.5 0.6 0.7")
    with pytest.raises(InputError, match="space directions are needed"):
        load_image(both)


def test_units_and_commas_of_an_nrrd_are_refused(tmp_path) -> None:
    units = nrrd(tmp_path / "a.nrrd", "space: LPS", AXES, 'space units: "um" "um" "um"')
    with pytest.raises(InputError, match="space units are um"):
        load_image(units)
    commas = "space directions: (0,5,0,0) (0,0,6,0) (0,0,0,7)"
    with pytest.raises(InputError, match="decimal commas"):
        load_image(nrrd(tmp_path / "b.nrrd", "space: LPS", commas))


def test_a_place_that_is_not_stated_is_reported(tmp_path) -> None:
    (warning,) = load_image(nrrd(tmp_path / "a.nrrd", "space: LPS", AXES)).warnings
    assert "no origin" in warning
    (warning,) = load_image(metaimage(tmp_path / "a.mha", MATRIX, ELEMENTS)).warnings
    assert "no Offset" in warning


@pytest.mark.parametrize(
    "letters", ["", "AnatomicalOrientation = RAI", "AnatomicalOrientation = ???"]
)
@pytest.mark.parametrize("matrix", ["TransformMatrix", "Orientation", "Rotation"])
def test_a_whole_metaimage_is_read(tmp_path, letters, matrix) -> None:
    lines = [f"{matrix} = 1 0 0 0 1 0 0 0 1", OFFSET, ELEMENTS, *([letters] if letters else [])]
    scan = load_image(metaimage(tmp_path / "a.mha", *lines))
    np.testing.assert_allclose(scan.grid.affine, LPS)
    assert scan.warnings == ()


def test_a_metaimage_without_spacing_needs_it(tmp_path) -> None:
    path = metaimage(tmp_path / "a.mha", MATRIX, OFFSET)
    with pytest.raises(InputError, match=r"no ElementSpacing.*--spacing"):
        load_image(path)
    np.testing.assert_allclose(load_image(path, Stated("", SPACING)).grid.affine, LPS)
    sized = metaimage(tmp_path / "b.mha", MATRIX, OFFSET, "ElementSize = 0.5 0.6 0.7")
    scan = load_image(sized)
    np.testing.assert_allclose(scan.grid.affine, LPS)
    assert "ElementSize" in scan.warnings[0]


@pytest.mark.parametrize(
    "letters", ["", "AnatomicalOrientation = LPS", "AnatomicalOrientation = RAI"]
)
def test_a_metaimage_without_a_matrix_needs_one(tmp_path, letters) -> None:
    path = metaimage(tmp_path / "a.mha", OFFSET, ELEMENTS, letters)
    with pytest.raises(InputError, match=r"no TransformMatrix.*--space"):
        load_image(path)
    np.testing.assert_allclose(load_image(path, Stated("LPS")).grid.affine, LPS)


def test_letters_against_the_matrix_are_refused(tmp_path) -> None:
    path = metaimage(tmp_path / "a.mha", MATRIX, OFFSET, ELEMENTS, "AnatomicalOrientation = LAI")
    with pytest.raises(InputError, match="LAI contradicts its TransformMatrix"):
        load_image(path)
    np.testing.assert_allclose(load_image(path, Stated("LPS")).grid.affine, LPS)


def test_commas_of_a_metaimage_are_refused(tmp_path) -> None:
    for line in ("ElementSpacing = 0,5 0,6 0,7", "Offset = 1,5 2 3"):
        key = line.split(" ")[0]
        others = [text for text in (MATRIX, OFFSET, ELEMENTS) if not text.startswith(key)]
        with pytest.raises(InputError, match=f"its {key} contains .*decimal comma"):
            load_image(metaimage(tmp_path / "a.mha", line, *others))


def test_what_the_user_states_does_not_override_a_header(tmp_path) -> None:
    path = nrrd(tmp_path / "a.nrrd", "space: LPS", AXES, ORIGIN)
    scan = load_image(path, Stated("RAS", SPACING))
    np.testing.assert_allclose(scan.grid.affine, LPS)
    assert "--space RAS was not used" in scan.warnings[0]
    with pytest.raises(InputError, match="--spacing is 1 x 1 x 1"):
        load_image(path, Stated("", (1, 1, 1)))


def test_label_maps_need_their_place_too(tmp_path) -> None:
    grid = Grid((24, 22, 20), LPS)
    save_label_map(LabelMap((VALUES.T > 0).astype(np.uint8), grid), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[CODES : CODES + 4] = bytes(4)
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(InputError, match="neither qform nor sform"):
        load_label_map(tmp_path / "a.nii")


def test_options_are_understood_or_refused() -> None:
    assert stated("ras", "0.5,0.6, 0.7") == Stated("RAS", SPACING)
    assert stated(None, None) == Stated()
    for space, spacing in (
        ("LP", None),
        ("LRS", None),
        ("LPX", None),
        (None, "1,2"),
        (None, "1,2,0"),
    ):
        with pytest.raises(ConfigError, match="--spac"):
            stated(space, spacing)


_IN_GERMAN = """
import locale, sys
import numpy as np
from pathlib import Path
from otovox.core.volume import Grid
from otovox.formats.images import load_image, save_volume
for name in ("de_DE.UTF-8", "de_DE.utf8", "de_DE"):
    try:
        locale.setlocale(locale.LC_ALL, name)
        break
    except locale.Error:
        pass
else:
    sys.exit(77)
assert locale.str(0.5) == "0,5"
folder = Path(sys.argv[1])
values = np.random.default_rng(0).normal(size=(30, 22, 24)).astype(np.float32)
grid = Grid(values.shape, np.diag([0.5, 0.625, 0.75, 1]) + np.eye(4, k=3) * 1.25)
for ending in ("nrrd", "mha", "nii", "nii.gz"):
    save_volume(values, grid, folder / f"a.{ending}")
    scan = load_image(folder / f"a.{ending}")
    np.testing.assert_allclose(scan.grid.affine, grid.affine, atol=1e-6)
    np.testing.assert_array_equal(scan.values, values)
assert locale.str(0.5) == "0,5"
"""


def test_reading_and_writing_do_not_depend_on_the_locale(tmp_path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _IN_GERMAN, str(tmp_path)], capture_output=True, check=False
    )
    if ran.returncode == 77:
        pytest.skip("no German locale here")
    assert ran.returncode == 0, ran.stderr.decode()
    assert b"0.625" in (tmp_path / "a.nrrd").read_bytes()[:800]
