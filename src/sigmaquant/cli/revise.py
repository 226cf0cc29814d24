"""``sigmaquant revise``: the plan that suits a fine-tuned network better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sigmaquant.budget import Budget
from sigmaquant.cli import options
from sigmaquant.cli.output import print_json, print_line
from sigmaquant.cli.reading import Config, calibration_batches, data_settings
from sigmaquant.cli.search import print_plan


def revise(
    network: options.Network,
    scores: Annotated[
        Path, typer.Argument(metavar="SCORES.json", help="Written by [b]sigmaquant score[/b].")
    ],
    finetuned: Annotated[
        Path,
        typer.Argument(
            metavar="FINETUNED.safetensors", help="Written by [b]sigmaquant finetune[/b]."
        ),
    ],
    device: Annotated[str, options.DEVICE],
    runtime: Annotated[str | None, options.RUNTIME] = None,
    flash: options.Flash = None,
    ram: options.Ram = None,
    latency: options.Latency = None,
    energy: options.Energy = None,
    activation_bits: options.ActivationBits = None,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    calibration_samples: Annotated[int | None, options.CALIBRATION_SAMPLES] = None,
    config: Config = None,
    rounding: Annotated[
        str | None,
        typer.Option(help="Of layers of another width; by default as the runtime stores weights."),
    ] = None,
    seed: Annotated[int, options.SEED] = 0,
    plan_out: Annotated[Path, typer.Option(metavar="FILE", help="The plan to write.")] = Path(
        "revised_plan.json"
    ),
    out: Annotated[Path, options.OUT] = Path("revised.safetensors"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure the plans next to a fine-tuned network's, and keep what gains more than noise.

    The network under the new plan is to be fine-tuned again: sigmaquant finetune network.pt2
    revised_plan.json --start revised.safetensors.

    Example: sigmaquant revise network.pt2 scores.json finetuned.safetensors --device cortex-m4
    --flash 64KiB --calibration calibration.npz
    """
    from sigmaquant.costs import cost_table
    from sigmaquant.network import Network
    from sigmaquant.quantized import QuantizedNetwork
    from sigmaquant.scores import SensitivityTable
    from sigmaquant.stages import revise as revise_network
    from sigmaquant.stages import target_profile

    data = data_settings(
        config,
        calibration=calibration,
        batch_size=batch_size,
        calibration_samples=calibration_samples,
    )
    captured = Network.load(network)
    profile = target_profile(device, runtime)
    sensitivities = SensitivityTable.load(scores)
    budget = Budget(flash=flash, ram=ram, latency=latency, energy=energy)
    tuned = QuantizedNetwork.load(finetuned, captured)
    revised = revise_network(
        tuned,
        sensitivities,
        calibration=calibration_batches(captured, data),
        device=profile,
        budget=budget,
        activation_bits=activation_bits,
        rounding=rounding,
        seed=seed,
    )
    revised.save(out)
    revised.plan.save(plan_out)
    changed = any(tuned.plan.differing(revised.plan))
    if json:
        print_json({"revised": str(out), "plan": str(plan_out), "changed": changed})
        return
    print_plan(
        revised.plan, captured.table, cost_table(captured.table, profile, sensitivities), budget
    )
    print_line(f"{'revised' if changed else 'no plan was better'}: {out}, {plan_out}")
