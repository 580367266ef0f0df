"""HTML built from elements: text is escaped where it enters, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_VOID = ("img", "link", "meta")


class Markup(str):
    """HTML that stands as it is; any other text is escaped."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str) -> Markup:
    """An element.

    Args:
        name: such as `p`.
        children: `Markup` enters as it is, text is escaped.
        attributes: escaped; `_` stands for `-`, and at the end for nothing (`class_`).
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    if name in _VOID:
        return Markup(f"<{name}{pairs}>")
    return Markup(f"<{name}{pairs}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """Parts one after another; what is not `Markup` is escaped."""
    return Markup(
        "".join(part if isinstance(part, Markup) else escape(part, quote=False) for part in parts)
    )


def scrolling(label: str, *children: str) -> Markup:
    """A box that scrolls sideways where its content is wider than the page."""
    return element("div", *children, class_="scroll", role="region", aria_label=label, tabindex="0")


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """A table in a box that scrolls; the first cell of each row is its heading."""
    heads = (element("th", cell, scope="col") for cell in head)
    body = (
        element(
            "tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])
        )
        for row in rows
    )
    return scrolling(
        caption,
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", *heads)),
            element("tbody", *body),
        ),
    )
