"""The page in a real browser: no errors, every chart drawn, keyboard and buttons working."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sigmaquant.report import RunReport, guarantees, render_html
from sigmaquant.units import format_bytes

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
    "--window-size=1280,900",
)

# Stands before the page's own script and its policy, so that nothing escapes it.
RECORDER = """<script>
const recorded = { errors: [], requests: null, found: null };
const keep = (text) => recorded.errors.push(String(text));
window.addEventListener("error", (event) => keep(event.message));
window.addEventListener("unhandledrejection", (event) => keep(event.reason));
document.addEventListener("securitypolicyviolation", (event) => keep(event.violatedDirective));
for (const kind of ["error", "warn"]) console[kind] = keep;
window.addEventListener("load", () => {
  recorded.found = (() => { %s })() ?? null;
  recorded.requests = performance.getEntriesByType("resource").length;
  document.documentElement.dataset.recorded = JSON.stringify(recorded);
});
</script>"""


class Dump(HTMLParser):
    """Counts the elements of a dumped document by class, and collects its visible text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.root: dict[str, str | None] = {}
        self.classes: list[str] = []
        self.labels: list[str] = []
        self.text: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "html":
            self.root = attributes
        self.classes.extend((attributes.get("class") or "").split())
        if label := attributes.get("aria-label"):
            self.labels.append(label)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@dataclass(frozen=True)
class Shown:
    """What the browser made of a page; ``found`` is what the test's own script returned."""

    dump: Dump
    found: object
    log: str

    def count(self, name: str) -> int:
        return self.dump.classes.count(name)


