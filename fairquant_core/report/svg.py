"""A few strokes of SVG: shapes that differ also without colour, and words for those who cannot see them."""

from __future__ import annotations

from markupsafe import Markup, escape

INK, SOFT, RULE = "#16202a", "#5b6770", "#c3cad0"
BLUE, ORANGE, PAPER = "#0b5394", "#b04a00", "#ffffff"


class Drawing:
    """One figure. `title` says what it shows in a sentence; screen readers read it, in HTML and in PDF.

    Units: pixels of the drawing; it is scaled to the width of the page.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self._parts: list[Markup] = []

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        colour: str = INK,
        width: float = 1,
        dash: str = "",
    ) -> None:
        """A straight line."""
        (x1, y1), (x2, y2) = start, end
        extra = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
        self._add(
            '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-width="{}"{}/>',
            *(_round(number) for number in (x1, y1, x2, y2)),
            colour,
            width,
            extra,
        )

    def rectangle(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "none",
        stroke: str = "none",
    ) -> None:
        """A box."""
        self._add(
            '<rect x="{}" y="{}" width="{}" height="{}" fill="{}" stroke="{}"/>',
            *(_round(number) for number in (x, y, max(0.0, width), max(0.0, height))),
            fill,
            stroke,
        )

    def hatched(self, x: float, y: float, width: float, height: float, gap: float = 6) -> None:
        """A box of slanted lines: an area that is seen in black and white too."""
        offset = gap
        while offset < width + height:
            first = (x + min(offset, width), y + max(0.0, offset - width))
            last = (x + max(0.0, offset - height), y + min(offset, height))
            self.line(first, last, colour=RULE, width=0.8)
            offset += gap

    def mark(self, shape: str, x: float, y: float, colour: str, *, filled: bool) -> None:
        """A symbol: "circle", "diamond", "square" or "triangle"."""
        fill = colour if filled else PAPER
        if shape == "circle":
            self._add(
                '<circle cx="{}" cy="{}" r="4.6" fill="{}" stroke="{}" stroke-width="1.6"/>',
                _round(x),
                _round(y),
                fill,
                colour,
            )
            return
        corners = {
            "diamond": ((0, -6), (6, 0), (0, 6), (-6, 0)),
            "square": ((-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)),
            "triangle": ((0, -6), (5.6, 4.6), (-5.6, 4.6)),
        }[shape]
        places = " ".join(f"{_round(x + dx)},{_round(y + dy)}" for dx, dy in corners)
        self._add(
            '<polygon points="{}" fill="{}" stroke="{}" stroke-width="1.4"/>', places, fill, colour
        )

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 12,
        anchor: str = "start",
        colour: str = INK,
        bold: bool = False,
    ) -> None:
        """A line of words; `y` is its baseline."""
        self._add(
            '<text x="{}" y="{}" font-size="{}" text-anchor="{}" fill="{}" font-weight="{}">{}</text>',
            _round(x),
            _round(y),
            size,
            anchor,
            colour,
            600 if bold else 400,
            words,
        )

    def interval(
        self, low: float, high: float, y: float, *, colour: str, dash: str = "", cap: float = 4
    ) -> None:
        """A horizontal interval with caps at its ends."""
        self.line((low, y), (high, y), colour=colour, width=1.6, dash=dash)
        for x in (low, high):
            self.line((x, y - cap), (x, y + cap), colour=colour, width=1.6)

    def markup(self) -> Markup:
        """The figure as inline SVG."""
        head = Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
            'role="img" aria-label="{title}" font-family="Report Sans, Report Sans Ext, sans-serif">'
            "<title>{title}</title>"
        ).format(w=_round(self.width), h=_round(self.height), title=self.title)
        return head + Markup("").join(self._parts) + Markup("</svg>")

    def _add(self, template: str, *values: object) -> None:
        self._parts.append(Markup(template).format(*(escape(value) for value in values)))


class Scale:
    """Places numbers between two ends on a line of the drawing."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        """The place of a number; numbers beyond an end stand at the end."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers inside, at most so many."""
        reach = self.high - self.low
        for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10):
            first = -(-self.low // step)
            count = int((self.high - first * step) / step + 1e-9) + 1
            if reach / step <= most:
                return [round((first + place) * step, 6) for place in range(count)]
        return [self.low, self.high]


def _round(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
