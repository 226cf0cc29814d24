"""The command line: one file a subcommand, each of which parses, calls one function and prints.

Results go to stdout, progress and logs to stderr. Commands import what they need when they run, so
that ``--help`` and ``devices`` answer without loading torch.
"""
