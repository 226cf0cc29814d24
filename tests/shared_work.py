"""What the tests of several processes run in each of them: ``python -m tests.shared_work FOLDER``.

The same functions are called in the test's own process, as the single rank.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import sigmaquant as sq
from sigmaquant.bitplan import BitPlan
from sigmaquant.calibration import read_batches
from sigmaquant.calibration.ranges import group_histograms
from sigmaquant.errors import DataError, MissingExtraError, PeerError
from sigmaquant.finetune import finetune
from sigmaquant.launch import launched_ranks
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.ranks import Ranks, differing_rank, on_each
from sigmaquant.run_directory import RunDirectory, artifact_form
from sigmaquant.scores import SensitivityTable
from sigmaquant.sensitivity import score
from sigmaquant.sensitivity.candidates import weight_candidates
from tests import nets


def candidates(ranks: Ranks, folder: Path) -> Any:
    network = nets.captured("resnet")
    batches = read_batches(nets.loader("resnet"), network)
    found = weight_candidates(network, batches, "compensated", len(batches), ranks)
    return [
        {
            layer: {bits: (c.weight, c.bias_shift) for bits, c in by_width.items()}
            for layer, by_width in fold.items()
        }
        for fold in found
    ]


def histograms(ranks: Ranks, folder: Path) -> Any:
    network = nets.captured("resnet")
    found = group_histograms(network, read_batches(nets.loader("resnet", 3), network), ranks)
    return {group: (h.low, h.high, h.counts) for group, h in found.items()}


def taylor(ranks: Ranks, folder: Path) -> Any:
    return _scores(ranks, metric="taylor", activation_widths=(4, 8), batches=3)


def loss(ranks: Ranks, folder: Path) -> Any:
    return _scores(ranks, metric="loss", batches=2)


def one_batch(ranks: Ranks, folder: Path) -> Any:
    """Fewer batches than ranks: the second has nothing to score."""
    return _scores(ranks, metric="taylor", rounding="nearest", batches=1)


def _scores(ranks: Ranks, *, batches: int, **options: Any) -> str:
    network, data = nets.captured("resnet"), nets.loader("resnet", batches)
    return score(network, data, ranks=ranks, **options).model_dump_json()


def stage(ranks: Ranks, folder: Path) -> Any:
    """A stage that is shared, then read; what was written, and how often it was made."""
    made: list[str] = []

    def make() -> SensitivityTable:
        made.append("table")
        return score(nets.captured("mlp"), metric="sigma")

    names = []
    for shared in (True, False, False):
        directory = RunDirectory(folder / "run", ranks)
        table = directory.stage(
            f"shared {shared}",
            f"{shared}.json",
            inputs=[],
            make=make,
            form=artifact_form(SensitivityTable),
            shared=shared,
        )
        names.append(table.metric)
    return names, len(made) if ranks.index == 0 else len(made) + 1


SAME: dict[str, Callable[[Ranks, Path], Any]] = {
    work.__name__: work for work in (candidates, histograms, taylor, loss, one_batch, stage)
}
"""What comes out the same on every rank, however many there are."""


def untrained() -> QuantizedNetwork:
    """Where training starts."""
    return nets.quantized("mlp", 3, rounding="nearest")


def training(ranks: Ranks, folder: Path) -> Any:
    """Parameters after some epochs, with batches of odd sizes and one of a single sample."""
    start = untrained()
    (inputs,) = nets.samples("mlp", 48)
    batches = inputs.split([13, 16, 1, 18])
    tuned = finetune(
        start.network,
        start.plan,
        [(batch,) for batch in batches],
        epochs=2,
        start=start,
        calibration=nets.loader("mlp", 3),
        checkpoint=folder / "training.partial",
        ranks=ranks,
    )
    return tuned.state()


def meetings(ranks: Ranks, folder: Path) -> Any:
    """What ranks tell each other."""
    doubled, ones = ranks.total([torch.tensor([1.0, ranks.index]), torch.ones(2, 1)])
    return {
        "together": ranks.together(lambda: ranks.index),
        "from main": ranks.from_main(lambda: f"from {ranks.index}"),
        "on each": on_each(ranks, lambda: ranks.index),
        "total": (doubled.tolist(), ones.tolist()),
        "differing": differing_rank(ranks, str(ranks.index)),
        "same": differing_rank(ranks, "same"),
    }


def errors(ranks: Ranks, folder: Path) -> Any:
    """What each rank sees of an error that one of them has."""

    def of(index: int, error: Exception) -> Callable[[], None]:
        def work() -> None:
            if ranks.index == index:
                raise error

        return work

    def other_data() -> SensitivityTable:
        batches = nets.loader("mlp", 2 + ranks.index)
        return score(nets.captured("mlp"), batches, ranks=ranks)

    def other_folder() -> None:
        own = RunDirectory(folder / f"rank{ranks.index}", ranks)
        form = artifact_form(SensitivityTable)
        own.stage("s", "s.json", inputs=[], make=table, form=form)

    def table() -> SensitivityTable:
        return score(nets.captured("mlp"), metric="sigma")

    def other_length() -> None:
        plan, data = BitPlan.uniform(nets.captured("mlp").table, 3), nets.loader("mlp", 3)
        batches = data[ranks.index :]
        finetune(nets.captured("mlp"), plan, batches, calibration=data, ranks=ranks)

    return [
        _raised(lambda: ranks.together(of(1, DataError("no samples")))),
        _raised(lambda: ranks.from_main(of(0, MissingExtraError("charts", "plots")))),
        _raised(lambda: ranks.together(of(1, ValueError("a bug")))),
        _raised(lambda: ranks.from_main(of(0, ValueError("a bug")))),
        _raised(other_data),
        _raised(other_folder),
        _raised(other_length),
    ]


def _raised(work: Callable[[], object]) -> str:
    try:
        work()
    except (sq.SigmaQuantError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def killed(ranks: Ranks, folder: Path) -> Any:
    """What the first rank sees when the other ends without a word."""
    if ranks.index == 1:
        os._exit(9)
    try:
        ranks.together(lambda: 0)
    except PeerError as error:
        return str(error)
    return "nothing"


def main() -> None:
    folder, ranks = Path(sys.argv[1]), launched_ranks()
    torch.manual_seed(0)
    results = {name: work(ranks, folder) for name, work in SAME.items()}
    results["training"] = training(ranks, folder)
    results["meetings"] = meetings(ranks, folder)
    results["errors"] = errors(ranks, folder)
    torch.save(results, folder / f"{ranks.index}.pt")
    seen = killed(ranks, folder)
    (folder / "killed.txt").write_text(seen, encoding="utf-8")


if __name__ == "__main__":
    main()
