"""Validation of components: `syntax.Component` to `model.ValidatedComponent` (`component.validate_component`).

Nothing is imported here: linking needs the rules of subtypes, but a known component is not validated.
"""
