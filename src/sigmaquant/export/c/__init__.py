"""Integer programs as C99 libraries: no dependencies, no heap, weights at their true width.

A folder holds the network's tables and its one function (``model.c``), the kernels for the
operators and widths that it uses, and a program that checks the library against stored results.

- ``packing``: weights of 2 to 8 bits as words, in NumPy; ``kernels/sq_packing.h`` reads them.
- ``layout``: in what order the elements of a value are stored.
- ``values``: values of 2, 4 or 8 bits side by side, in NumPy; ``kernels/sq_values.h`` reads them.
- ``schedule``: what is called in what order, and where a copy has to come between.
- ``tails``: the softmax that may end a network.
- ``arena``: where each buffer lies in memory.
- ``literals``: numbers and tables as C text.
- ``multipliers``: what a requantization multiplies by, as a word.
- ``calls``, ``layers``: one writer for each operator; those with weights are in ``layers``.
- ``records``, ``sheet``: what the writers share.
- ``model``: puts them together.
- ``folder``: the files, with those of ``kernels/`` and ``project/``, which are C as it is.
- ``manifest``: what a library says of itself.
- ``compiler``, ``runtime``: build and run it on this machine; ``host/`` is the program for that.
- ``verify``: compares it with the integer reference.
"""
