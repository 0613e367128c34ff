"""A switch in a branch of a switch; all ways meet in one step."""

from metaflow import FlowSpec, step


class NestedSwitchFlow(FlowSpec):
    @step
    def start(self):
        self.a = "yes"
        self.b = "no"
        self.next({"yes": self.ask_b, "no": self.neither}, condition="a")

    @step
    def ask_b(self):
        self.next({"yes": self.both, "no": self.only_a}, condition="b")

    @step
    def both(self):
        self.answer = "both"
        self.next(self.tell)

    @step
    def only_a(self):
        self.answer = "only a"
        self.next(self.tell)

    @step
    def neither(self):
        self.answer = "neither"
        self.next(self.tell)

    @step
    def tell(self):
        self.told = self.answer.upper()
        self.next(self.end)

    @step
    def end(self):
        print(self.told)


if __name__ == "__main__":
    NestedSwitchFlow()
