"""A segmentation from file to result folder, as `scan.examine` does it for a scan."""

from pathlib import Path

from otovox.analysis.cohort import SUMMARY, summary_rows
from otovox.analysis.scan import Job, ScanOutcome, success
from otovox.analysis.segmentation import Inputs, measure_inputs
from otovox.analysis.summary import read_summary, write_summary
from otovox.formats.writing import check_output, make_folder
from otovox.workers import failure


def measure_into(inputs: Inputs, output: Path) -> ScanOutcome:
    """Measure a segmentation, write its result folder, and add it to summary.csv.

    Args:
        inputs: what is to be measured.
        output: folder that holds the result folder; made if it is not there.

    Returns:
        Its outcome; so are a refused file and an internal error.

    Raises:
        OutputError: if nothing can be written to `output`, or results would replace an input.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     outcome = measure_into(Inputs(Path(folder, "anna.seg.nrrd")), Path(folder, "out"))
    ...     (row,) = read_summary(Path(folder, "out", SUMMARY))
    >>> outcome.status.value, row["scan"], row["status"]  # no such file
    ('refused', 'anna', 'refused')
    """
    check_output(output, names=[inputs.name], inputs=inputs.paths)
    make_folder(output)
    outcome = measure_job(Job(inputs.name, inputs.segmentation, output / inputs.name), inputs)
    rows = [row for row in read_summary(output / SUMMARY) if row["scan"] != inputs.name]
    write_summary(output / SUMMARY, [*rows, *summary_rows(outcome)])
    return outcome


def measure_job(job: Job, inputs: Inputs) -> ScanOutcome:
    """Measure a segmentation and write its result folder; nothing is raised.

    Args:
        job: its name and result folder.
        inputs: what is to be measured.

    >>> job = Job("anna", Path("absent.nii.gz"), Path("out", "anna"))
    >>> measure_job(job, Inputs(job.path)).status.value
    'refused'
    """
    try:
        return success(job, measure_inputs(inputs).save(job.folder))
    except Exception as error:
        return failure(job, error, inputs.segmentation)
