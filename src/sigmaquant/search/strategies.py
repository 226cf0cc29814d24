"""All strategies by name."""

from __future__ import annotations

import difflib

from sigmaquant.errors import ConfigError
from sigmaquant.search.exact import Exact
from sigmaquant.search.greedy import Greedy
from sigmaquant.search.refine import Refine
from sigmaquant.search.sigma import Sigma
from sigmaquant.search.strategy import Strategy

STRATEGIES: dict[str, Strategy] = {
    "exact": Exact(),
    "greedy": Greedy(),
    "sigma": Sigma(),
    "refine": Refine(),
}


def strategy_named(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        ConfigError: there is none; names the nearest one.
    """
    if name not in STRATEGIES:
        nearest = difflib.get_close_matches(name, STRATEGIES, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"unknown strategy {name!r}; did you mean {nearest!r}? Known: {', '.join(STRATEGIES)}"
        )
    return STRATEGIES[name]
