"""Describes a flow file: see metaflow._describe._main. This file is read by any Python, to say which one is too old."""

import os
import sys

if sys.version_info < (3, 9):
    sys.stdout.write('{"python": "%d.%d.%d"}' % sys.version_info[:3])
    sys.exit(3)

if __name__ == "__main__":
    # The folder of this script stands behind the flow's own, which loading the flow puts first.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from metaflow._bytecode import keep

    keep(sys.path[0])
    from metaflow._describe._main import main

    main()
