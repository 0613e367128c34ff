"""The process that runs the Python steps of one flow; started by the task runtime (docs/step-protocol.md).

Usage: mf_worker.py [--task] FLOW_FILE[:CLASS], with the number of a Unix stream socket in MF_PROTOCOL_FD.
"""

import os
import sys

if sys.version_info < (3, 9):
    sys.exit(3)  # mf_describe.py says it

if __name__ == "__main__":
    from metaflow._bytecode import keep

    keep(os.path.dirname(os.path.abspath(__file__)))
    from metaflow._run.zygote import main

    sys.exit(main(sys.argv[1:]))
