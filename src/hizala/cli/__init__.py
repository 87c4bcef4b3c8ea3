"""One module per verb: parse, one call, exit code."""
