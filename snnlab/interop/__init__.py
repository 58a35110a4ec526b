"""Networks in the formats of other programs: NIR, foreign state dicts, chips."""
