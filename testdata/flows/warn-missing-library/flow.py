"""A library that is not installed where the flow is compiled."""

import no_such_library_for_mf
from metaflow import FlowSpec, step


class MissingLibrary(FlowSpec):
    @step
    def start(self):
        self.x = no_such_library_for_mf.compute()
        self.next(self.end)

    @step
    def end(self):
        print(self.x)


if __name__ == "__main__":
    MissingLibrary()
