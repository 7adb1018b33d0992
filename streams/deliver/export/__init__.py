"""Cases as other tools take them: STIX 2.1 and CSV. Neither says who is behind an account."""
