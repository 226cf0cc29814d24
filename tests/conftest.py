"""One thread for everything: the same sums in the same order, and no fight over two cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
