"""Writes results into a page between two marks; the rest of the page is unchanged."""

from pathlib import Path

START, END = "<!-- results:start -->\n", "<!-- results:end -->"


def write_between(page: Path, text: str) -> None:
    """Replace the text between the marks of a page."""
    head, rest = page.read_text("utf-8").split(START)
    _, tail = rest.split(END)
    page.write_text(f"{head}{START}\n{text}\n\n{END}{tail}", "utf-8")
