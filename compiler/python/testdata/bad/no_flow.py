from metaflow import FlowSpec
