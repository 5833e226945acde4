"""Validation of function bodies; the rest of a module is validated as it is decoded."""
