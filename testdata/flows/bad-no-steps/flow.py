from metaflow import FlowSpec, Parameter


class NoSteps(FlowSpec):
    alpha = Parameter("alpha", default=1)


if __name__ == "__main__":
    NoSteps()
