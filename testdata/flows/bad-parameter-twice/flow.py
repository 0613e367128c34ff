"""On the command line, capitals do not tell names apart."""

from metaflow import FlowSpec, Parameter, step


class ParameterTwice(FlowSpec):
    alpha = Parameter("alpha", default=1)
    beta = Parameter("Alpha", default=2)
    gamma = Parameter("learning-rate", default=0.1)
    delta = Parameter("learning_rate", default=0.2)

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ParameterTwice()
