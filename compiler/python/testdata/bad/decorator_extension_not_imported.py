from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @nvidia
    @step
    def start(self):
        pass
