"""Decorators that users write themselves: around the body of a step, or changing a step or flow before it runs."""
