"""HTML from Python: what is not HTML already is escaped, so no text from a store can become markup."""

import json
from html import escape

_VOID = {"input"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """An element around its children, of which all but `Markup` are escaped.

    `class_` stands for class, `data_value` for data-value; True is written as the attribute's name alone, None and
    False not at all.
    """
    start = "".join(_attribute(key.strip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Markup(f"<{name}{start}>" if name in _VOID else f"<{name}{start}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """One after the other; all but `Markup` are escaped."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def json_text(content: object) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _attribute(name: str, value: str | float | None) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
