"""What an analyst opens: cases, accounts and campaigns, found in an index made of the topics, and decisions on them."""
