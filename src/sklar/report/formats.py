"""A table of text cells as Markdown, LaTeX or CSV."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}
_MATHS = {"\N{MINUS SIGN}": "$-$", "²": r"\textsuperscript{2}", "Δ": r"$\Delta$", "±": r"$\pm$", "<": "$<$"}


@dataclass(frozen=True)
class Cell:
    """A text, perhaps in bold."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class TextTable:
    """Rows of cells under headings.

    Attributes:
        headings: K texts.
        rows: Of K cells each; the first is a name, the others are set flush right.
        note: What a reader must know of the numbers.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str


def to_markdown(table: TextTable) -> str:
    """A Markdown table and its note."""
    lines = [_pipes(table.headings), _pipes(["---", *["---:"] * (len(table.headings) - 1)])]
    lines += [_pipes([f"**{cell.text}**" if cell.bold else cell.text for cell in row]) for row in table.rows]
    return "\n".join([*lines, "", table.note, ""])


def to_latex(table: TextTable) -> str:
    """A ``tabular`` with the rules of the booktabs package, and its note as a comment."""
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}", r"\toprule"]
    lines += [_ampersands([_escaped(heading) for heading in table.headings]), r"\midrule"]
    for row in table.rows:
        cells = [_escaped(cell.text) for cell in row]
        bold = zip(cells, row, strict=True)
        lines.append(_ampersands([rf"\textbf{{{text}}}" if cell.bold else text for text, cell in bold]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"% {table.note}", ""])


def to_csv(table: TextTable) -> str:
    """Comma-separated values; a bold cell is followed by an asterisk."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.headings)
    writer.writerows([cell.text + "*" * cell.bold for cell in row] for row in table.rows)
    return out.getvalue()


FORMATS: dict[str, Callable[[TextTable], str]] = {
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
}


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _ampersands(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(c) or _MATHS.get(c) or c for c in text)
