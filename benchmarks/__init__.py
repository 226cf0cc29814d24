"""Benchmarks on real networks and labelled data; run from the project's root, not installed."""
