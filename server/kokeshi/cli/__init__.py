"""The command line: `kokeshi COMMAND`, each command a module of this package.

Exit status: 0 done, 1 the operation failed, 2 wrong usage, 3 no server answers, 130 interrupted.
"""

import os


def main() -> None:
    """Runs the command line."""
    # Before NumPy and FAISS are imported: threads of their own that spin would take the cores from
    # the engine's and the decoders'.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from kokeshi.cli.app import app

    app(prog_name="kokeshi")
