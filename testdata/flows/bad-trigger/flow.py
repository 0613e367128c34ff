from metaflow import FlowSpec, step, trigger, trigger_on_finish


@trigger(event="a", events=["b", "c"])
@trigger_on_finish
class Trigger(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Trigger()
