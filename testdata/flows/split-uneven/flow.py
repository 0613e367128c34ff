"""Branches of different length; three of them."""

from metaflow import FlowSpec, step


class UnevenFlow(FlowSpec):
    @step
    def start(self):
        self.word = "mf"
        self.next(self.short, self.long, self.longer)

    @step
    def short(self):
        self.seen = [self.word]
        self.next(self.join)

    @step
    def long(self):
        self.seen = [self.word]
        self.next(self.long2)

    @step
    def long2(self):
        self.seen = self.seen + ["long2"]
        self.next(self.join)

    @step
    def longer(self):
        self.seen = [self.word]
        self.next(self.longer2)

    @step
    def longer2(self):
        self.seen = self.seen + ["longer2"]
        self.next(self.longer3)

    @step
    def longer3(self):
        self.seen = self.seen + ["longer3"]
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen = [inputs.short.seen, inputs.long2.seen, inputs.longer3.seen]
        self.next(self.end)

    @step
    def end(self):
        print(self.seen)


if __name__ == "__main__":
    UnevenFlow()
