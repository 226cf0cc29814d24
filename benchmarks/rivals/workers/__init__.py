"""What runs in a rival's own environment: one script a tool, on files alone.

Nothing here imports SigmaQuant or the rest of the benchmarks; a test holds that. The tools share
``networks`` (plain torch modules) and ``exchange`` (the files).
"""