Show = Callable[..., Shown]


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """Opens a report, runs a script in it once it is loaded, and fails on any error."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")

    def _show(report: RunReport, script: str = "") -> Shown:
        page = tmp_path / "report.html"
        recorder = RECORDER.replace("%s", script)
        text = render_html(report).replace("<head>", f"<head>{recorder}", 1)
        page.write_text(text, encoding="utf-8")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = (browser, *FLAGS, profile, "--dump-dom", page.as_uri())
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        dump = Dump(done.stdout)
        recorded = json.loads(dump.root["data-recorded"] or "null")
        assert recorded["errors"] == []
        assert recorded["requests"] == 0
        assert "CONSOLE" not in done.stderr
        return Shown(dump, recorded["found"], done.stderr)

    return _show


@pytest.mark.parametrize("name", ["report", "deep_report"])
def test_draws_every_layer_width_and_budget(
    show: Show, request: pytest.FixtureRequest, name: str
) -> None:
    report: RunReport = request.getfixturevalue(name)
    shown = show(report)
    assert shown.count("bar") == len(report.layers)
    assert shown.count("cell") == 7 * len(report.layers)
    assert shown.count("chosen") == len(report.layers) + 1  # and one in the key
    assert shown.count("track") == len(report.budgets)
    assert shown.count("point") == len(report.compared_plans)
    assert shown.count("chip") == len(report.layers)


def test_shows_the_figures_of_the_record(show: Show, report: RunReport) -> None:
    dump = show(report).dump
    flash = report.budget("flash_bytes")
    assert flash is not None
    for expected in (
        format_bytes(flash.used),
        "91.53 %",
        "\N{MINUS SIGN}0.19 points",
        "derived",
        "2.4\N{MULTIPLICATION SIGN} faster",
        "6 min 20 s in all, wall clock.",
        "avgpool: aten.adaptive_avg_pool2d",
        "sigmaquant run resnet20.toml",
        *report.warnings,
    ):
        assert any(expected in text for text in dump.text), expected


def test_tells_every_guarantee(show: Show, report: RunReport) -> None:
    script = (
        "return Array.from(document.querySelectorAll('#guarantees li'), (li) => li.textContent);"
    )
    assert show(report, script).found == list(guarantees(report))


def test_no_link_of_the_contents_is_cut_off(show: Show, report: RunReport) -> None:
    script = """
      const right = document.querySelector("#contents").getBoundingClientRect().right;
      const links = Array.from(document.querySelectorAll("#contents a"));
      return links.map((link) => link.getBoundingClientRect().right <= right + 0.5);
    """
    found = show(report, script).found
    assert isinstance(found, list)
    assert len(found) > 8
    assert all(found)


def test_shows_the_swaps_that_hang_on_noise(show: Show, report: RunReport) -> None:
    (call,) = report.close_calls
    script = "return document.querySelector('#sensitivity tbody').textContent;"
    bits = (str(call.raised_bits), str(call.lowered_bits))
    expected = f"{call.raised}{bits[0]}{call.lowered}{bits[1]}"
    assert str(show(report, script).found).startswith(expected)


def test_a_loss_is_called_what_it_is(show: Show, report: RunReport) -> None:
    labelled = report.model_copy(update={"quality_loss": "cross entropy"})
    titles = [text for text in show(labelled).dump.text if text.startswith("Loss (")]
    assert titles == ["Loss (cross entropy)", "Loss (cross entropy)", "Loss (kl)"]
    measured = report.model_copy(update={"plan_loss": "divergence"})
    assert "Loss (divergence)" in show(measured).dump.text


def test_marks_explain_themselves_to_a_screen_reader(show: Show, report: RunReport) -> None:
    labels = show(report).dump.labels
    layer = report.layers[1]
    (label,) = (text for text in labels if text.startswith(f"{layer.name}, Kind conv"))
    assert f"Weights {layer.weights:,} at {layer.weight_bits} bits" in label
    assert any(text.startswith(f"{layer.name} at 2 bits, Loss rise") for text in labels)


def test_arrow_keys_move_between_bars_and_escape_closes(show: Show, report: RunReport) -> None:
    script = """
      const bars = document.querySelectorAll(".bar");
      const press = (key) => document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key, bubbles: true }));
      const title = () => tooltip.hidden ? null : tooltip.querySelector("strong").textContent;
      const tooltip = document.getElementById("tooltip");
      bars[0].focus();
      const seen = [title()];
      for (const key of ["ArrowRight", "End", "ArrowRight", "Home", "Escape"]) {
        press(key);
        seen.push(title());
      }
      const stops = document.querySelectorAll("#bits svg [tabindex='0']").length;
      return { seen, stops };"""
    names = [layer.name for layer in report.layers]
    expected = [names[0], names[1], names[-1], names[-1], names[0], None]
    assert show(report, script).found == {"seen": expected, "stops": 1}


def test_bars_can_be_as_wide_as_their_layers_are_large(show: Show, report: RunReport) -> None:
    script = """
      const width = (i) => Number(document.querySelectorAll(".bar .hit")[i].getAttribute("width"));
      const all = () => Array.from(document.querySelectorAll(".bar .hit"), (_, i) => width(i));
      const equal = all();
      document.querySelectorAll("[name=bar-width]")[1].click();
      return [equal, all()];"""
    found = show(report, script).found
    assert isinstance(found, list)
    equal, proportional = found
    assert max(equal) - min(equal) < 1e-6
    assert sum(proportional) == pytest.approx(sum(equal))
    by_width = sorted(zip(proportional, report.layers, strict=True), key=lambda pair: pair[0])
    weights = [layer.weights for _, layer in by_width]
    assert weights == sorted(weights)


def test_layers_sort_by_any_column_in_both_directions(show: Show, report: RunReport) -> None:
    script = """
      const heads = document.querySelectorAll("#layers th[scope=col]");
      const names = () => Array.from(document.querySelectorAll("#layers tbody td:nth-child(2)"),
        (cell) => cell.textContent);
      const weights = heads[3];
      const click = () => weights.querySelector("button").click();
      click();
      const ascending = [names(), weights.getAttribute("aria-sort")];
      click();
      return [ascending, [names(), weights.getAttribute("aria-sort")]];"""
    layers = report.layers
    ascending = [la.name for la in sorted(layers, key=lambda la: la.weights)]
    descending = [la.name for la in sorted(layers, key=lambda la: -la.weights)]
    assert show(report, script).found == [[ascending, "ascending"], [descending, "descending"]]


def test_the_calibration_check_has_its_findings_and_figures(show: Show, report: RunReport) -> None:
    script = """
      const texts = (of) => Array.from(document.querySelectorAll(`#calibration ${of}`),
        (node) => node.textContent);
      return { rows: texts("tr.over"), tables: texts("caption"), takeaway: texts(".takeaway"),
        last: texts("p").at(-1),
        layers: texts("[aria-label='Shift by layer'] tbody tr").length };"""
    found = show(report, script).found
    assert isinstance(found, dict)
    (warning,) = found["rows"]
    assert warning == "warningThe inputs themselves differ.Prepare both in the same way."
    assert found["tables"] == ["Findings", "Shift by layer", "Clipping by precision group"]
    assert report.calibration is not None
    assert found["takeaway"] == [report.calibration.headline]
    assert "correlation of 0.78 (inferred from the standard errors)" in found["last"]
    assert found["layers"] == len(report.layers)


def test_hostile_names_are_shown_and_not_run(show: Show, hostile_report: RunReport) -> None:
    script = """
      const cells = document.querySelectorAll("#layers tbody td:nth-child(2)");
      return { hacked: document.documentElement.dataset.hacked ?? null,
        images: document.images.length,
        names: Array.from(cells, (cell) => cell.textContent) };"""
    names = [layer.name for layer in hostile_report.layers]
    found = show(hostile_report, script).found
    assert found == {"hacked": None, "images": 0, "names": names}


def test_leaves_out_what_a_report_does_not_have(show: Show, minimal_report: RunReport) -> None:
    script = "return Array.from(document.querySelectorAll('main > section[id]'), (s) => s.id);"
    found = show(minimal_report, script).found
    assert found == ["bits", "guarantees", "layers", "evidence", "provenance"]


def test_trouble_is_at_the_top(show: Show, troubled_report: RunReport) -> None:
    script = "return Array.from(document.querySelectorAll('.callout li'), (li) => li.textContent);"
    found = show(troubled_report, script).found
    assert isinstance(found, list)
    assert found[0].startswith("Flash is over its limit")
    assert found[1] == "model.onnx did not pass its verification."
    assert found[2:] == list(troubled_report.warnings)
