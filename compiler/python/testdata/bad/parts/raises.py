raise ValueError("from a part")
