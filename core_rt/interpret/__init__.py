"""Functions as words for the interpreter of the shim, which runs what is not worth a compiler."""
