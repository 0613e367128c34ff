"""Steps that take their time, unless they are told not to."""

import os
import signal
import time

from metaflow import FlowSpec, kubernetes, retry, step


class SlowFlow(FlowSpec):
    @step
    def start(self):
        self.items = [0, 1]
        self.next(self.wait, foreach="items")

    @retry(times=1, minutes_between_retries=0)
    @kubernetes(cpu=0.02, memory=50, disk=1)
    @step
    def wait(self):
        print("waiting", self.input, flush=True)
        if os.environ.get("DEAF"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(0 if os.environ.get("QUICK") else 600):
            time.sleep(0.1)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        print("over")


if __name__ == "__main__":
    SlowFlow()
