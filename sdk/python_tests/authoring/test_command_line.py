"""python flow.py …: the hand-over to the mf binary."""

import os
import stat
import subprocess
import sys
import tempfile
import unittest

import metaflow

FLOW = """
from metaflow import FlowSpec, step

class Mine(FlowSpec):
    @step
    def start(self):
        pass

if __name__ == "__main__":
    Mine()
    print("not reached")
"""


class HandOver(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)
        with open(os.path.join(self.folder, "flow.py"), "w") as file:
            file.write(FLOW)
        self.binary = os.path.join(self.folder, "mf")
        with open(self.binary, "w") as file:
            file.write('#!/bin/sh\nfor a in "$@"; do echo "<$a>"; done\nexit 7\n')
        os.chmod(self.binary, os.stat(self.binary).st_mode | stat.S_IXUSR)

    def run_flow(self, *arguments, **environment):
        env = {k: v for k, v in os.environ.items() if k != "MF_BINARY"}
        env["PYTHONPATH"] = os.path.dirname(os.path.dirname(os.path.abspath(metaflow.__file__)))
        done = subprocess.run(
            [sys.executable, "flow.py", *arguments],
            cwd=self.folder,
            env={**env, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def test_arguments(self):
        path = os.path.join(self.folder, "flow.py")
        want = (7, f"<__python>\n<{path}:Mine>\n<run>\n<--alpha>\n<a b>\n", "")
        self.assertEqual(self.run_flow("run", "--alpha", "a b", MF_BINARY=self.binary), want)
        self.assertEqual(self.run_flow("run", "--alpha", "a b", PATH=self.folder + os.pathsep + os.environ["PATH"]), want)

    def test_no_binary(self):
        code, out, err = self.run_flow("run", PATH="/nonexistent")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("the mf program was not found. Put it on the PATH, or set MF_BINARY", err)

    def test_broken_binary(self):
        code, _, err = self.run_flow("run", MF_BINARY=os.path.join(self.folder, "none"))
        self.assertEqual(code, 1)
        self.assertIn("cannot be run: No such file or directory", err)


if __name__ == "__main__":
    unittest.main()
