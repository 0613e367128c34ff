"""A foreach in a foreach, with a step before and behind the inner one."""

from metaflow import FlowSpec, step


class NestedForeachFlow(FlowSpec):
    @step
    def start(self):
        self.rows = [1, 2, 3]
        self.next(self.row, foreach="rows")

    @step
    def row(self):
        self.r = self.input
        self.columns = list(range(self.input))
        self.next(self.cell, foreach="columns")

    @step
    def cell(self):
        self.value = self.r * 10 + self.input
        self.next(self.join_cells)

    @step
    def join_cells(self, inputs):
        self.values = [i.value for i in inputs]
        self.next(self.sum_row)

    @step
    def sum_row(self):
        self.total = sum(self.values)
        self.next(self.join_rows)

    @step
    def join_rows(self, inputs):
        self.totals = [i.total for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.totals)


if __name__ == "__main__":
    NestedForeachFlow()
