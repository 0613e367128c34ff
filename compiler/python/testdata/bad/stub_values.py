import missing_one as m
from metaflow import FlowSpec, Parameter, environment, kubernetes, project, step


@m.flow_decorator
@project(name="x")
class Bad(FlowSpec):
    CONSTANT = m.constant
    a = Parameter("a", default=m.default)
    b = Parameter("b", type=m.Type)
    c = Parameter("c", default=m.function)

    @kubernetes(image=m.image, labels={"l": [m.label]})
    @environment(vars={"V": f"v{m.__version__}"})
    @step
    def start(self):
        self.next(self.end)

    @m.cached
    @step
    def end(self):
        pass
