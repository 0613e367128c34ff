from metaflow import FlowSpec, checkpoint, huggingface_hub, model, step


class Bad(FlowSpec):
    @checkpoint
    @model(load=["x"])
    @huggingface_hub()
    @step
    def start(self):
        pass
