"""Configs: values known before the graph is built."""
