"""Where scripts write their results in a page: between two marks, all else stays."""

from pathlib import Path

START, END = "<!-- results:start -->\n", "<!-- results:end -->"


def write_between(page: Path, text: str) -> None:
    """Put a text between the marks of a page, in place of what stands there."""
    head, rest = page.read_text("utf-8").split(START)
    _, tail = rest.split(END)
    page.write_text(f"{head}{START}\n{text}\n\n{END}{tail}", "utf-8")
