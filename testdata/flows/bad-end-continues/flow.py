from metaflow import FlowSpec, step


class EndContinues(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.next(self.after)

    @step
    def after(self):
        self.next(self.end)


if __name__ == "__main__":
    EndContinues()
