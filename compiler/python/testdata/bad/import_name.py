from metaflow import FlowSpec, retyr
