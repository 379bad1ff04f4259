"""Simulated labyrinths against measured ones: means, SDs and correlations, as table and figure.

    python benchmarks/anatomy.py --cases 500

Everything is measured on the simulated geometry, as the references measured meshes and centrelines:
volumes and extents on voxels of 0.25 mm, the rest on centrelines, sections and landmarks. A row
passes if the mean is within one measured SD and the SD within a factor of 1.5 (rows whose SD the
reference calls unreliable are judged by the mean only).
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otovox.core.anatomy import Side
from otovox.core.geometry import MIDDLE_MM, FloatArray, Pose, unit
from otovox.core.volume import Grid
from otovox.phantom.canvas import Canvas, occupancy
from otovox.phantom.labyrinth import Labyrinth, draw_labyrinth, paint
from otovox.phantom.spiral import SPIRAL_CORRELATION, SPIRAL_MEAN, SPIRAL_SD
from otovox.phantom.tubes import Tube

#: Voxel edge of volumes and extents, mm.
STEP_MM = 0.25
HOME = Pose(Side.RIGHT, np.eye(3), np.zeros(3))


@dataclass(frozen=True)
class Reference:
    """A measured quantity, from 72 ears of one statistical model unless `source` states otherwise.

    Attributes:
        mean, sd: as measured.
        source: of the numbers.
        spread: whether the SD is also a target.
    """

    mean: float
    sd: float
    source: str = "72 ears"
    spread: bool = True


#: Source: fact sheet of 72 CT labyrinths (Modelling-the-Human-Semicircular-Canals), five labelled
#: bones (volumetric_drilling), 94 ears with landmarks (companion data of Stebani et al. 2023), and
#: the polynomial spiral of the lateral wall.
REFERENCES: dict[str, Reference] = {
    "volume, mm3": Reference(187.6, 24.0),
    "extent x, mm": Reference(9.22, 0.59),
    "extent y, mm": Reference(16.53, 0.75),
    "extent z, mm": Reference(14.17, 0.75),
    "A, mm": Reference(9.02, 0.36),
    "B, mm": Reference(6.78, 0.38),
    "B/A": Reference(0.752, 0.030),
    "H, mm": Reference(4.51, 0.35),
    "followed angle, deg": Reference(911.0, 46.0, "lumen followed to 865-957 deg", spread=False),
    **{
        # From 450 degrees the section reaches the axis, so its SD reflects the error of the axis.
        f"cochlea r at {angle}, mm": Reference(mean, sd, spread=angle < 450)
        for angle, mean, sd in (
            (0, 4.74, 0.24),
            (90, 2.83, 0.21),
            (180, 2.37, 0.13),
            (270, 1.91, 0.15),
            (360, 1.44, 0.16),
            (450, 1.40, 0.16),
            (540, 1.01, 0.21),
        )
    },
    **{
        f"cochlea z at {angle}, mm": Reference(mean, sd)
        for angle, mean, sd in (
            (0, -3.09, 0.30),
            (90, -3.25, 0.33),
            (180, -2.80, 0.32),
            (270, -2.62, 0.30),
            (360, -2.22, 0.22),
            (540, -1.36, 0.12),
            (720, -0.86, 0.11),
        )
    },
    **{
        f"cochlea lumen radius at {angle}, mm": Reference(mean, 0.09, "72 ears, SD .06-.12", False)
        for angle, mean in ((0, 1.22), (90, 0.95), (180, 0.98), (270, 1.06), (360, 0.90))
    },
    **{
        f"{name} {what}": Reference(mean, sd, spread=spread)
        for name, rows in {
            "anterior": (
                ("radius, mm", 3.29, 0.20, True),
                ("arc length, mm", 13.4, 0.9, True),
                ("arc, deg", 227.6, 6.8, True),
                ("out of plane, mm", 0.235, 0.039, True),
                ("off the circle, mm", 0.112, 0.033, True),
                ("lumen radius, mm", 0.455, 0.05, False),
                ("ampulla radius, mm", 1.02, 0.10, False),
            ),
            "posterior": (
                ("radius, mm", 3.31, 0.22, True),
                ("arc length, mm", 15.4, 1.0, True),
                ("arc, deg", 262.6, 5.5, True),
                ("out of plane, mm", 0.180, 0.058, True),
                ("off the circle, mm", 0.196, 0.052, True),
                ("lumen radius, mm", 0.541, 0.05, False),
                ("ampulla radius, mm", 0.97, 0.10, False),
            ),
            "lateral": (
                ("radius, mm", 2.60, 0.15, True),
                ("arc length, mm", 11.7, 0.8, True),
                ("arc, deg", 253.5, 6.0, True),
                ("out of plane, mm", 0.112, 0.030, True),
                ("off the circle, mm", 0.117, 0.033, True),
                ("lumen radius, mm", 0.525, 0.05, False),
                ("ampulla radius, mm", 1.03, 0.10, False),
            ),
        }.items()
        for what, mean, sd, spread in rows
    },
    "anterior-posterior planes, deg": Reference(90.9, 3.7),
    "anterior-lateral planes, deg": Reference(87.4, 4.5),
    "posterior-lateral planes, deg": Reference(89.1, 4.0),
    "posterior plane to modiolus, deg": Reference(23.3, 4.1),
    "modiolus elevation, deg": Reference(-21.0, 4.2),
    "common crus radius, mm": Reference(0.70, 0.07, "72 ears; SD of 5 labelled bones", False),
    "helicotrema to oval window, mm": Reference(6.73, 0.55, "94 ears"),
    "helicotrema to round window, mm": Reference(7.06, 0.54, "94 ears"),
    "oval to round window, mm": Reference(2.35, 0.22, "5 labelled bones, footplate to membrane"),
    "angle at helicotrema, deg": Reference(23.9, 2.3, "37 ears of set A"),
    "angle at oval window, deg": Reference(81.9, 7.5, "37 ears of set A"),
    "angle at round window, deg": Reference(74.3, 8.5, "37 ears of set A"),
    "oval window x, mm": Reference(1.03, 0.15),
    "oval window y, mm": Reference(-0.27, 0.13),
    "oval window z, mm": Reference(-1.54, 0.16),
    "round window x, mm": Reference(-0.43, 0.24),
    "round window y, mm": Reference(-0.05, 0.24),
    "round window z, mm": Reference(-3.24, 0.16),
    **{
        f"spiral {name}": Reference(float(mean), float(sd), "lateral wall model")
        for name, mean, sd in zip(("A1", "B1", "A2", "B2"), SPIRAL_MEAN, SPIRAL_SD, strict=True)
    },
}


def measure(shape: Labyrinth) -> dict[str, float]:
    """Every quantity of `REFERENCES` on one labyrinth."""
    return dict(_measures(shape))


def _measures(shape: Labyrinth) -> Iterator[tuple[str, float]]:
    grid = Grid.centred(MIDDLE_MM, (64, 88, 80), spacing_mm=STEP_MM)
    share = occupancy(paint(shape, Canvas(grid, HOME)), STEP_MM)
    yield "volume, mm3", float(share.sum()) * grid.voxel_mm3
    inside = grid.to_mm(np.argwhere(share > 0.5))
    for axis, extent in zip("xyz", np.ptp(inside, axis=0) + STEP_MM, strict=True):
        yield f"extent {axis}, mm", float(extent)
    yield from _cochlea(shape)
    normals = {}
    for name, tube in shape.canals.items():
        normals[name], rows = _canal(tube, shape, name)
        for what, value in rows.items():
            yield f"{name} {what}", value
    for first, second in (("anterior", "posterior"), ("anterior", "lateral")):
        yield f"{first}-{second} planes, deg", _angle(normals[first], normals[second])
    yield "posterior-lateral planes, deg", _angle(normals["posterior"], normals["lateral"])
    tilt = _angle(normals["posterior"], shape.axis)
    yield "posterior plane to modiolus, deg", min(tilt, 180 - tilt)
    yield "modiolus elevation, deg", float(np.degrees(np.arcsin(shape.axis[2])))
    yield "common crus radius, mm", float(shape.crus.radii_mm[:, 0].mean())
    yield from _landmarks(shape)
    for name in ("A1", "B1", "A2", "B2"):
        yield f"spiral {name}", shape.facts[name]


def _cochlea(shape: Labyrinth) -> Iterator[tuple[str, float]]:
    """r, z and lumen about the modiolar axis; the round window is at 0 degrees."""
    tube = shape.cochlea
    rel = tube.points_mm - shape.apex_mm
    z = rel @ shape.axis
    across = rel - z[:, None] * shape.axis
    r = np.linalg.norm(across, axis=1)
    e1 = unit(across[0])
    turn = np.degrees(np.unwrap(np.arctan2(across @ np.cross(shape.axis, e1), across @ e1)))
    theta = turn - 7.0  # the tube starts 7 degrees before the window
    wide, tall = tube.radii_mm[:, 0], tube.radii_mm[:, 1]

    def at(values: FloatArray, angle: float) -> float:
        return float(np.interp(angle, theta, values))

    outer = r + wide
    a, b = at(outer, 0) + at(outer, 180), at(outer, 90) + at(outer, 270)
    yield "A, mm", a
    yield "B, mm", b
    yield "B/A", b / a
    yield "H, mm", float((z + tall).max() - (z - tall).min())
    yield "followed angle, deg", float(theta[-1])
    for angle in (0, 90, 180, 270, 360, 450, 540):
        yield f"cochlea r at {angle}, mm", at(r, angle)
    for angle in (0, 90, 180, 270, 360, 540, 720):
        yield f"cochlea z at {angle}, mm", at(z, angle)
    for angle in (0, 90, 180, 270, 360):
        yield (
            f"cochlea lumen radius at {angle}, mm",
            float(np.sqrt(at(wide, angle) * at(tall, angle))),
        )


def _canal(tube: Tube, shape: Labyrinth, name: str) -> tuple[FloatArray, dict[str, float]]:
    """Plane normal and measurements of a canal without its ends in vestibule and crus."""
    keep = _own_part(tube, shape)
    line, radii = tube.points_mm[keep], tube.radii_mm[keep]
    middle = line.mean(axis=0)
    axes = np.linalg.svd(line - middle)[2]
    normal = axes[2]
    flat = (line - middle) @ axes[:2].T
    # Least-squares circle (Kasa).
    design = np.column_stack([2 * flat, np.ones(len(flat))])
    x, y, c = np.linalg.lstsq(design, (flat**2).sum(axis=1), rcond=None)[0]
    radius = float(np.sqrt(c + x * x + y * y))
    away = np.linalg.norm(flat - (x, y), axis=1)
    angle = np.degrees(np.unwrap(np.arctan2(flat[:, 1] - y, flat[:, 0] - x)))
    lumen = np.sqrt(radii[:, 0] * radii[:, 1])
    third = len(lumen) // 3
    reference = {"anterior": (0, 1, 0), "posterior": (1, 0, 0), "lateral": (0, 0, 1)}[name]
    normal = normal * np.sign(normal @ np.asarray(reference))
    return normal, {
        "radius, mm": radius,
        "arc length, mm": float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()),
        "arc, deg": float(abs(angle[-1] - angle[0])),
        "out of plane, mm": float(np.sqrt(np.mean(((line - middle) @ normal) ** 2))),
        "off the circle, mm": float(np.sqrt(np.mean((away - radius) ** 2))),
        "lumen radius, mm": float(np.median(lumen[third:-third])),
        "ampulla radius, mm": float(lumen.max()),
    }


def _own_part(tube: Tube, shape: Labyrinth) -> slice:
    """Points of a canal without the straight ends, whose sections are round by construction."""
    own = np.flatnonzero(~np.all(np.isclose(tube.axes, np.eye(3)), axis=(1, 2)))
    return slice(int(own[0]), int(own[-1]) + 1)


def _landmarks(shape: Labyrinth) -> Iterator[tuple[str, float]]:
    points = shape.landmarks
    h, o, r = (points[name] for name in ("helicotrema", "oval_window", "round_window"))
    yield "helicotrema to oval window, mm", float(np.linalg.norm(h - o))
    yield "helicotrema to round window, mm", float(np.linalg.norm(h - r))
    yield "oval to round window, mm", float(np.linalg.norm(o - r))
    yield "angle at helicotrema, deg", _angle(o - h, r - h)
    yield "angle at oval window, deg", _angle(h - o, r - o)
    yield "angle at round window, deg", _angle(h - r, o - r)
    for name, point in (("oval", o), ("round", r)):
        for axis, value in zip("xyz", point, strict=True):
            yield f"{name} window {axis}, mm", float(value)


def _angle(first: FloatArray, second: FloatArray) -> float:
    return float(np.degrees(np.arccos(np.clip(unit(first) @ unit(second), -1, 1))))


def verdict(reference: Reference, values: FloatArray) -> str:
    """ "ok", or the quantities that fail."""
    off = []
    if abs(values.mean() - reference.mean) > reference.sd:
        off.append("mean")
    ratio = values.std(ddof=1) / reference.sd
    if reference.spread and not 1 / 1.5 <= ratio <= 1.5:
        off.append("SD")
    return " and ".join(off) or "ok"


def draw_picture(table: dict[str, FloatArray], path: Path) -> None:
    """A histogram per quantity, with the measured mean and SD."""
    from matplotlib.figure import Figure

    columns = 8
    rows = -(-len(REFERENCES) // columns)
    figure = Figure(figsize=(2.3 * columns, 1.5 * rows), layout="constrained")
    for axes, (name, reference) in zip(
        figure.subplots(rows, columns).ravel(), REFERENCES.items(), strict=False
    ):
        good = verdict(reference, table[name]) == "ok"
        axes.hist(table[name], 25, color="#0072B2" if good else "#D55E00")
        low, high = reference.mean - reference.sd, reference.mean + reference.sd
        axes.axvspan(low, high, color="0.5", alpha=0.3)
        axes.axvline(reference.mean, color="black", linewidth=1)
        axes.set_title(name, fontsize=7)
        axes.tick_params(labelsize=6)
        axes.set_yticks([])
    for axes in figure.axes[len(REFERENCES) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    drawn = [
        measure(draw_labyrinth(np.random.default_rng([2, seed]), spread=1.0))
        for seed in range(options.cases)
    ]
    table = {name: np.array([row[name] for row in drawn]) for name in REFERENCES}
    options.output.mkdir(parents=True, exist_ok=True)
    lines = [("quantity", "measured mean", "measured SD", "mean", "SD", "verdict", "source")]
    for name, reference in REFERENCES.items():
        values = table[name]
        numbers = (reference.mean, reference.sd, values.mean(), values.std(ddof=1))
        cells = (f"{n:.3f}" for n in numbers)
        lines.append((name, *cells, verdict(reference, values), reference.source))
    with (options.output / "anatomy.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    draw_picture(table, options.output / "anatomy.png")
    for line in lines:
        print(f"{line[0]:36s}" + "".join(f"{cell:>15s}" for cell in line[1:6]))
    spiral = np.corrcoef([table[f"spiral {name}"] for name in ("A1", "B1", "A2", "B2")])
    print(
        "largest difference in the spiral's correlations:",
        np.abs(spiral - SPIRAL_CORRELATION).max(),
    )
    print(f"{sum(line[5] == 'ok' for line in lines)} of {len(REFERENCES)} rows pass")


if __name__ == "__main__":
    main()
