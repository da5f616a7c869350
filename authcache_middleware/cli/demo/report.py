"""What the demo prints, and whether each claim in it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

__all__ = ["Report"]


class Report:
    """Prints line by line, in words alone, so that it reads the same in a file. Remembers the claims that fail."""

    def __init__(self, console: Console | None = None) -> None:
        self.false: list[str] = []
        self._console = console or Console(highlight=False)
        self._claims = 0
        self._act = ""

    def act(self, title: str) -> None:
        """A new part of the story."""
        self._act = title
        self._console.print()
        self._console.print(Text(title, style="bold"))

    def claim(self, what: str, seen: object, expected: object) -> None:
        """Says what was seen; the claim holds if it is what was expected."""
        self._claims += 1
        text = f"{what}: {_words(seen)}"
        if seen == expected:
            self._print(Text.assemble(("ok     ", "green"), text))
        else:
            text += f", and should be {_words(expected)}"
            self.false.append(f"{self._act}: {text}")
            self._print(Text.assemble(("FALSE  ", "bold red"), text))

    def note(self, text: str) -> None:
        """Something to know that is not checked."""
        self._print(Text(text, style="dim"))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Figures; nothing in them is checked."""
        table = Table(box=None, pad_edge=False)
        for number, column in enumerate(columns):
            figures = number > 0
            table.add_column(column, justify="right" if figures else "left", no_wrap=figures, overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._console.print(Padding(table, (0, 0, 0, 2), expand=False))

    def command(self, line: str) -> None:
        """A line to be copied: never wrapped by us."""
        self._console.print(Text(line), soft_wrap=True)

    def trouble(self, text: str) -> None:
        """Why the demo cannot go on."""
        self._console.print(Text(f"authcache demo: {text}", style="red"), soft_wrap=True)

    def verdict(self) -> int:
        """Sums up; 1 where a claim did not hold, else 0."""
        self._console.print()
        if not self.false:
            self._console.print(Text(f"All {self._claims} claims hold.", style="bold green"))
            return 0
        self._console.print(Text(f"{len(self.false)} of {self._claims} claims do not hold:", style="bold red"))
        for text in self.false:
            self._print(Text(text))
        return 1

    def _print(self, text: Text) -> None:
        self._console.print(Padding(text, (0, 0, 0, 2), expand=False))


def _words(seen: object) -> str:
    if isinstance(seen, Mapping):
        return ", ".join(f"{count:,} x {name}" for name, count in sorted(seen.items())) or "none"
    if isinstance(seen, tuple):
        return " and ".join(map(str, seen))
    return f"{seen:,}" if type(seen) is int else str(seen)
