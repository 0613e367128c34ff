"""Started by an event, whose fields become parameters."""

from metaflow import FlowSpec, Parameter, step, trigger


@trigger(events=[{"name": "data_arrived", "parameters": {"path": "location"}}, "manual"])
class TriggerFlow(FlowSpec):
    path = Parameter("path", default="nowhere")

    @step
    def start(self):
        self.where = self.path
        self.next(self.end)

    @step
    def end(self):
        print(self.where)


if __name__ == "__main__":
    TriggerFlow()
