"""The rivals benchmark: other tools and ours on the same networks, images and budgets.

Each rival runs in its own environment (``environments``) and sees files only (``workers``).
"""
