"""Pages of reports as their readers get them."""

from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>]]>{{ 7*7 }}\u200b\u202e\x00é"
VOID = frozenset({"meta", "img", "br"})


class Page(HTMLParser):
    """A page as its reader gets it: tables by section and name, texts, and whatever tags it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.tables: dict[tuple[str, str], list[list[str]]] = {}
        self.texts: dict[str, str] = {}
        self.closed_wrongly: list[str] = []
        self._open: list[str] = []
        self._section = "header"
        self._table = ""
        self.feed(html)
        self.close()
        assert not self.closed_wrongly
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes += given.items()
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = given.get("id", "journey")
        elif tag == "table":
            self._table = given.get("aria-label", "")
            self.tables[self._section, self._table] = []
        elif tag == "tr" and self._table:
            self.tables[self._section, self._table].append([])
        elif tag in ("td", "th") and self._table:
            self.tables[self._section, self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.closed_wrongly.append(tag)
        if tag == "table":
            self._table = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.texts[self._section] = self.texts.get(self._section, "") + data
        if self._table and {"td", "th"} & set(self._open):
            cells = self.tables[self._section, self._table][-1]
            cells[-1] = f"{cells[-1]} {data.strip()}".strip()

    def row(self, section: str, table: str, name: str) -> list[str]:
        """The numbers of the row of that name, without the cells that only draw."""
        (found,) = [row for row in self.tables[section, table] if row and row[0] == name]
        return [cell for cell in found[1:] if cell]
