"""The binary format: bytes to `DecodedModule`."""
