"""The zygote: loading, forking, its messages and its end."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
import unittest

from .flows import ProcessTest
from .harness import SDK, TIMEOUT, Peer, Worker, wait_until


class ZygoteTest(ProcessTest):
    def test_describe_and_load_once(self) -> None:
        worker = self.flow("pass", head="print('loaded', flush=True)")
        first = worker.describe()
        self.assertEqual((first["op"], first["flow"]["name"]), ("described", "F"))
        self.assertEqual(worker.describe(), first)
        self.assertEqual(first["python"], sys.version)

    def test_a_flow_that_cannot_be_loaded(self) -> None:
        worker = self.worker("import no_such_module\n")
        answer = worker.describe()
        self.assertIsNone(answer["flow"])
        self.assertTrue(answer["diagnostics"])
        task = worker.init()
        self.assertIn("no_such_module", task.error["message"])
        self.assertIn("no_such_module", task.stderr)
        self.assertEqual(task.exited["code"], 1)

    def test_many_children_at_once(self) -> None:
        worker = self.flow("self.x = 1")
        worker.describe()
        peers = [worker.fork(str(number)) for number in range(20)]
        for peer, *_ in peers:
            peer.send({"op": "step", "step": "start", "inputs": [], "next": {"targets": ["end"]}})
        ended = [worker.control.receive()[0] for _ in peers]
        self.assertEqual({(e["op"], e["code"], e["signal"]) for e in ended}, {("exited", 0, 0)})
        self.assertEqual({e["id"] for e in ended}, {str(number) for number in range(20)})
        self.assertEqual({e["pid"] for e in ended}, {pid for _, pid, _, _ in peers})
        for peer, _, *streams in peers:
            peer.close()
            for stream in streams:
                os.close(stream)

    def test_mistaken_messages(self) -> None:
        worker = self.flow("pass")
        worker.control.send({"op": "dance", "id": "1"})
        answer, _ = worker.control.receive()
        self.assertEqual(answer, {"op": "error", "id": "1", "message": "unknown operation 'dance'"})
        worker.control.send({"op": "fork", "id": "2"})
        answer, _ = worker.control.receive()
        self.assertEqual(answer["message"], "a message came with 0 of 3 file descriptors")
        self.assertTrue(worker.describe()["flow"])

    def test_a_frame_in_pieces_with_descriptors(self) -> None:
        worker = self.flow("print('ran')")
        ours, theirs = socket.socketpair()
        streams = [os.pipe(), os.pipe()]
        text = json.dumps({"op": "fork", "id": "1", "filling": "x" * 300000}).encode()
        frame = len(text).to_bytes(4, "big") + bytes(4) + text
        fds = array.array("i", [theirs.fileno(), *(write for _, write in streams)])
        worker.control.send({"op": "describe", "with": []})
        sent = worker.control.sock.sendmsg([frame[:5]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        worker.control.sock.sendall(frame[sent:])
        theirs.close()
        self.assertEqual([worker.control.receive()[0]["op"] for _ in "12"], ["described", "forked"])
        peer = Peer(ours)
        peer.send({"op": "step", "step": "start", "inputs": [], "next": {"targets": ["end"]}})
        self.assertTrue(peer.receive()[0]["ok"])
        self.assertEqual(os.read(streams[0][0], 100), b"ran\n")
        self.assertEqual(worker.control.receive()[0]["code"], 0)
        peer.close()
        for end in (*streams[0], *streams[1]):
            os.close(end)

    def test_a_fork_that_fails(self) -> None:
        head = "def no_more():\n    raise BlockingIOError(11, 'Resource temporarily unavailable')\nos.fork = no_more"
        worker = self.flow("pass", head)
        worker.describe()
        peer, pid, out, err = worker.fork("1")
        self.assertEqual(pid, 0)
        exited, _ = worker.control.receive()
        self.assertEqual((exited["op"], exited["id"], exited["code"]), ("exited", "1", 1))
        self.assertIn(b"no process could be started for the task: [Errno 11]", os.read(err, 1000))
        peer.close()
        os.close(out)
        os.close(err)
        self.assertTrue(worker.describe()["flow"])

    def test_processes_of_multiprocessing(self) -> None:
        task = self.start(
            "import multiprocessing as mp\n"
            "for method in ('fork', 'spawn'):\n"
            "    with mp.get_context(method).Pool(2) as pool:\n"
            "        print(pool.map(double, [1, 2, 3]))",
            head="def double(x): return 2 * x",
        )
        self.assertEqual(task.stdout, "[2, 4, 6]\n[2, 4, 6]\n", task.stderr)
        self.assertTrue(task.ok)

    def test_quit_and_end_of_file(self) -> None:
        worker = self.flow("pass")
        worker.control.send({"op": "quit"})
        self.assertEqual(worker.process.wait(TIMEOUT), 0)
        worker = self.flow("pass")
        worker.control.close()
        self.assertEqual(worker.process.wait(TIMEOUT), 0)

    def end_with_a_child(self, body: str, head: str = "") -> tuple[Worker, int]:
        worker = self.flow(body, head)
        peer, pid, out, err = worker.fork("1")
        peer.send({"op": "step", "step": "start", "inputs": []})
        self.assertEqual(os.read(out, 100), b"up\n")
        worker.control.close()
        self.assertEqual(worker.process.wait(TIMEOUT), 0)
        peer.close()
        os.close(err)
        os.close(out)
        return worker, pid

    def test_children_are_ended_with_their_groups(self) -> None:
        """SIGTERM reaches what the body started as well."""
        worker, pid = self.end_with_a_child(
            "import subprocess\nsubprocess.Popen(['sh', '-c', 'trap \"echo sub > term; exit\" TERM; touch ready; "
            "while :; do sleep 0.05; done'])\n"
            "while not os.path.exists('ready'): time.sleep(0.01)\nprint('up'); time.sleep(60)"
        )
        wait_until(lambda: os.path.exists(os.path.join(worker.folder, "term")), "the subprocess had SIGTERM")
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    def test_children_that_ignore_sigterm_are_killed(self) -> None:
        _, pid = self.end_with_a_child("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up'); time.sleep(60)")
        wait_until(lambda: not _exists(pid), "the child was killed")

    def test_ctrl_c_at_the_terminal_is_the_runtimes_business(self) -> None:
        worker = self.flow("print('still here')")
        worker.describe()
        worker.process.send_signal(signal.SIGINT)
        self.assertEqual(worker.step("start", next="end").stdout, "still here\n")

    def test_a_flow_that_takes_signals_while_loading(self) -> None:
        head = "import asyncio\nasync def main(): pass\nasyncio.run(main())\nsignal.signal(signal.SIGCHLD, lambda *a: None)"
        self.assertEqual(self.start("print('ran')", head=head).stdout, "ran\n")

    def test_usage(self) -> None:
        command = [sys.executable, os.path.join(SDK, "mf_worker.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": SDK})
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage: mf_worker.py [--task] FLOW_FILE[:CLASS]", done.stderr)

    def test_the_class_may_be_named(self) -> None:
        worker = self.worker(
            "from metaflow import FlowSpec, step\n"
            + "".join(
                f"class {name}(FlowSpec):\n    @step\n    def start(self):\n        print('{name}')\n" for name in "AB"
            )
        )
        worker.control.close()
        worker.process.wait(TIMEOUT)
        ours, theirs = socket.socketpair()
        worker.process.args[-1] += ":B"
        env = {**worker.environment, "MF_PROTOCOL_FD": str(theirs.fileno())}
        worker.process = subprocess.Popen(worker.process.args, env=env, cwd=worker.folder, pass_fds=[theirs.fileno()])
        theirs.close()
        worker.control = Peer(ours)
        self.assertEqual(worker.step("start").stdout, "B\n")


def _exists(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    unittest.main()
