"""Reporting checklists (TRIPOD+AI, CLAIM), filled in from the records of runs as far as these can."""
