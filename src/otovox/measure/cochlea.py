"""Measurements of one cochlea: axis, basal turn, turns, duct, formulas, electrode arrays."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otovox.core.geometry import FloatArray, Pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid
from otovox.imaging.surfaces import mesh, smoothed
from otovox.measure._spiral import CochleaTrace, trace_cochlea
from otovox.measure.duct import FORMULAS, Duct, duct_along
from otovox.measure.electrodes import (
    INSIDE_WALL_MM,
    Electrode,
    Insertion,
    predict_insertions,
    read_electrodes,
)
from otovox.measure.frame import CochlearFrame, cochlear_frame
from otovox.measure.modiolus import Modiolus, fit_modiolus

#: Fraction of the half planes of a turn in which its wall must be found: chosen.
_SEEN_SHARE = 0.9
#: A basal turn outside this range is malformed, or the segmentation faulty. Source: A 7.9-10.8 mm
#: in normal ears (Escude et al. 2006), widened by a fifth.
_A_RANGE_MM = (6.3, 13.0)
#: With B/A outside this range the basal turn is cut off or faulty. Source: 0.752 +- 0.030 in 72
#: ears, 4 SD.
_B_TO_A_RANGE = (0.63, 0.87)
#: Fewer turns are a malformation or a faulty segmentation. Source: 2.2-2.9 turns in normal ears
#: (Erixon et al. 2009); simulated cochleae have 2.17 or more.
_LEAST_TURNS = 1.75
#: Range for the basal lumen's diameter, degrees: chosen, beyond the hook and within the turn.
_BASAL_DEG = (30.0, 330.0)

NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Cochlea:
    """Measurements of a cochlea; nan, None or empty if undetermined.

    Attributes:
        problems: reasons for withheld values; empty if all were measured.
        modiolus: axis and convergence point, canonical.
        frame: cylindrical coordinates, canonical, with the origin at the helicotrema's height.
        trace: lateral wall and lumen in those coordinates.
        axis: (3,) modiolar axis in LPS, base to apex.
        apex_mm: (3,) LPS, on the axis at the height of the helicotrema: the origin of z.
        wall_mm, centre_mm: (n, 3) LPS lateral wall and centre of the lumen.
        a_mm: A, round window's centre through the axis to the lateral wall at 180 degrees.
        a_wall_mm: A between the lateral walls at 0 and 180 degrees.
        b_mm: B between the lateral walls at 90 and 270 degrees.
        height_mm: H, extent of the lumen along the axis.
        lumen_diameter_mm: mean lumen diameter of the basal turn, as a circle of equal area.
        turns: from the round window to the duct's end.
        wall, centre, electrode_path: lengths along the lateral wall, the centre of the lumen, and
            0.35 mm inside the wall. The centre is inaccurate beyond 1.5 turns, where lumens fuse,
            and several per cent too long with slices of 0.5 mm.
        formulas: length in mm by the name of each of `duct.FORMULAS`.
        insertions: predicted insertion of each electrode array.
    """

    problems: tuple[str, ...] = ()
    modiolus: Modiolus | None = None
    frame: CochlearFrame | None = None
    trace: CochleaTrace | None = None
    axis: FloatArray | None = None
    apex_mm: FloatArray | None = None
    wall_mm: FloatArray | None = None
    centre_mm: FloatArray | None = None
    a_mm: float = NAN
    a_wall_mm: float = NAN
    b_mm: float = NAN
    height_mm: float = NAN
    lumen_diameter_mm: float = NAN
    turns: float = NAN
    wall: Duct | None = None
    centre: Duct | None = None
    electrode_path: Duct | None = None
    formulas: dict[str, float] = field(default_factory=dict)
    insertions: tuple[Insertion, ...] = ()

    @property
    def b_to_a(self) -> float:
        """B divided by A, A from the round window; at least 0.75 means a round basal turn.

        >>> Cochlea(a_mm=9.0, b_mm=6.75).b_to_a
        0.75
        """
        return self.b_mm / self.a_mm


def measure_cochlea(
    values: NDArray[Any],
    grid: Grid,
    landmarks: Landmarks,
    pose: Pose,
    *,
    field: Grid | None = None,
    electrodes: tuple[Electrode, ...] | None = None,
) -> Cochlea:
    """Measure the cochlea of one ear.

    Args:
        values: (i, j, k) probability or mask of the labyrinth on `grid`, 0 to 1.
        grid: position of the voxels, of any orientation.
        landmarks: LPS; helicotrema and round window are required.
        pose: pose of the ear.
        field: grid of the scan, if `grid` extends beyond it; a cochlea that it cuts off is not
            measured.
        electrodes: arrays to evaluate; by default those of `electrodes.csv`.

    Returns:
        The measurements, and the reasons for missing ones.

    Source: Wimmer et al. 2019 (axis), Verbist et al. 2010 (coordinates), Escude et al. 2006 (A, B).
    """
    if not (values >= 0.5).any():
        return Cochlea(problems=("the segmentation is empty",))
    if values.dtype == bool or not ((values > 0) & (values < 1)).any():
        values, grid = smoothed(values >= 0.5, grid)
    modiolus, why = fit_modiolus(mesh(values, grid), landmarks, pose)
    if modiolus is None:
        return Cochlea(problems=(why,))
    apex = pose.to_canonical(landmarks["helicotrema"][None])[0]
    if not landmarks.has("round_window"):
        return Cochlea(
            problems=("no round window: the zero of the cochlear angles is undefined",),
            modiolus=modiolus,
            axis=pose.matrix @ modiolus.axis,
        )
    window = pose.to_canonical(landmarks["round_window"][None])[0]
    frame = cochlear_frame(modiolus.axis, modiolus.point_mm, apex, window)
    cochlea = Cochlea(
        modiolus=modiolus,
        frame=frame,
        axis=pose.matrix @ modiolus.axis,
        apex_mm=pose.to_lps(frame.origin_mm),
    )
    trace, why = trace_cochlea(values, grid, pose, frame)
    if trace is None:
        return replace(cochlea, problems=(why,))
    arrays = read_electrodes() if electrodes is None else electrodes
    return _measured(cochlea, trace, window, pose, (grid, field or grid), arrays)


def _measured(
    cochlea: Cochlea,
    trace: CochleaTrace,
    window: FloatArray,
    pose: Pose,
    fields: tuple[Grid, ...],
    electrodes: tuple[Electrode, ...],
) -> Cochlea:
    frame = cochlea.frame
    assert frame is not None
    theta, wall, height = trace.theta_deg, trace.wall_mm, trace.height_mm
    wall_mm = pose.to_lps(frame.to_canonical(theta, wall, height))
    centre_mm = pose.to_lps(frame.to_canonical(theta, trace.centre_mm, height))
    cochlea = replace(cochlea, trace=trace, wall_mm=wall_mm, centre_mm=centre_mm)
    if not all(_holds(grid, wall_mm) for grid in fields):
        return replace(cochlea, problems=("the cochlea is cut off by the field of view",))
    first = theta <= 360
    if trace.end_deg < 360 or trace.found[first].mean() < _SEEN_SHARE:
        return replace(cochlea, problems=("the lateral wall of the basal turn is incomplete",))

    def radius(angle_deg: float) -> float:
        return float(np.interp(angle_deg, theta, wall))

    a = float(frame.from_canonical(window[None])[1][0]) + radius(180)
    b = radius(90) + radius(270)
    turns = trace.end_deg / 360
    if not _A_RANGE_MM[0] <= a <= _A_RANGE_MM[1] or turns < _LEAST_TURNS:
        return replace(
            cochlea,
            problems=(
                f"a basal turn {a:.1f} mm wide and {turns:.1f} turns: a malformed cochlea or a "
                "faulty segmentation, for which A and derived values are meaningless",
            ),
        )
    if not _B_TO_A_RANGE[0] <= b / a <= _B_TO_A_RANGE[1]:
        reason = f"a basal turn of {a:.1f} by {b:.1f} mm: implausible, cut off or badly segmented"
        return replace(cochlea, problems=(reason,))
    basal = (theta >= _BASAL_DEG[0]) & (theta <= _BASAL_DEG[1])
    cochlea = replace(
        cochlea,
        a_mm=a,
        a_wall_mm=radius(0) + radius(180),
        b_mm=b,
        height_mm=trace.top_mm - trace.bottom_mm,
        lumen_diameter_mm=2 * float(trace.lumen_mm[basal].mean()),
        formulas={formula.name: formula.length_mm(a, b) for formula in FORMULAS},
    )
    return _with_duct(cochlea, trace, electrodes)


def _with_duct(cochlea: Cochlea, trace: CochleaTrace, electrodes: tuple[Electrode, ...]) -> Cochlea:
    """Measurements that need the total length of the duct, if its end was found."""
    theta, height = trace.theta_deg, trace.height_mm
    if not trace.end_found:
        return replace(cochlea, problems=("the end of the duct was not found",))
    if trace.found[theta > 360].mean() < _SEEN_SHARE:
        return replace(cochlea, problems=("the lateral wall beyond the basal turn is incomplete",))
    wall = duct_along(theta, trace.wall_mm, height)
    path = duct_along(theta, np.maximum(trace.wall_mm - INSIDE_WALL_MM, 0), height)
    return replace(
        cochlea,
        turns=trace.end_deg / 360,
        wall=wall,
        centre=duct_along(theta, trace.centre_mm, height),
        electrode_path=path,
        insertions=predict_insertions(electrodes, path, wall),
    )


def _holds(grid: Grid, points_mm: FloatArray) -> bool:
    """Whether all points are inside a grid, at least a voxel from its border."""
    ijk = grid.to_ijk(points_mm)
    return bool(((ijk >= 0.5) & (ijk <= np.asarray(grid.shape) - 1.5)).all())
