"""The deploy benchmark: files of every format in their own runtimes, beside the vendors' files.

- ``subjects``: networks with calibration and test samples, and the vendor's int8 file.
- ``targets``: formats with the runtime that widths are chosen for.
- ``bench``: plans, files and measurements of one network.
- ``table``: what the page shows.
"""
