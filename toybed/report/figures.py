"""A figure as part of the page: an SVG whose colours follow light and dark, with words for those who do not see it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

from toybed import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")

WHITE, NIGHT = "#ffffff", "#1e1e1d"
"""What figures stand on, in light and in dark."""

READABLE = 4.5
"""Contrast of small text with its ground (WCAG 2.2, AA)."""


@dataclass
class Palette:
    """The colours that figures have used; the page's style sheet says what each is in light and in dark.

    Lines keep their colour on white, because the palette's colours are told apart as they are; words in the same hue
    are darkened until they can be read.
    """

    used: set[tuple[str, bool]] = field(default_factory=set)

    def variable(self, colour: str, *, words: bool) -> str:
        """The name of the CSS variable for a colour, ``#rrggbb``."""
        self.used.add((colour, words))
        return f"--{'t' if words else 'k'}{colour[1:]}"

    def rules(self, *, dark: bool) -> Markup:
        """Declarations of all colours used."""
        shown = in_dark if dark else in_light
        return Markup(";".join(f"{self.variable(c, words=w)}:{shown(c, words=w)}" for c, w in sorted(self.used)))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours ``#rrggbb``, 1 to 21, as WCAG 2 defines it."""
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    shares = (value / 255 for value in _channels(colour))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _mixed(colour: str, other: str, share: float) -> str:
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in pairs)


def _towards(colour: str, end: str, ground: str) -> str:
    """The first of its mixtures with another colour that can be read on a ground."""
    mixtures = (_mixed(colour, end, i / 20) for i in range(21))
    return next(mixture for mixture in mixtures if contrast(mixture, ground) >= READABLE)


def in_light(colour: str, *, words: bool) -> str:
    """A colour of a figure as it is shown on white; greys of words, too, are darkened until they can be read."""
    return _towards(colour, "#000000", WHITE) if words and colour != WHITE else colour


def in_dark(colour: str, *, words: bool) -> str:
    """A colour of a figure as it is shown on the dark ground: greys turned round, hues and words lightened."""
    red, green, blue = _channels(colour)
    if max(red, green, blue) - min(red, green, blue) <= 8:
        turned = _mixed("#ececea", NIGHT, (red + green + blue) / 765)
        return _towards(turned, WHITE, NIGHT) if words else turned
    return _towards(colour, WHITE, NIGHT)


def svg(figure: Figure, name: str, title: str, text: str, palette: Palette) -> Markup:
    """The figure as an SVG element.

    Args:
        figure: drawn by a question.
        name: before every id within, so that no two figures of a page share one.
        title, text: what is told to those who do not see it.
        palette: gets the colours that are used.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(plotting.svg(figure))
    _stripped(root)
    wanted = set(re.findall(r"#([\w-]+)", " ".join(v for e in root.iter() for k, v in e.items() if k != "style")))
    _adapt(root, name, palette, wanted, words=False)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("style", f"fill:var({palette.variable('#000000', words=False)})")
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for tag, content in (("desc", text), ("title", title)):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = content
        root.insert(0, element)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _stripped(root: ElementTree.Element) -> None:
    """Take out what a page has no use for: facts about the file, its own style sheet, white space."""
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")]:
            parent.remove(child)
        for child in parent:
            child.tail = None if parent.tag != f"{{{_SVG}}}text" else child.tail
        if not (parent.text or "").strip():
            parent.text = None


def _adapt(element: ElementTree.Element, name: str, palette: Palette, wanted: Collection[str], *, words: bool) -> None:
    """Put variables in the place of colours, and a name before ids, in an element and all within it.

    Args:
        element: is changed.
        name: put before ids.
        palette: gets the colours.
        wanted: the ids that are referred to; the others are dropped.
        words: whether the element is within a text.
    """
    words = words or element.get("id", "").startswith("text_")
    own = element.attrib
    if "style" in own:
        coloured = _COLOUR.sub(lambda found: f"var({palette.variable(found[0], words=words)})", own["style"])
        own["style"] = re.sub(r"font-family:[^;]*(;|$)", "", coloured).replace(": ", ":").replace("; ", ";")
    if "id" in own and (key := own.pop("id")) in wanted:
        own["id"] = f"{name}-{key}"
    for attribute in (_LINK, "href"):
        if own.get(attribute, "").startswith("#"):
            own[attribute] = f"#{name}-{own[attribute][1:]}"
    if "clip-path" in own:
        own["clip-path"] = own["clip-path"].replace("url(#", f"url(#{name}-")
    if own.get("transform", "").startswith("rotate(-0 "):
        del own["transform"]
    for attribute in {"d", "x", "y", "points"} & set(own):
        own[attribute] = _rounded(own[attribute])
    for child in element:
        _adapt(child, name, palette, wanted, words=words)


def _rounded(path: str) -> str:
    """Coordinates in hundredths of their unit: finer than any screen shows, and half as long."""
    short = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), path)
    return " ".join(short.split())
