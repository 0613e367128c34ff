"""Reports, two on one step."""

from metaflow import FlowSpec, card, step


class CardsFlow(FlowSpec):
    @card(id="first")
    @card(id="second", timeout=30)
    @step
    def start(self):
        self.data = [1, 2]
        self.next(self.end)

    @step
    def end(self):
        print(self.data)


if __name__ == "__main__":
    CardsFlow()
