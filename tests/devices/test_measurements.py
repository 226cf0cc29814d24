from __future__ import annotations

import pytest

from sigmaquant.devices.measurements import read_measurements
from sigmaquant.errors import DataError


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "board.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_rows_hold_what_was_measured_with_paths_beside_the_file(written, tmp_path):
    path = written(
        "network,layer,plan,latency_ms,energy_uj\n"
        "net.pt2,,,41.5,\n"
        "net.pt2,conv1,low/plan.json, 1.25 ,3\n"
    )
    whole, layer = read_measurements(path)
    assert (whole.network, whole.latency_ms) == (tmp_path / "net.pt2", 41.5)
    assert (whole.layer, whole.plan, whole.energy_uj) == (None, None, None)
    assert (layer.layer, layer.latency_ms, layer.energy_uj) == ("conv1", 1.25, 3.0)
    assert layer.plan == tmp_path / "low" / "plan.json"


def test_two_columns_are_enough_and_a_byte_order_mark_does_no_harm(written):
    (row,) = read_measurements(written("\ufeffnetwork,latency_ms\r\nnet.pt2,3\r\n"))
    assert row.latency_ms == 3


def test_remarks_stand_anywhere_and_lines_keep_their_numbers(written):
    remarked = '# board 7\n\nnetwork,layer,latency_ms\n# warm\nn,"a,""b""",2\n\nn,,'
    first, second = read_measurements(written(f"{remarked}3\n"))
    assert (first.layer, second.layer, second.latency_ms) == ('a,"b"', None, 3)
    with pytest.raises(DataError, match=":7: latency_ms"):
        read_measurements(written(f"{remarked}x\n"))
    with pytest.raises(DataError, match=":2: unknown column 'name'"):
        read_measurements(written("# remark\nname\nn\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no column 'network'"),
        ("network\nnet.pt2\n", ":1: no column 'latency_ms'"),
        ("network,latency\nn,1\n", ":1: unknown column 'latency'; did you mean 'latency_ms'?"),
        ("network,latency_ms,q\nn,1,2\n", "unknown column 'q'; known: network, latency_ms"),
        ("network,latency_ms,latency_ms\nn,1,2\n", "twice"),
        ("network,latency_ms\n", "has no measurements"),
        ("network,latency_ms\nn,1\nn,fast\n", ":3: latency_ms: expected a number above 0, not 'f"),
        ("network,latency_ms\nn,0\n", "above 0, not '0'"),
        ("network,latency_ms\nn,nan\n", "above 0, not 'nan'"),
        ("network,latency_ms\nn,inf\n", "above 0, not 'inf'"),
        ("network,latency_ms,energy_uj\nn,1,-2\n", ":2: energy_uj: expected a number above 0"),
        ("network,latency_ms\n,1\n", ":2: no network"),
        ("network,latency_ms\nn\n", ":2: not as many values"),
        ("network,latency_ms\nn,1,2\n", ":2: not as many values"),
        ('network,latency_ms\n"n,1\n', "cannot read"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_line(written, text, expected):
    with pytest.raises(DataError) as caught:
        read_measurements(written(text))
    assert expected in str(caught.value)
    assert "board.csv" in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read the measurements: No such file"):
        read_measurements(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read the measurements"):
        read_measurements(tmp_path / "binary.csv")
