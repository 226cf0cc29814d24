"""What a verification found: the same record for every format, and free of any runtime."""

from __future__ import annotations

import pydantic

from sigmaquant.artifact import Frozen


class Verification(Frozen):
    """What was compared, and what the runtime makes of the file.

    Attributes:
        runtime: name and version.
        samples: inputs that were run.
        values: output values compared.
        differing: how many of them differ from the reference.
        largest_difference: in the outputs' unit.
        exact: whether equality was required of every operator.
        kernels: how often each operator occurs in the graph that the runtime really runs.
        file_bytes: size of the file; of a C library its constants, which is what flash holds.
        ram_bytes: memory that the file's network is planned to use, where that is planned ahead.
        verified: False where nothing could be compared, because this machine cannot run the file.
        largest_steps: by kernels and operator, how far its integers were from the reference on the
            same inputs, in steps of its output; empty where equality was required.
    """

    runtime: str
    samples: int
    values: int
    differing: int
    largest_difference: float
    exact: bool
    kernels: dict[str, int]
    file_bytes: int
    ram_bytes: int | None = None
    verified: bool = True
    largest_steps: dict[str, int] = pydantic.Field(default_factory=dict)
