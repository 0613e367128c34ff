"""Cases may be numbers and truth values; a falsy one as well."""

from metaflow import FlowSpec, step


class NumberKeysFlow(FlowSpec):
    @step
    def start(self):
        self.count = 0
        self.next({0: self.none, 1: self.one, 2: self.more}, condition="count")

    @step
    def none(self):
        self.flag = True
        self.next(self.decide)

    @step
    def one(self):
        self.flag = False
        self.next(self.decide)

    @step
    def more(self):
        self.flag = False
        self.next(self.decide)

    @step
    def decide(self):
        self.next({True: self.right, False: self.wrong}, condition="flag")

    @step
    def right(self):
        self.verdict = "right"
        self.next(self.end)

    @step
    def wrong(self):
        self.verdict = "wrong"
        self.next(self.end)

    @step
    def end(self):
        print(self.verdict)


if __name__ == "__main__":
    NumberKeysFlow()
