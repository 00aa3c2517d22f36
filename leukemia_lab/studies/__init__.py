"""Studies: a table of a paper, a question, rebuilt by one command with honest numbers beside the claimed ones."""
