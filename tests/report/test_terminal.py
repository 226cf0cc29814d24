from __future__ import annotations

import io

from rich.console import Console

from sigmaquant.report import LayerScore, RunReport, guarantees, print_report
from sigmaquant.report.terminal import LAYER_ROWS


def printed(report: RunReport, encoding: str = "utf-8", width: int = 80) -> str:
    """What reaches a pipe."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, newline="\n") as pipe:
        print_report(report, Console(file=pipe, width=width))
        pipe.flush()
        return raw.getvalue().decode(encoding)


def test_every_line_fits_into_80_columns(report: RunReport) -> None:
    assert max(len(line) for line in printed(report).splitlines()) <= 80


def test_no_cell_is_folded_at_80_columns(report: RunReport) -> None:
    lines = printed(report).splitlines()
    rows = [line for line in lines if line.startswith(("conv1 ", "layer", "fc "))]
    assert [row.split()[0] for row in rows] == [layer.name for layer in report.layers]
    assert not any("…" in line for line in lines)


def test_tells_what_a_reader_asks_first(report: RunReport) -> None:
    text = " ".join(printed(report, width=200).split())
    for expected in (
        "accuracy 91.7 -> 91.5 %, fits cortex-m4",
        "ResNet20 on Cortex-M4 board, 80 MHz, 128 KiB RAM; plan: greedy (heuristic)",
        "Peak RAM 208 KiB 52 KiB 64 KiB ████████░░ 81 % derived",
        "no limit estimated",
        "Quality accuracy divergence samples",
        "finetuned 91.54 % 0.0187 9,980 / 128",
        "verified: 99,800 values equal the integer reference, 0.41x the time of float.",
        "Warning: The energy figures are estimates",
    ):
        assert expected in text


def test_every_guarantee_is_told(report: RunReport) -> None:
    text = " ".join(printed(report).split())
    sentences = guarantees(report)
    assert len(sentences) == 5
    assert all(sentence in text for sentence in sentences)


def test_layer_rows_show_bits_and_costs(report: RunReport) -> None:
    (row,) = (line for line in printed(report).splitlines() if line.startswith("layer3.0.conv2"))
    layer = next(layer for layer in report.layers if layer.name == "layer3.0.conv2")
    bar = "█" * layer.weight_bits + "░" * (8 - layer.weight_bits)
    assert f"36,864  {layer.weight_bits} {bar}" in row


def test_a_pipe_gets_no_colour_and_a_terminal_does(report: RunReport) -> None:
    assert "\x1b" not in printed(report)
    screen = io.StringIO()
    print_report(report, Console(file=screen, width=80, force_terminal=True))
    assert "\x1b[" in screen.getvalue()


def test_plain_ascii_where_the_encoding_has_no_blocks(report: RunReport) -> None:
    assert "########.. 81 %" in printed(report, encoding="ascii")


def test_names_are_neither_markup_nor_control_codes(hostile_report: RunReport) -> None:
    text = printed(hostile_report)
    assert "\x1b" not in text
    assert "?[31mred?[0m??" in text
    assert "[bold red]x[/bold red]" in text


def test_long_names_keep_their_ends(report: RunReport) -> None:
    name = "backbone.stage4.block11.depthwise"
    named = report.layers[0].model_copy(update={"name": name})
    only = report.model_copy(update={"layers": (named,)})
    assert "backbo..ck11.depthwise " in printed(only)
    assert f"{name} " in printed(only, width=120)


def test_the_widest_row_fits_into_80_columns(report: RunReport) -> None:
    widest = report.layers[0].model_copy(
        update={
            "name": "a" * 200,
            "weights": 98_765_432,
            "flash_bytes": 1_294_000,
            "latency_ms": 123.4567,
            "scores": {bits: LayerScore(rise=-1.234e-05) for bits in range(2, 9)},
        }
    )
    lines = printed(report.model_copy(update={"layers": (widest,)})).splitlines()
    (row,) = (line for line in lines if line.startswith("aaa"))
    assert row.endswith("-1.2e-05")
    assert len(row) <= 80


def test_deep_networks_list_their_largest_layers(deep_report: RunReport) -> None:
    lines = printed(deep_report).splitlines()
    assert sum("█" in line and "%" not in line for line in lines) == LAYER_ROWS
    left_out = len(deep_report.layers) - LAYER_ROWS
    assert f"{left_out} smaller layers are only in report.html." in lines


def test_trouble_is_named(troubled_report: RunReport) -> None:
    text = " ".join(printed(troubled_report, width=200).split())
    assert "exceeds the flash budget on cortex-m4" in text
    assert "NOT VERIFIED: 12 of 99,800 values differ" in text


def test_accepted_differences_are_counted(report: RunReport) -> None:
    close = report.exports[0].model_copy(update={"differing_values": 3, "max_difference": 0.004})
    text = " ".join(printed(report.model_copy(update={"exports": (close,)})).split())
    assert "verified: 3 of 99,800 values differ, by at most 0.004" in text


def test_a_share_just_below_the_limit_is_not_called_full(report: RunReport) -> None:
    nearly = report.budgets[0].model_copy(update={"limit": 1000.0, "used": 999.0})
    assert "█████████░ 99 %" in printed(report.model_copy(update={"budgets": (nearly,)}))


def test_prints_a_report_without_anything_optional(minimal_report: RunReport) -> None:
    assert "no limits set" in printed(minimal_report)
