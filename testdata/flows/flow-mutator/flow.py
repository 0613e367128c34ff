"""A mutator adds a decorator to each step."""

from metaflow import FlowMutator, FlowSpec, step


class Patient(FlowMutator):
    def mutate(self, mutable_flow):
        for name, mutable_step in mutable_flow.steps:
            if name != "end":
                mutable_step.add_decorator("retry", deco_kwargs={"times": 1})


@Patient
class MutatedFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.done = True


if __name__ == "__main__":
    MutatedFlow()
