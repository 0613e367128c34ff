"""A deployment in a namespace of its own."""

from metaflow import FlowSpec, current, project, step


@project(name="demo_project")
class ProjectFlow(FlowSpec):
    @step
    def start(self):
        self.project_is = current.project_name
        self.next(self.end)

    @step
    def end(self):
        print(self.project_is)


if __name__ == "__main__":
    ProjectFlow()
