"""The Python entry point: a model that is loaded once and analyses scans of any kind."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from otovox.analysis.result import Result
from otovox.core.volume import Scan
from otovox.errors import InputError
from otovox.formats.in_memory import Space, scan_in_memory
from otovox.formats.scans import load_scan
from otovox.measure.measured_scan import measure_scan
from otovox.stages import Stage, report

if TYPE_CHECKING:
    from otovox.inference.ears import Analyzer
    from otovox.inference.single_ear import SingleEarAnalyzer

#: Held while a model is loaded, so that threads that request the same one share it.
_LOADING = Lock()


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model, ready to analyse scans from any number of threads.

    Attributes:
        name: name of an embedded model, or folder of a trained one.
        device: device on which it runs.
        tta: test-time augmentation.
        analyzer: its networks.
        threads: CPU threads; None for all cores.
    """

    name: str
    device: str
    tta: str
    analyzer: "Analyzer | SingleEarAnalyzer" = field(repr=False)
    threads: int | None = None

    def analyze(
        self,
        scan: Any,
        *,
        series: str | None = None,
        affine: ArrayLike | None = None,
        space: Space | None = None,
    ) -> Result:
        """Find, segment and measure the inner ears in a scan; nothing is written.

        Args:
            scan: an image file, a DICOM folder, a `Scan`, a SimpleITK or nibabel image, a MONAI
                MetaTensor, or an array (i, j, k) with `affine` and `space`.
            series: DICOM series of a folder: UID, number or description.
            affine: for arrays: (4, 4), from (i, j, k) of a voxel's centre to mm.
            space: space of `affine`: "LPS" (left, posterior, superior, as in ITK and DICOM) or
                "RAS" (right, anterior, superior, as in NIfTI).

        Raises:
            OtovoxError: if the scan cannot be used.

        >>> model = load_model("labyrinth", tta="none")
        >>> for ear in model.analyze(scan.values, affine=scan.grid.affine, space="LPS").ears:
        ...     print(ear.side, ear.landmarks["oval_window"].round(1).tolist())
        right [4.8, 4.0, 3.7]
        left [6.7, 4.0, 3.7]
        """
        return self.analyze_scan(as_scan(scan, series=series, affine=affine, space=space))

    def analyze_scan(
        self, scan: Scan, *, key: str | None = None, location: str | None = None
    ) -> Result:
        """Analyse a scan that has been read.

        Args:
            scan: of any field, orientation and grey scale.
            key: changes with everything that the result depends on; kept in its provenance.
            location: checksum of where the scan lies, likewise.

        >>> len(load_model("labyrinth").analyze_scan(scan).ears)
        2
        """
        prediction = self.analyzer.predict(scan)
        report(Stage.MEASURING)
        provenance = replace(prediction.provenance, key=key, location=location)
        prediction = replace(prediction, provenance=provenance)
        return Result(measure_scan(prediction, threads=self.threads))


def load_model(
    model: str | Path = "labyrinth",
    *,
    device: str = "auto",
    threads: int | None = None,
    tta: str = "fast",
) -> Model:
    """Load a trained model; the last one loaded is kept in memory.

    Args:
        model: name of an embedded model, or folder of a trained one.
        device: "auto", "cpu" (OpenVINO), "torch" (PyTorch on the CPU), "cuda", "cuda:N" or "mps".
        threads: CPU threads; None for all cores.
        tta: test-time augmentation, from which the uncertainty is computed: "none", "fast" (5
            samples), "paper" (10) or "full" (24).

    Raises:
        OtovoxError: if the model, the device or an option cannot be used.

    >>> model = load_model("labyrinth", threads=2, tta="none")
    >>> model is load_model("labyrinth", threads=2, tta="none")
    True
    """
    with _LOADING:
        return _loaded(str(model), device, threads, tta)


def analyze(
    scan: Any,
    *,
    model: str | Path = "labyrinth",
    device: str = "auto",
    threads: int | None = None,
    tta: str = "fast",
    series: str | None = None,
    affine: ArrayLike | None = None,
    space: Space | None = None,
) -> Result:
    """Find, segment and measure the inner ears in one scan; nothing is written.

    Args:
        scan: an image file, a DICOM folder, a `Scan`, a SimpleITK or nibabel image, a MONAI
            MetaTensor, or an array (i, j, k) with `affine` and `space`.
        model: name or folder, as for `load_model`.
        device: see `load_model`.
        threads: see `load_model`.
        tta: see `load_model`.
        series: of a DICOM folder, as for `Model.analyze`.
        affine: of an array, see `Model.analyze`.
        space: of an array, see `Model.analyze`.

    Raises:
        OtovoxError: if the scan or an option cannot be used.

    >>> analyze(scan, tta="none").to_dataframe()["side"].tolist()
    ['right', 'left']
    """
    volume = as_scan(scan, series=series, affine=affine, space=space)
    return load_model(model, device=device, threads=threads, tta=tta).analyze_scan(volume)


def as_scan(
    scan: Any,
    *,
    series: str | None = None,
    affine: ArrayLike | None = None,
    space: Space | None = None,
) -> Scan:
    """Convert anything that `analyze` accepts to a `Scan`.

    Raises:
        InputError: if it cannot be used, or an argument does not apply to it.

    >>> import numpy as np
    >>> values = np.random.default_rng(0).normal(size=(60, 60, 60))
    >>> scan = as_scan(values, affine=np.diag([-0.2, -0.2, 0.2, 1]), space="RAS")
    >>> scan.grid.affine.diagonal().tolist()
    [0.2, 0.2, 0.2, 1.0]
    """
    is_path = isinstance(scan, str | Path)
    if series is not None and not is_path:
        raise InputError("series= selects a DICOM series of a folder: give the folder's path")
    if (is_path or isinstance(scan, Scan)) and (affine is not None or space is not None):
        raise InputError("affine= and space= are for arrays; a file or Scan has its own geometry")
    if isinstance(scan, Scan):
        return scan
    if isinstance(scan, str | Path):
        return load_scan(scan, series=series)
    return scan_in_memory(scan, affine=affine, space=space)


@lru_cache(maxsize=1)
def _loaded(model: str, device: str, threads: int | None, tta: str) -> Model:
    from otovox.inference.single_ear import open_any

    analyzer = open_any(device=device, threads=threads, tta=tta, model=model)
    return Model(model, device, tta, analyzer, threads)
