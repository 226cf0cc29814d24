from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sigmaquant.report import RunReport, render_html

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """The page's elements, and what is inside its scripts and styles; fails on bad nesting."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    @property
    def report(self) -> Any:
        return json.loads(self.texts["script"][0])["report"]


def test_is_well_formed_and_holds_the_whole_report(report: RunReport) -> None:
    page = Page(render_html(report))
    assert page.report == report.model_dump(mode="json")
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert page.texts["title"] == ["ResNet20 on cortex-m4: SigmaQuant report"]


def test_refers_to_nothing_outside_itself(report: RunReport) -> None:
    text = render_html(report)
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
    addresses = [
        attributes[name]
        for _, attributes in Page(text).elements
        for name in ("src", "href")
        if name in attributes
    ]
    assert sorted(map(str, addresses)) == ["#main", "data:,"]


def test_policy_admits_its_own_script_and_style_only(report: RunReport) -> None:
    page = Page(render_html(report))
    (policy,) = (
        str(attributes["content"])
        for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for directive, text in (("script", page.texts["script"][1]), ("style", page.texts["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive}-src 'sha256-{digest}'" in policy


def test_headline_is_readable_without_script(report: RunReport) -> None:
    text = render_html(report)
    assert "accuracy 91.7 → 91.5 %, fits cortex-m4.</p>" in text
    assert "<noscript>" in text


def test_hostile_names_stay_data(hostile_report: RunReport) -> None:
    text = render_html(hostile_report)
    page = Page(text)
    assert page.report == hostile_report.model_dump(mode="json")
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert "img" not in [tag for tag, _ in page.elements]
    assert text.count("<script") == 2
    assert text.count("<!--") == 0


@settings(max_examples=40, deadline=None)
@given(name=st.text())
def test_any_name_comes_through(report: RunReport, name: str) -> None:
    layer = report.layers[0].model_copy(update={"name": name})
    page = Page(render_html(report.model_copy(update={"layers": (layer,), "network": name})))
    assert page.report["layers"][0]["name"] == name


def test_same_report_same_page(report: RunReport) -> None:
    assert render_html(report) == render_html(report)
