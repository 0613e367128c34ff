"""Environments of packages, for the flow and for a step."""

from metaflow import FlowSpec, conda, pypi, pypi_base, step


@pypi_base(python="3.12", packages={"requests": ">=2.32"})
class PackagesFlow(FlowSpec):
    @pypi(packages={"pandas": "2.3.0"})
    @step
    def start(self):
        self.next(self.other)

    @conda(libraries={"numpy": "2.0.0"}, disabled=True)
    @step
    def other(self):
        self.next(self.end)

    @step
    def end(self):
        self.done = True


if __name__ == "__main__":
    PackagesFlow()
