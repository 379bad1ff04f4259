"""A DICOM node: receives series by C-STORE, queues them for analysis, sends the results.

Source: DICOM PS3.4, Verification and Storage service classes; through pynetdicom.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.presentation import StoragePresentationContexts
from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]

from otovox.errors import ConfigError, OtovoxError
from otovox.serve.desk import Desk
from otovox.serve.settings import Destination, Dicom

log = logging.getLogger(__name__)

#: DICOM statuses (PS3.7 annex C, PS3.4 annex B.2.3).
SUCCESS, REFUSED, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
#: Interval between checks for complete series, s: chosen.
_CHECK_S = 0.5
#: Time to connect to another node, s: chosen.
_CONNECT_S = 10.0
#: Accepted objects: CT images. Others are rejected when an association is negotiated.
_RECEIVED = (CTImageStorage, EnhancedCTImageStorage)


@dataclass
class _Series:
    """A series that is being received."""

    upload: str
    images: int = 0
    seen: float = field(default_factory=time.monotonic)
    names: set[str] = field(default_factory=set)


class Node:
    """The DICOM node of a server.

    Args:
        desk: receives the series.
        settings: port, titles, destinations.
    """

    def __init__(self, desk: Desk, settings: Dicom) -> None:
        self.desk, self.settings = desk, settings
        self._series: dict[tuple[str, str], _Series] = {}
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._server: Any = None

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: if the port is in use.
        """
        entity = AE(self.settings.title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self.settings.allowed)
        entity.add_supported_context(Verification)
        contexts = {one.abstract_syntax: one for one in StoragePresentationContexts}
        for kind in _RECEIVED:
            entity.add_supported_context(kind, contexts[kind].transfer_syntax)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        place = (self.desk.settings.host, self.settings.port)
        try:
            self._server = entity.start_server(place, block=False, evt_handlers=handlers)
        except OSError as error:
            raise ConfigError(f"cannot listen for DICOM on {place[0]}:{place[1]}") from error
        for target in self.settings.send_to:
            send_there = partial(send, target=target, title=self.settings.title)
            self.desk.send_results_to(str(target), send_there)
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def port(self) -> int:
        """Port that it listens on."""
        return self._server.server_address[1]

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        """Receive one image; returns a DICOM status."""
        try:
            request = event.request
            content = event.encoded_dataset()
            header = event.dataset
            uid = str(header.SeriesInstanceUID)
            name = str(request.AffectedSOPInstanceUID)
            key = (str(event.assoc.requestor.ae_title), uid)
            limits = self.desk.settings.limits
            with self._lock:
                series = self._series.get(key)
                if series is None:
                    series = self._series[key] = _Series(self.desk.begin_upload("dicom"))
                series.seen = time.monotonic()
                if name in series.names:
                    return SUCCESS
                if len(content) > limits.file_bytes or series.images >= limits.files:
                    return REFUSED
                self.desk.keep_file(series.upload, f"DICOM/{name}.dcm", content)
                series.images += 1
                series.names.add(name)
            return SUCCESS
        except OtovoxError as error:
            log.warning("an image was not accepted: %s", error)
            return REFUSED
        except (AttributeError, ValueError, OSError) as error:
            log.warning("an image was not understood: %s", error)
            return NOT_UNDERSTOOD

    def _watch(self) -> None:
        """Complete the upload of each series that has received no image for a while."""
        while not self._stopped.wait(_CHECK_S):
            now = time.monotonic()
            with self._lock:
                complete = [
                    key for key, one in self._series.items()
                    if now - one.seen >= self.settings.quiet_s
                ]  # fmt: skip
                for key in complete:
                    one = self._series.pop(key)
                    try:
                        self.desk.end_upload(one.upload)
                    except OtovoxError as error:
                        log.warning("a series was not accepted: %s", error)


def start_node(desk: Desk, settings: Dicom) -> Node:
    """Start a node; see `Node.start`."""
    node = Node(desk, settings)
    node.start()
    return node


def send(paths: list[Path], target: Destination, *, title: str) -> str:
    """Send DICOM files to a node by C-STORE.

    Args:
        paths: of the files, at least one; each is sent in its own transfer syntax.
        target: the node.
        title: AE title of the sender.

    Returns:
        The problem as a sentence; empty if all were accepted.
    """
    entity = AE(title)
    entity.connection_timeout = _CONNECT_S
    for path in paths:
        header = dcmread(path, specific_tags=["SOPClassUID"])
        entity.add_requested_context(header.SOPClassUID, header.file_meta.TransferSyntaxUID)
    association = entity.associate(target.host, target.port, ae_title=target.title)
    if not association.is_established:
        return f"{target} does not accept an association"
    try:
        for path in paths:
            status = association.send_c_store(path)
            code = status.get("Status") if status else None
            if code != SUCCESS:
                reason = "no answer" if code is None else f"status 0x{code:04X}"
                return f"{target} did not accept {path.name} ({reason})"
    except (ValueError, RuntimeError) as error:
        return f"{target} did not accept the results ({error})"
    finally:
        association.release()
    return ""
