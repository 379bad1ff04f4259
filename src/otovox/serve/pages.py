"""The pages: the list of studies, one study with its viewer, the cohort."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from anyio import to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from otovox._version import __version__
from otovox.analysis.cohort_page import write_cohort_page
from otovox.analysis.scan import Job, ScanOutcome, success
from otovox.core.case import DISCLAIMER
from otovox.results.schema import RESULT, read_result
from otovox.results.tables import long_table
from otovox.serve.api import desk_of
from otovox.serve.desk import Desk, Unknown
from otovox.serve.security import SANDBOX


async def studies(request: Request) -> Response:
    settings = desk_of(request).settings
    return _page("studies.html", limits=settings.limits, archive=settings.archive is not None)


async def study(request: Request) -> Response:
    row = desk_of(request).study(request.path_params["study"])
    return _page("study.html", study=row)


async def cohort(request: Request) -> Response:
    """The cohort of the latest versions of all studies."""
    text = await to_thread.run_sync(_cohort, desk_of(request))
    return HTMLResponse(text, headers={"content-security-policy": SANDBOX})


async def from_cohort(request: Request) -> Response:
    """A study's page, by its name on the cohort page."""
    for outcome, key in _outcomes(desk_of(request)):
        if outcome.job.name == request.path_params["name"]:
            return RedirectResponse(f"/studies/{key}", 303)
    raise Unknown("no such study")


def _cohort(desk: Desk) -> str:
    outcomes = [outcome for outcome, _ in _outcomes(desk)]
    table = long_table({one.job.name: one.answer for one in outcomes if one.answer is not None})
    with tempfile.TemporaryDirectory(dir=desk.data) as folder:
        path = Path(folder) / "cohort.html"
        write_cohort_page(outcomes, table, path)
        return path.read_text("utf-8")


def _outcomes(desk: Desk) -> list[tuple[ScanOutcome, str]]:
    """The latest results of every study under a unique name, and the studies' identifiers."""
    outcomes: list[tuple[ScanOutcome, str]] = []
    counts: dict[str, int] = {}
    for row in desk.store.rows("studies"):
        done = [one["number"] for one in desk.versions(row["id"]) if one["state"] == "done"]
        if not done:
            continue
        counts[row["name"]] = counts.get(row["name"], 0) + 1
        same = counts[row["name"]]
        name = row["name"] if same == 1 else f"{row['name']} ({same})"
        folder = desk.place(row["id"]).version(done[-1])
        outcomes.append(
            (success(Job(name, folder, folder), read_result(folder / RESULT)), row["id"])
        )
    return outcomes


def _page(name: str, **content: Any) -> Response:
    text = (
        _templates()
        .get_template(name)
        .render(version=__version__, disclaimer=DISCLAIMER, **content)
    )
    return HTMLResponse(text)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("otovox.serve"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


ROUTES = [
    Route("/", studies),
    Route("/studies/{study}", study),
    Route("/cohort/", cohort),
    Route("/cohort/{name}/report.html", from_cohort),
]
