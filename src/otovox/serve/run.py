"""Runs the server."""

import logging
import os
import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path

from otovox.errors import ConfigError
from otovox.serve.settings import ServerSettings

log = logging.getLogger(__name__)


def run_server(settings: ServerSettings) -> None:
    """Serve until interrupted.

    Args:
        settings: of the server.

    Raises:
        ConfigError: if a required library is missing, or the port is in use.
        OutputError: if the data folder cannot be used.
    """
    import uvicorn

    from otovox.serve.app import make_app
    from otovox.serve.desk import Desk

    # All files are readable by this user only.
    os.umask(0o077)
    desk = Desk(settings)
    _keep_temporary_files(settings.data / "tmp")
    node = None
    if settings.dicom is not None:
        from otovox.serve.dicom_node import start_node

        node = start_node(desk, settings.dicom)
    if settings.archive is not None and settings.archive.store:
        from otovox.serve.dicomweb import store

        desk.send_results_to(settings.archive.url, partial(store, archive=settings.archive))
    config = uvicorn.Config(
        make_app(desk), host=settings.host, port=settings.port, log_level="warning",
        server_header=False, timeout_graceful_shutdown=3,
    )  # fmt: skip
    try:
        _serve(uvicorn.Server(config), settings)
    finally:
        if node is not None:
            node.stop()


def _keep_temporary_files(folder: Path) -> None:
    """Create all temporary files, including those of workers, in the data folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = str(folder)


def _serve(server: "object", settings: ServerSettings) -> None:
    try:
        server.run()  # pyright: ignore[reportAttributeAccessIssue]
    except SystemExit as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}; is another server running there? "
            "Choose another --port"
        ) from error
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
