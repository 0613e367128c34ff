from metaflow import FlowSpec
from metaflow.cards import Markdown
