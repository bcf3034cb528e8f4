"""One HTML page of tables and figures, with the pictures beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from .. import images
from .figures import ERROR_WHITE, GRADIENT_WHITE, Figure, sheet
from .tables import Table

_STYLE = """\
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em; background: #1b1b1b; color: #e6e6e6 }
table { border-collapse: collapse; margin: .5em 0 2em }
td, th { padding: .25em .7em; border-bottom: 1px solid #444; text-align: right; vertical-align: top }
td:first-child, th:first-child { text-align: left }
.figures td, .figures th { padding: 2px; border: 0; text-align: center }
img { width: 100%; max-width: 26em; image-rendering: pixelated }
a { color: #9cf }
"""


class Page:
    """Collects figures as they are made, and writes `index.html` in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sections: list[str] = []
        self._names: set[str] = set()

    def add(self, name: str, made: Sequence[Figure]) -> None:
        """Write the figures of one pair into the folder. Raises OutputError."""
        images.make_folder(self._folder / "figures")
        stem = self._stem(name)
        columns = list(dict.fromkeys(figure.column for figure in made))
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        lines = []
        for kind in dict.fromkeys(figure.kind for figure in made):
            cells = "".join(
                f"<td>{self._image(stem, figure)}</td>" if figure else "<td></td>"
                for figure in (self._find(made, kind, column) for column in columns)
            )
            lines.append(f"<tr><th>{escape(kind)}</th>{cells}</tr>")
        images.write_png(self._folder / "figures" / f"{stem}.png", sheet(list(made)))
        link = f'<a href="figures/{stem}.png">all in one picture</a>'
        table = f'<table class="figures"><tr><th></th>{head}</tr>{"".join(lines)}</table>'
        self._sections.append(f"<h2>{escape(name)}</h2><p>{link}</p>{table}")

    def write(self, tables: Sequence[Table]) -> Path:
        """Write the page and return its path. Raises OutputError."""
        note = (
            "Views are mu-law with the norm of the reference, as in PSNR-mu. "
            f"Errors are mean mu-law differences, bright at {ERROR_WHITE:g}; gradients are bright at "
            f"{GRADIENT_WHITE:g} a pixel. Frames show where the crops are."
        )
        body = "".join(map(_table, tables))
        if self._sections:
            body += f"<p>{note}</p>{''.join(self._sections)}"
        head = f'<meta charset="utf-8"><title>hdrunet-video: evaluation</title><style>{_STYLE}</style>'
        text = f"<!doctype html><html lang=en><head>{head}</head><body><h1>Evaluation</h1>{body}</body></html>\n"
        images.write_file(self._folder / "index.html", text.encode())
        return self._folder / "index.html"

    def _stem(self, name: str) -> str:
        stem = base = re.sub(r"[^\w.-]+", "_", name)
        number = 2
        while stem in self._names:
            stem, number = f"{base}-{number}", number + 1
        self._names.add(stem)
        return stem

    def _image(self, stem: str, figure: Figure) -> str:
        name = self._stem(f"{stem}__{figure.kind}__{figure.column}") + ".png"
        images.write_png(self._folder / "figures" / name, figure.codes)
        return f'<img loading="lazy" src="figures/{name}" alt="{escape(f"{figure.column}: {figure.kind}")}">'

    @staticmethod
    def _find(made: Sequence[Figure], kind: str, column: str) -> Figure | None:
        return next((figure for figure in made if (figure.kind, figure.column) == (kind, column)), None)


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in table.lines)
    return f"<h2>{escape(table.title)}</h2><table><tr>{head}</tr>{lines}</table>"
