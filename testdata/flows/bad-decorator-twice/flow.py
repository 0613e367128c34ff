from metaflow import FlowSpec, project, retry, step


@project(name="one")
@project(name="two")
class DecoratorTwice(FlowSpec):
    @retry(times=1)
    @retry(times=2)
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    DecoratorTwice()
