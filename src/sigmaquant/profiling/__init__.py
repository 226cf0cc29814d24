"""How a profile's figures are found: Cortex-M code that runs in an emulator and is counted.

- ``image``: a linked program; ``cross_compiler`` makes it, with the files of ``bare/``.
- ``emulator``: runs it, and says which blocks of code were executed how often.
- ``instructions``, ``decoding``: what these blocks consist of.
- ``cortex_m4``, ``cortex_m7``: their cycles, by models whose limits stand with them.
- ``cores``: the processors.
- ``counts``: instructions and cycles by function.
- ``emulated_network``: an exported C library that runs this way.
"""
