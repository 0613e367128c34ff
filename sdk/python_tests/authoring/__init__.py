"""Tests of what flows import: names, decorators, parameters, configs, FlowSpec and the command line's hand-over."""
