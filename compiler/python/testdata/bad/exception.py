import parts.raises
