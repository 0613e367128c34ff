from metaflow import FlowSpec, project, step


@project
class ProjectNoName(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ProjectNoName()
