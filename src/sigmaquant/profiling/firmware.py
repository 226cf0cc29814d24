"""Firmware that times an exported C library on a board, and prints what ``devices fit`` reads."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import ArtifactError
from sigmaquant.export.c.literals import vector
from sigmaquant.export.c.manifest import Manifest
from sigmaquant.export.folders import folder_written_atomically
from sigmaquant.layers import LayerTable

NETWORK_FILE, PLAN_FILE = "network.json", "plan.json"
"""Named by each row that the firmware prints; they lie beside it."""

_PROGRAM = ("bench.c", "bench.h", "clock.c", "main.c", "Makefile")
_LIBRARY = ("model.h", "check_vectors.h")
_HOOK = '#include "bench.h"\n'  # defines what model.c calls after each step
_OWN_FILES = re.compile(
    r"(bench|clock|main|model|check_vectors|bench_names|kernels/sq_\w+)\.[cho]|network\.json"
    r"|plan\.json|Makefile|libbench\.a|run"
)
"""What is written and built here; results that somebody measured are not replaced."""


def write_firmware(
    library: Path, table: LayerTable, path: str | Path, plan: BitPlan | None = None
) -> None:
    """Write a folder with a library, a program that times its steps, and the network's records.

    Args:
        library: folder of an exported C library.
        table: the network that it was made of.
        path: the new folder; an earlier firmware is replaced.
        plan: its widths; by default the library's, with activations of 8 bits.

    Raises:
        ArtifactError: no library, one of an earlier version, or of another network or plan.
        OutputError: the folder cannot be written, or holds other files.
    """
    manifest = Manifest.load(library / "model.json")
    if not manifest.steps:
        raise ArtifactError(f"{library} does not name its steps: export it again")
    widths = BitPlan.uniform(table, 8) if plan is None else plan
    widths = widths.with_weight_bits(manifest.weight_bits, "of the C library")
    _check_same(library, manifest, table, plan or widths)
    with folder_written_atomically(path, _OWN_FILES, "firmware") as folder:
        table.save(folder / NETWORK_FILE)
        widths.save(folder / PLAN_FILE)
        (folder / "bench_names.h").write_text(_names(manifest), encoding="utf-8")
        _copy_library(library, folder)
        for name in _PROGRAM:
            text = (
                resources.files("sigmaquant.profiling").joinpath("board", name).read_text("utf-8")
            )
            (folder / name).write_text(text, encoding="utf-8")


def _check_same(library: Path, manifest: Manifest, table: LayerTable, plan: BitPlan) -> None:
    names = {layer.name for layer in table.layers}
    if set(manifest.weight_bits) != names:
        differing = sorted(names.symmetric_difference(manifest.weight_bits))
        raise ArtifactError(
            f"{library} is of another network than {table.network}: only one of them has a layer "
            f"{differing[0]!r}"
        )
    for layer, bits in manifest.weight_bits.items():
        if plan.weight_bits.get(layer) != bits:
            raise ArtifactError(
                f"{library} has another plan: {layer!r} is stored in {bits} bits, and the plan "
                f"says {plan.weight_bits.get(layer)}"
            )


def _copy_library(library: Path, folder: Path) -> None:
    try:
        for name in _LIBRARY:
            shutil.copyfile(library / name, folder / name)
        model = (library / "model.c").read_text(encoding="utf-8")
        (folder / "model.c").write_text(_HOOK + model, encoding="utf-8")
        kernels = [file for file in (library / "kernels").iterdir() if file.suffix in (".c", ".h")]
        (folder / "kernels").mkdir()
        for file in kernels:
            shutil.copyfile(file, folder / "kernels" / file.name)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{library} is no whole C library: {error.filename} is missing"
        ) from error


def _names(manifest: Manifest) -> str:
    """The layers in the order of their first step, and which one each step belongs to."""
    layers = list(dict.fromkeys(step.layer for step in manifest.steps if step.layer is not None))
    places = {layer: at for at, layer in enumerate(layers)}
    owners = [len(layers) if step.layer is None else places[step.layer] for step in manifest.steps]
    return "\n".join(
        [
            "/* Written by SigmaQuant: what the rows are called. */",
            "#include <stdint.h>",
            "",
            f'#define BENCH_NETWORK "{NETWORK_FILE}"',
            f'#define BENCH_PLAN "{PLAN_FILE}"',
            f"#define BENCH_STEPS {len(owners)}",
            f"#define BENCH_LAYERS {len(layers)}",
            "",
            "/* As they stand in a CSV file. */",
            f"static const char *const bench_layers[BENCH_LAYERS] = {_texts(layers)};",
            "",
            "/* By step; BENCH_LAYERS is none. */",
            f"static const uint16_t bench_layer_of[BENCH_STEPS] = {vector(owners)};",
            "",
        ]
    )


def _texts(names: Sequence[str]) -> str:
    return "{\n" + "".join(f"    {_literal(_cell(name))},\n" for name in names) + "}"


def _cell(text: str) -> str:
    """As a value of a CSV file."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow([text])
    return row.getvalue()


def _literal(text: str) -> str:
    """As a string of C; bytes that are not plain ASCII become octal numbers."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')  # ? could begin a trigraph
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
