"""A step decorator of the user's own, around a body."""

from metaflow import FlowSpec, step, user_step_decorator


@user_step_decorator
def announce(step_name, flow, inputs=None, attributes=None):
    print("before", step_name)
    yield
    flow.announced = step_name


class UserDecoratorFlow(FlowSpec):
    @announce
    @step
    def start(self):
        self.x = 1
        self.next(self.end)

    @step
    def end(self):
        print(self.x, self.announced)


if __name__ == "__main__":
    UserDecoratorFlow()
