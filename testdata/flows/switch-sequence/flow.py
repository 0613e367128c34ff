"""Three switches in a row: the number of paths doubles with each."""

from metaflow import FlowSpec, step


class SequenceFlow(FlowSpec):
    @step
    def start(self):
        self.bits = [1, 0, 1]
        self.number = 0
        self.bit = self.bits[0]
        self.next({1: self.set0, 0: self.clear0}, condition="bit")

    @step
    def set0(self):
        self.number = self.number + 4
        self.next(self.ask1)

    @step
    def clear0(self):
        self.next(self.ask1)

    @step
    def ask1(self):
        self.bit = self.bits[1]
        self.next({1: self.set1, 0: self.ask2}, condition="bit")

    @step
    def set1(self):
        self.number = self.number + 2
        self.next(self.ask2)

    @step
    def ask2(self):
        self.bit = self.bits[2]
        self.next({1: self.set2, 0: self.end}, condition="bit")

    @step
    def set2(self):
        self.number = self.number + 1
        self.next(self.end)

    @step
    def end(self):
        print(self.number)


if __name__ == "__main__":
    SequenceFlow()
