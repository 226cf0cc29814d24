from __future__ import annotations

import pytest

from sigmaquant.devices import Evidence, load_profile, profile_path
from sigmaquant.devices.fitted_file import write_fitted
from sigmaquant.devices.profile import Calibration
from sigmaquant.errors import DeviceError, OutputError
from sigmaquant.layers import LayerKind

FITTED = Calibration(
    source='2 measurements in "board".csv, fitted from cortex-m4',
    kind=Evidence.DERIVED,
    latency_scale={
        LayerKind.CONV: 0.1 + 0.2,
        LayerKind.DEPTHWISE_CONV: 1.5,
        LayerKind.LINEAR: 1e-3,
    },
    other_latency_scale=2.0,
    energy_scale=0.5,
    measurements=2,
    left_out_percent=11.25,
)


@pytest.mark.parametrize("origin", ["cortex-m4", "qcs6490", "mpic"])
@pytest.mark.parametrize("left_out", [None, 11.25])
def test_a_fitted_file_is_the_origin_with_a_name_and_factors(tmp_path, origin, left_out):
    path = tmp_path / "boards" / "mine.toml"
    calibration = FITTED.model_copy(update={"left_out_percent": left_out})
    write_fitted(profile_path(origin), 'my "board"', calibration, path)
    expected = load_profile(origin).model_copy(
        update={"name": 'my "board"', "calibration": calibration}
    )
    assert load_profile(path) == expected
    # Comments and sources stay.
    kept = [line for line in path.read_text().splitlines() if not line.startswith("name")]
    own = [li for li in profile_path(origin).read_text().splitlines() if not li.startswith("name")]
    assert kept[: len(own)] == own


def test_the_origin_is_never_overwritten(tmp_path):
    origin = tmp_path / "mine.toml"
    origin.write_bytes(profile_path("cortex-m4").read_bytes())
    with pytest.raises(DeviceError, match="name another file"):
        write_fitted(origin, "x", FITTED, origin)


def test_a_name_that_cannot_be_found_is_refused(tmp_path):
    origin = tmp_path / "odd.toml"
    origin.write_text(profile_path("cortex-m4").read_text().replace("name =", '"name" =', 1))
    with pytest.raises(DeviceError, match="its name has to stand on one line"):
        write_fitted(origin, "x", FITTED, tmp_path / "out.toml")
    assert not (tmp_path / "out.toml").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_fitted(profile_path("cortex-m4"), "x", FITTED, tmp_path / "file" / "out.toml")
