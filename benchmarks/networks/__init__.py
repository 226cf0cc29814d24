"""The networks of the benchmarks: plain torch modules whose names fit the weight files.

What turns stored samples into inputs (scaling, normalisation) stands in ``catalogue.py``, beside
each network but outside it, so that capture sees the network alone.
"""

from benchmarks.networks.catalogue import NETWORKS, BenchNetwork, load_network

__all__ = ["NETWORKS", "BenchNetwork", "load_network"]
