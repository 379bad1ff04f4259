"""Settings of a server."""

import secrets
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from otovox.errors import ConfigError

#: Port of the page: chosen, not in the IANA registry.
PORT = 8617


@dataclass(frozen=True)
class Limits:
    """Limits of uploads; all chosen, far above real studies.

    Attributes:
        file_bytes, upload_bytes: largest file, and largest upload.
        files: largest number of files of an upload, including those in zip files.
        unpacked_ratio: largest compression ratio of a zip file.
        waiting: largest number of waiting studies.
    """

    file_bytes: int = 8 * 2**30
    upload_bytes: int = 16 * 2**30
    files: int = 20_000
    unpacked_ratio: int = 500
    waiting: int = 1_000


@dataclass(frozen=True)
class Analysis:
    """Settings of the analysis; see `analysis.model.load_model`."""

    model: str = "labyrinth"
    device: str = "auto"
    threads: int | None = None
    tta: str = "fast"


@dataclass(frozen=True)
class Destination:
    """A DICOM node that results are sent to."""

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Dicom:
    """The DICOM node.

    Attributes:
        port: to listen on; 0 for any free one.
        title: its own AE title.
        allowed: AE titles that may connect; if empty, none may.
        send_to: destinations of results.
        quiet_s: a series is complete if no image has arrived for this time: chosen.
    """

    port: int
    title: str = "OTOVOX"
    allowed: tuple[str, ...] = ()
    send_to: tuple[Destination, ...] = ()
    quiet_s: float = 10.0


@dataclass(frozen=True)
class Archive:
    """A DICOMweb server.

    Attributes:
        url: of its services, such as `https://pacs.example/dicom-web`; without credentials.
        store: whether results are stored there.
        user, password: for HTTP basic authentication; empty for none.
        token: bearer token; empty for none.
    """

    url: str
    store: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        wanted = (
            "--dicomweb: an http or https address without a query is needed, such as "
            "https://pacs.example/dicom-web"
        )
        try:
            parts = urlsplit(self.url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise ConfigError(wanted) from None
        if not valid or parts.query or parts.fragment:
            raise ConfigError(wanted)
        if parts.username is not None:
            raise ConfigError(
                "--dicomweb: an address with a password is visible to all users of this computer; "
                "set OTOVOX_DICOMWEB_USER and OTOVOX_DICOMWEB_PASSWORD"
            )
        secret = self.user or self.password or self.token
        if secret and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ConfigError(f"--dicomweb {self.url}: credentials are sent by https only")
        object.__setattr__(self, "url", self.url.rstrip("/"))


@dataclass(frozen=True)
class ServerSettings:
    """All settings of a server.

    Attributes:
        data: folder for all stored data; mode 700.
        host, port: address that it listens on.
        token: required with every request; empty for none, on loopback only.
        workers: number of analysis processes.
        origins: other web origins that may use it.
        dicom: the DICOM node; None for none.
        archive: the DICOMweb server; None for none.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = PORT
    token: str = ""
    workers: int = 1
    analysis: Analysis = Analysis()
    limits: Limits = Limits()
    origins: tuple[str, ...] = ()
    dicom: Dicom | None = None
    archive: Archive | None = None

    def __post_init__(self) -> None:
        if not self.token and not is_loopback(self.host):
            raise ConfigError(f"a server that listens on {self.host} needs a token")

    @property
    def address(self) -> str:
        """Address to open in a browser.

        >>> ServerSettings(Path("data"), host="::1", port=8000, token="secret").address
        'http://[::1]:8000/?token=secret'
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        token = f"?token={self.token}" if self.token else ""
        return f"http://{host}:{self.port}/{token}"


@dataclass(frozen=True)
class Place:
    """The folders of one study."""

    folder: Path
    input: Path = field(init=False)
    view: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", self.folder / "input")
        object.__setattr__(self, "view", self.folder / "view")

    def version(self, number: int) -> Path:
        """Result folder of a version.

        >>> Place(Path("studies", "a1")).version(2).as_posix()
        'studies/a1/versions/2'
        """
        return self.folder / "versions" / str(number)

    def correction(self, number: int) -> Path:
        """Folder with the files of a correction.

        >>> Place(Path("studies", "a1")).correction(2).as_posix()
        'studies/a1/corrections/2'
        """
        return self.folder / "corrections" / str(number)


def is_loopback(host: str) -> bool:
    """Whether a host is reachable from this machine only.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A random token.

    >>> new_token() != new_token()
    True
    """
    return secrets.token_urlsafe(32)


def read_destination(text: str) -> Destination:
    """Parse `AET@HOST:PORT`.

    Raises:
        ConfigError: if it does not have this form.

    >>> read_destination("PACS@127.0.0.1:4242").port
    4242
    """
    title, mark, place = text.partition("@")
    host, colon, port = place.rpartition(":")
    if not (mark and colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"--send-to {text}: AET@HOST:PORT is needed, such as PACS@10.0.0.5:104")
    return Destination(checked_title(title, "--send-to"), host.strip("[]"), int(port))


def checked_title(title: str, option: str) -> str:
    """An AE title: 1 to 16 characters, no backslash or control characters (DICOM PS3.5, AE).

    Raises:
        ConfigError: if it is not valid.

    >>> checked_title("OTOVOX", "--ae-title")
    'OTOVOX'
    """
    title = title.strip()
    if not 1 <= len(title) <= 16 or not title.isascii() or "\\" in title or not title.isprintable():
        raise ConfigError(f"{option} {title}: an AE title has 1 to 16 ASCII characters")
    return title
