"""A DICOMweb server: search for series, fetch them, store results.

Source: DICOM PS3.18, chapter 10 (QIDO-RS, WADO-RS and STOW-RS); through dicomweb-client (Herrmann
et al. 2018).
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dicomweb_client.web import DICOMwebClient
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import RE_VALID_UID
from requests import (
    ConnectionError as NoConnection,
)
from requests import (
    HTTPError,
    PreparedRequest,
    RequestException,
    Response,
    Session,
    Timeout,
)
from requests.auth import AuthBase, HTTPBasicAuth

from otovox.serve.desk import ArchiveError, Desk
from otovox.serve.settings import Archive
from otovox.serve.uploads import Refused, shown_name

#: Time to connect, and longest pause between two blocks of an answer, s: chosen.
TIMEOUT_S = (10.0, 60.0)
#: Studies of a search: chosen. More mean that the search is too wide.
MOST_STUDIES = 25
#: Attributes that a search may give, and those that are shown (PS3.18, table 10.6.1-5).
SEARCHED = ("PatientID", "PatientName", "StudyDate", "AccessionNumber")
_MODALITY = "CT"
#: Any transfer syntax: series come as they are stored, not converted (PS3.18, 8.7.3.5.2).
_AS_STORED = (("application/dicom", "*"),)
_LONGEST_UID = 64
#: What the client raises if an answer is not of the standard's form.
_INVALID = (
    RequestException, InvalidDicomError, ValueError, KeyError, TypeError, AttributeError,
)  # fmt: skip
#: Statuses of a server that refuses the credentials.
_NOT_ALLOWED = (401, 403)


@dataclass(frozen=True)
class SeriesFound:
    """A CT series on the server; all texts are printable.

    Attributes:
        study, series: UIDs.
        patient, patient_id, study_date, description: from its headers, empty if unknown.
        images: how many it has; None if unknown.
    """

    study: str
    series: str
    patient: str
    patient_id: str
    study_date: str
    description: str
    images: int | None


class _Bearer(AuthBase):
    """A bearer token; as an authentication handler, it is never sent on to another host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def search(archive: Archive, criteria: Mapping[str, str]) -> list[dict[str, Any]]:
    """CT series of the studies that match (QIDO-RS).

    Args:
        archive: the server.
        criteria: by the names in `SEARCHED`; `*` is a wildcard, a date may be a range.

    Returns:
        The fields of `SeriesFound` for each series.

    Raises:
        ArchiveError: if the server cannot be used.
        Refused: if there are no criteria, or too many studies match.
    """
    filters = {name: text.strip() for name, text in criteria.items() if text.strip()}
    if not filters.keys() <= set(SEARCHED):
        raise Refused(f"a search may have {', '.join(SEARCHED)}")
    if not filters:
        raise Refused("the search has no criteria; give a patient, a date or an accession number")
    with _answers(archive) as client:
        studies = client.search_for_studies(
            search_filters={**filters, "ModalitiesInStudy": _MODALITY}, limit=MOST_STUDIES + 1
        )
        if len(studies) > MOST_STUDIES:
            raise Refused(f"more than {MOST_STUDIES} studies match; narrow the search")
        return [
            asdict(one) for study in studies for one in _series_of(client, Dataset.from_json(study))
        ]


def fetch(archive: Archive, desk: Desk, *, study: str, series: str) -> str:
    """Fetch a series into an upload (WADO-RS), which is then analysed.

    Args:
        archive: the server.
        desk: that gets the series.
        study, series: UIDs.

    Returns:
        Identifier of the upload.

    Raises:
        ArchiveError: if the server cannot be used; nothing is kept.
        Refused: if the series has too many or too large images; nothing is kept.
    """
    if not (_is_uid(study) and _is_uid(series)):
        raise Refused("a study and a series are given by their UIDs")
    upload = desk.begin_upload("dicomweb")
    try:
        count = 0
        with _answers(archive) as client:
            for image in client.iter_series(study, series, media_types=_AS_STORED):
                count += 1
                if count > desk.settings.limits.files:
                    raise Refused(f"an upload has at most {desk.settings.limits.files} files")
                desk.keep_file(upload, f"DICOM/{count:06d}.dcm", _encoded(image))
        if not count:
            raise ArchiveError(f"{archive.url}: the series has no images")
        desk.end_upload(upload)
    except BaseException:
        desk.drop_upload(upload)
        raise
    return upload


