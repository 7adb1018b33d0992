"""Learning from analysts' verdicts: the order in which open cases are shown. It decides nothing."""
