from parts.broken import x
