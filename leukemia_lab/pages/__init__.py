"""What the pages that we write have in common: the look, the numbers' form, the templates' rules."""
