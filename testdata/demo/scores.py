from metaflow import FlowSpec, Parameter, step


class ScoresFlow(FlowSpec):
    """Scores each chapter of a text in a task of its own and picks the best."""

    words = Parameter("words", default=3, help="How many words count as a full score")

    @step
    def start(self):
        self.chapters = ["a short one", "the quick brown fox jumps", "two words", "and so it ends"]
        self.next(self.score, foreach="chapters")

    @step
    def score(self):
        self.title = self.input
        # The mistake that the demo mends: "wordz" for "words".
        self.points = min(1.0, len(self.input.split()) / self.wordz)
        print(f"{self.title!r} scores {self.points:.2f}")
        self.next(self.pick)

    @step
    def pick(self, inputs):
        self.best = max(inputs, key=lambda task: task.points).title
        self.next(self.end)

    @step
    def end(self):
        print("the best chapter:", self.best)


if __name__ == "__main__":
    ScoresFlow()
