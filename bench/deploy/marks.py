"""Each step says when its first and its last line ran."""

import time

from metaflow import FlowSpec, step


def say(which):
    print("%s line at %.6f" % (which, time.time()), flush=True)


class MarksFlow(FlowSpec):
    @step
    def start(self):
        say("first")
        self.a = 1
        say("last")
        self.next(self.middle)

    @step
    def middle(self):
        say("first")
        self.b = self.a + 1
        say("last")
        self.next(self.late)

    @step
    def late(self):
        say("first")
        self.c = self.b + 1
        say("last")
        self.next(self.end)

    @step
    def end(self):
        say("first")
        print("sum", self.a + self.b + self.c)
        say("last")


if __name__ == "__main__":
    MarksFlow()
