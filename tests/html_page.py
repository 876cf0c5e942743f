"""What is in a page of HTML, read by a parser: its elements, its tables, and what it would load."""

import re
from html.parser import HTMLParser

_VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "wbr",
}
# Attributes whose value a browser may load, or go to at once.
_LOADING = {"src", "srcset", "href", "data", "poster", "action", "background", "xlink:href"}
_OF_SCRIPTS = {"script", "iframe", "frame", "object", "embed", "applet", "base", "form"}


class Element:
    """A tag with its attributes and children; text is a child that is a string."""

    def __init__(self, tag, attributes, parent):
        self.tag, self.attributes, self.parent, self.children = tag, attributes, parent, []

    def all(self, *tags):
        """Those below it of these tags, in order."""
        for child in self.children:
            if isinstance(child, Element):
                if child.tag in tags or not tags:
                    yield child
                yield from child.all(*tags)

    def one(self, *tags):
        (found,) = self.all(*tags)
        return found

    def under(self, *tags):
        """Whether it lies in one of these."""
        return self.parent is not None and (self.parent.tag in tags or self.parent.under(*tags))

    @property
    def text(self):
        """All text in it, in one line."""
        parts = [c if isinstance(c, str) else c.text for c in self.children]
        return " ".join(" ".join(parts).split())

    def rows(self):
        """Of a table the text of each cell, row by row."""
        return [
            [cell.text for cell in row.children if isinstance(cell, Element)]
            for row in self.all("tr")
        ]


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("", {}, None)

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), self.at)
        self.at.children.append(element)
        if tag not in _VOID:
            self.at = element

    def handle_startendtag(self, tag, attrs):
        self.at.children.append(Element(tag, dict(attrs), self.at))

    def handle_endtag(self, tag):
        assert self.at.tag == tag, f"</{tag}> ends <{self.at.tag}>"
        self.at = self.at.parent

    def handle_data(self, data):
        self.at.children.append(data)


def read_page(html):
    """The root of a page, every tag of which is closed as it should be."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.at is reader.root, f"<{reader.at.tag}> is not closed"
    return reader.root


def loaded_from_elsewhere(root):
    """What a browser would load, or run, that is not in the page itself; in words."""
    found = [f"<{element.tag}>" for element in root.all(*_OF_SCRIPTS)]
    for element in root.all():
        for name, value in element.attributes.items():
            value = (value or "").strip()
            inside = value.startswith(("#", "data:image/")) or value in ("", "data:,")
            if name in _LOADING and not inside:
                found.append(f"{element.tag} {name}={value[:60]}")
            if name.startswith("on"):
                found.append(f"{element.tag} {name}")
            if name == "style":
                found += _of_style(value)
    for style in root.all("style"):
        found += _of_style(style.text)
    return found


def _of_style(css):
    return re.findall(r"@import[^;]*|@font-face|url\([^)]*\)|image-set\([^)]*\)", css)
