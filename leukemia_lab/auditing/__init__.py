"""Whether a data set can be trusted: what was found in it, and the page and summary that say so."""
