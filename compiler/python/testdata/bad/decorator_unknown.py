from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @retyr(times=2)
    @step
    def start(self):
        pass