def store(paths: list[Path], archive: Archive) -> str:
    """Store DICOM files (STOW-RS).

    Args:
        paths: of the files, at least one.
        archive: the server.

    Returns:
        The problem as a sentence; empty if all were accepted.
    """
    try:
        with _answers(archive) as client:
            answer = client.store_instances([dcmread(path) for path in paths])
    except ArchiveError as error:
        return str(error)
    failed = answer.get("FailedSOPSequence") or ()
    reasons = {f"0x{one.get('FailureReason', 0):04X}" for one in failed}
    if failed:
        counts = f"{len(failed)} of {len(paths)} files"
        return f"{archive.url}: did not accept {counts} (reason {', '.join(sorted(reasons))})"
    return ""


@contextmanager
def _answers(archive: Archive) -> Iterator[DICOMwebClient]:
    """A client; its errors become one sentence without credentials and query.

    Raises:
        ArchiveError: instead of them.
    """
    place = archive.url
    try:
        with Session() as session, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield _client(archive, session)
    except Timeout as error:
        raise ArchiveError(f"{place}: did not answer within {TIMEOUT_S[1]:g} s") from error
    except NoConnection as error:
        raise ArchiveError(f"{place}: cannot be reached") from error
    except HTTPError as error:
        code = 0 if error.response is None else error.response.status_code
        hint = "; set or correct its credentials" if code in _NOT_ALLOWED else ""
        raise ArchiveError(f"{place}: answered with HTTP status {code}{hint}") from error
    except _INVALID as error:
        kind = type(error).__name__
        raise ArchiveError(f"{place}: the answer is not valid DICOMweb ({kind})") from error


def _client(archive: Archive, session: Session) -> DICOMwebClient:
    if archive.token:
        session.auth = _Bearer(archive.token)
    elif archive.user:
        session.auth = HTTPBasicAuth(archive.user, archive.password)
    # Without it a server may answer in any format.
    session.headers["Accept"] = "application/dicom+json"
    client = DICOMwebClient(archive.url, session=session, callback=_plain, timeout=TIMEOUT_S)
    # Results are sent again by the outbox; the client would repeat a large body as an empty one.
    client.set_http_retry_params(retry=False)
    return client


def _plain(response: Response, *_: Any, **__: Any) -> Response:
    """Media types of JSON without parameters, without which the client ignores the content."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if kind.endswith("json"):
        response.headers["Content-Type"] = kind
    return response


def _series_of(client: DICOMwebClient, study: Dataset) -> Iterator[SeriesFound]:
    uid = str(study.StudyInstanceUID)
    for one in client.search_for_series(uid, search_filters={"Modality": _MODALITY}):
        series = Dataset.from_json(one)
        if series.get("Modality", _MODALITY) == _MODALITY:
            images = series.get("NumberOfSeriesRelatedInstances")
            yield SeriesFound(
                study=uid,
                series=str(series.SeriesInstanceUID),
                patient=_text(study, "PatientName").replace("^", " ").strip(),
                patient_id=_text(study, "PatientID"),
                study_date=_text(study, "StudyDate"),
                description=_text(series, "SeriesDescription"),
                images=None if images is None else int(images),
            )


def _is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5, section 9.1)."""
    return len(text) <= _LONGEST_UID and re.fullmatch(RE_VALID_UID, text) is not None


def _text(data: Dataset, name: str) -> str:
    return shown_name(str(data.get(name) or ""))


def _encoded(image: Dataset) -> bytes:
    """An image as a DICOM file, in the transfer syntax that it came in."""
    with io.BytesIO() as file:
        dcmwrite(file, image, enforce_file_format=True)
        return file.getvalue()
