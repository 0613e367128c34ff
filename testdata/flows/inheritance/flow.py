"""Steps, parameters and constants come from a base class in another file."""

from base import BaseFlow
from metaflow import Parameter, step


class DerivedFlow(BaseFlow):
    suffix = Parameter("suffix", default="!", help="put behind the greeting")

    @step
    def greet(self):
        self.greeting = self.prefix + ", " + self.name_of_user + self.suffix
        self.next(self.end)


if __name__ == "__main__":
    DerivedFlow()
