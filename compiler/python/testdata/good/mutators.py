from metaflow import (
    USER_SKIP_STEP,
    Config,
    FlowMutator,
    FlowSpec,
    Parameter,
    StepMutator,
    UserStepDecorator,
    retry,
    step,
    timeout,
    user_step_decorator,
)


class Everywhere(FlowMutator):
    def init(self, times, seconds=1):
        self.times = times
        self.seconds = seconds

    def pre_mutate(self, mutable_flow):
        mutable_flow.add_parameter("added", Parameter("added", default=mutable_flow.settings.size))
        mutable_flow.remove_parameter("removed")
        mutable_flow.add_decorator("project:name=from_mutator")
        for _, one in mutable_flow.steps:
            one.add_decorator(retry, deco_kwargs={"times": self.times})

    def mutate(self, mutable_flow):
        for _, one in mutable_flow.steps:
            one.add_decorator("environment", deco_kwargs={"vars": {"STEP": one.name}})


class Slower(StepMutator):
    def pre_mutate(self, mutable_step):
        mutable_step.add_decorator(timeout, deco_kwargs={"seconds": 10}, duplicates=mutable_step.OVERRIDE)


class Around(UserStepDecorator):
    def init(self, **kwargs):
        self.kwargs = kwargs


@user_step_decorator
def skipping(step_name, flow, inputs, attributes):
    yield USER_SKIP_STEP


@Everywhere(4, seconds=2)
class Mutated(FlowSpec):
    settings = Config("settings", default_value={"size": 3, "label": "from config"})
    removed = Parameter("removed", default=1)

    @Slower
    @timeout(seconds=99)
    @step
    def start(self):
        self.next(self.middle)

    @Around(label=settings.label)
    @retry(times=1)
    @skipping
    @step
    def middle(self):
        self.next(self.end)

    @step
    def end(self):
        pass
