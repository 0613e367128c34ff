from metaflow import FlowMutator, FlowSpec, step


class Broken(FlowMutator):
    def pre_mutate(self, mutable_flow):
        mutable_flow.start.add_decorator("no_such_decorator")


@Broken
class Bad(FlowSpec):
    @step
    def start(self):
        pass
