"""How a profile's figures are found: by timing this host, or by counting in an emulated Cortex-M.

In the emulator:

- ``image``: a linked program; ``cross_compiler`` makes it, with the files of ``bare/``.
- ``emulator``: runs it, and says which blocks of code were executed how often.
- ``instructions``, ``decoding``: what these blocks consist of.
- ``cortex_m4``, ``cortex_m7``: their cycles, by models whose limits stand with them.
- ``cores``: the processors.
- ``counts``: instructions and cycles by function.
- ``emulated_network``: an exported C library that runs this way; ``verification`` proves it.
- ``emulated_grid``, ``emulated_fit``, ``emulated``: layers that are counted, and a profile of them.

On this host, in ONNX Runtime:

- ``host_chains``, ``host_grid``: what is timed; ``host_timing``: how.
- ``host_energy``: the power meanwhile, where the machine has counters.
- ``host_fit``, ``host_profile``: from times to a profile; ``host`` does it all.

On a board:

- ``firmware``: a program that times an exported C library there, with the files of ``board/``.

For any target:

- ``relative_fit``: coefficients of a sum of costs, from measured times.
- ``profiled``: a profile, and how well it tells what was measured.
"""
