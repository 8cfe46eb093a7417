"""The training commands, one module each: the parser next to its handler."""
