"""The report as one interactive page that needs no network.

The page is a template whose style, script and data are filled in; ``page/`` holds the parts. Names
in the data come from the user's network and are hostile until proven otherwise: they reach the page
as JSON without a "<", the script sets them as text only, and the content security policy admits no
script, style or address but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from string import Template

from sigmaquant.report.guarantees import guarantees
from sigmaquant.report.model import MARKS, METRIC_TITLES, STAGES, RunReport
from sigmaquant.report.summary import headline

SCRIPTS = (
    "data.js",
    "format.js",
    "elements.js",
    "tooltip.js",
    "summary.js",
    "budgets.js",
    "quality.js",
    "axis.js",
    "bits.js",
    "heatmap.js",
    "plans.js",
    "guarantees.js",
    "layers.js",
    "calibration.js",
    "making.js",
    "main.js",
)
"""Parts of the page's one script, in order: each uses only what stands before it, or functions."""


def render_html(report: RunReport) -> str:
    """The whole page as text, to be written as UTF-8."""
    style = f"\n{_part('page.css')}"
    script = "\n".join(('\n"use strict";', "(() => {", *map(_part, SCRIPTS), "})();\n"))
    return Template(_part("page.html")).substitute(
        title=html.escape(f"{report.network} on {report.target.name}: SigmaQuant report"),
        network=html.escape(report.network),
        target=html.escape(report.target.name),
        headline=html.escape(headline(report).replace("->", "→")),
        style=style,
        style_hash=_policy_hash(style),
        script=script,
        script_hash=_policy_hash(script),
        data=_embedded_json(report),
    )


def _part(name: str) -> str:
    return (resources.files("sigmaquant.report") / "page" / name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    """The source expression that admits exactly this inline text (CSP Level 3, section 2.3.1)."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _embedded_json(report: RunReport) -> str:
    """JSON that cannot end its script element: "<", ">" and "&" only occur inside its strings."""
    data = {
        "report": report.model_dump(mode="json"),
        "CALIBRATION_HEADLINE": report.calibration and report.calibration.headline,
        "GUARANTEES": guarantees(report),
        "MARKS": MARKS,
        "METRIC_TITLES": METRIC_TITLES,
        "STAGES": STAGES,
    }
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
