"""`otovox serve`: the web application, optionally with DICOM networking."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from otovox.cli.errors import refusals, set_up_logging
from otovox.errors import ConfigError

if TYPE_CHECKING:
    from otovox.serve.settings import Archive, Dicom

#: Environment variable with the token, which keeps it out of process lists.
TOKEN = "OTOVOX_TOKEN"
#: Those with the credentials of the DICOMweb server.
ARCHIVE_USER = "OTOVOX_DICOMWEB_USER"
ARCHIVE_PASSWORD = "OTOVOX_DICOMWEB_PASSWORD"
ARCHIVE_TOKEN = "OTOVOX_DICOMWEB_TOKEN"

Data = Annotated[Path, typer.Option(help="Data folder, mode 700.")]
Host = Annotated[
    str, typer.Option(help="Address to listen on; other than loopback, a token is required.")
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")]
WorkerCount = Annotated[int, typer.Option("--workers", min=1, help="Number of analysis processes.")]
Model = Annotated[str, typer.Option(help="Trained model: an embedded one's name, or a folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu (OpenVINO), torch, cuda, cuda:N or mps.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads per process.")]
Tta = Annotated[
    Literal["none", "fast", "paper", "full"],
    typer.Option(
        help="Test-time samples per ear, for the uncertainty: 1, 5, the paper's 10, or 24."
    ),
]
MostGib = Annotated[float, typer.Option(min=0.001, help="Largest upload, GiB.")]
Origin = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-origin", help="Other web origin that may use the server, such as that of OHIF."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More output, with tracebacks.")]
DicomPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the DICOM node; none by default.")
]
Title = Annotated[str, typer.Option(help="AE title of this DICOM node.")]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow-ae", metavar="AET", help="AE title that may connect; repeatable."),
]
SendTo = Annotated[
    list[str] | None,
    typer.Option(metavar="AET@HOST:PORT", help="DICOM node to which results are sent; repeatable."),
]
Dicomweb = Annotated[
    str | None,
    typer.Option(metavar="URL", help="DICOMweb server to search and fetch series from."),
]
DicomwebStore = Annotated[
    bool, typer.Option("--dicomweb-store", help="Store results on the DICOMweb server too.")
]


@refusals
def serve(
    data: Data = Path("otovox-data"),
    host: Host = "127.0.0.1",
    port: Port = 8617,
    workers: WorkerCount = 1,
    model: Model = "labyrinth",
    device: Device = "auto",
    threads: Threads = None,
    tta: Tta = "fast",
    most_gib: MostGib = 16.0,
    allow_origin: Origin = None,
    dicom_port: DicomPort = None,
    ae_title: Title = "OTOVOX",
    allow_ae: Allow = None,
    send_to: SendTo = None,
    dicomweb: Dicomweb = None,
    dicomweb_store: DicomwebStore = False,
    verbose: Verbose = False,
) -> None:
    """Start a web page to upload scans and to view, correct and send results."""
    set_up_logging(verbose)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401

        from otovox.serve.run import run_server
        from otovox.serve.settings import Analysis, Limits, ServerSettings, is_loopback, new_token

        archive = archive_of(dicomweb, dicomweb_store, os.environ)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the server needs {error.name}, which is not installed: pip install 'otovox[serve]'"
        ) from error
    token = os.environ.get(TOKEN, "")
    if not token and not is_loopback(host):
        token = new_token()
    most = int(most_gib * 2**30)
    limits = Limits(upload_bytes=most, file_bytes=most)
    node = dicom_of(dicom_port, ae_title, allow_ae or [], send_to or [])
    analysis = Analysis(model, device, threads, tta)
    settings = ServerSettings(
        data.absolute(), host, port, token, workers, analysis, limits, tuple(allow_origin or ()),
        node, archive,
    )  # fmt: skip
    typer.echo(f"otovox: open {settings.address}")
    run_server(settings)


def dicom_of(
    port: int | None, title: str, allowed: list[str], send_to: list[str]
) -> "Dicom | None":
    """The DICOM node described by the options.

    Raises:
        ConfigError: if they are inconsistent.
    """
    from otovox.serve.settings import Dicom, checked_title, read_destination

    targets = tuple(read_destination(text) for text in send_to)
    titles = tuple(checked_title(text, "--allow-ae") for text in allowed)
    if port is None:
        if targets or titles:
            raise ConfigError("--send-to and --allow-ae need --dicom-port")
        return None
    if not titles:
        raise ConfigError("--dicom-port needs --allow-ae: the AE titles that may connect")
    return Dicom(port, checked_title(title, "--ae-title"), titles, targets)


def archive_of(
    url: str | None, store_results: bool, environment: Mapping[str, str]
) -> "Archive | None":
    """The DICOMweb server described by the options and the environment.

    Raises:
        ConfigError: if they are inconsistent.
    """
    if url is None:
        if store_results:
            raise ConfigError("--dicomweb-store needs --dicomweb")
        return None
    import otovox.serve.dicomweb  # noqa: F401  so that a missing library is reported at once
    from otovox.serve.settings import Archive

    user, password, token = (
        environment.get(name, "") for name in (ARCHIVE_USER, ARCHIVE_PASSWORD, ARCHIVE_TOKEN)
    )
    if token and (user or password):
        raise ConfigError(f"set either {ARCHIVE_TOKEN}, or {ARCHIVE_USER} and {ARCHIVE_PASSWORD}")
    if password and not user:
        raise ConfigError(f"{ARCHIVE_PASSWORD} needs {ARCHIVE_USER}")
    return Archive(url, store_results, user, password, token)
