"""Two foreaches in a row over the same list; the join starts none, so a step lies in between."""

from metaflow import FlowSpec, step


class TwoForeachesFlow(FlowSpec):
    @step
    def start(self):
        self.letters = ["x", "y"]
        self.next(self.up, foreach="letters")

    @step
    def up(self):
        self.letter = self.input.upper()
        self.next(self.join_up)

    @step
    def join_up(self, inputs):
        self.letters = [i.letter for i in inputs]
        self.next(self.middle)

    @step
    def middle(self):
        self.next(self.double, foreach="letters")

    @step
    def double(self):
        self.letter = self.input * 2
        self.next(self.join_double)

    @step
    def join_double(self, inputs):
        self.letters = [i.letter for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.letters)


if __name__ == "__main__":
    TwoForeachesFlow()
