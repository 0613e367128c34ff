from metaflow import S3, FlowSpec
