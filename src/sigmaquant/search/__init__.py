"""From scores, costs and budgets to a width for each layer and each precision group.

The solvers see tables only, no network and no device: what a choice of width costs and how much
the loss rises by it are looked up, never computed from the number of bits. So they are pure,
run in milliseconds, and are tested by hand-made tables with brute force beside them. ``Refine``,
and ``Sigma`` if it can, also measure plans, by a function that they are given: a ``Measure``.

``check_feasible`` says what a device can reach at all, before anything expensive is computed;
``search`` answers with a ``Solution`` that keeps every budget and says how far it is proven;
``pareto`` with a ``Front`` of them that trade the loss and the costs for each other;
``never_worse_than_uniform`` holds it against every uniform plan by measured loss.
"""

from sigmaquant.search.close_calls import CloseCall
from sigmaquant.search.exact import Exact, least
from sigmaquant.search.feasibility import check_feasible, reachable
from sigmaquant.search.front import Front
from sigmaquant.search.greedy import Greedy
from sigmaquant.search.measurement import Measure
from sigmaquant.search.pareto import pareto
from sigmaquant.search.problem import Problem
from sigmaquant.search.reachability import Conflict, MetricReach, Reachability
from sigmaquant.search.refine import Refine
from sigmaquant.search.run import search
from sigmaquant.search.sigma import Sigma
from sigmaquant.search.solution import Comparison, Refinement, Solution
from sigmaquant.search.strategies import STRATEGIES
from sigmaquant.search.strategy import Strategy
from sigmaquant.search.uniform import never_worse_than_uniform, uniform_plans

__all__ = [
    "STRATEGIES",
    "CloseCall",
    "Comparison",
    "Conflict",
    "Exact",
    "Front",
    "Greedy",
    "Measure",
    "MetricReach",
    "Problem",
    "Reachability",
    "Refine",
    "Refinement",
    "Sigma",
    "Solution",
    "Strategy",
    "check_feasible",
    "least",
    "never_worse_than_uniform",
    "pareto",
    "reachable",
    "search",
    "uniform_plans",
]
