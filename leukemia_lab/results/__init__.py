"""Finished runs as others read them: found, read without a change to them, told whether they can be compared."""
