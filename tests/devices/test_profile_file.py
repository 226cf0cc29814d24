from __future__ import annotations

import pytest

from sigmaquant.devices import available_profiles, load_profile
from sigmaquant.devices.energy_models import UnknownEnergy
from sigmaquant.devices.profile_file import write_profile
from sigmaquant.errors import OutputError


@pytest.mark.parametrize("name", available_profiles())
def test_every_profile_is_read_back_as_it_was(name, tmp_path):
    profile = load_profile(name)
    write_profile(profile, tmp_path / "new" / "mine.toml")
    assert load_profile(tmp_path / "new" / "mine.toml") == profile


def test_text_is_quoted_and_figures_by_width_stand_on_a_line(tmp_path):
    energy = UnknownEnergy(model="unknown", reason='no "counter" here\nat all \u00b5')
    profile = load_profile("cortex-m4").model_copy(update={"energy": energy})
    write_profile(profile, tmp_path / "mine.toml")
    text = (tmp_path / "mine.toml").read_text(encoding="utf-8")
    assert 'reason = "no \\"counter\\" here\\nat all \u00b5"' in text
    assert "[latency.kernels.conv]" in text
    assert "conv = { 2 = [8], " in text


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_profile(load_profile("cortex-m4"), tmp_path / "file" / "mine.toml")
