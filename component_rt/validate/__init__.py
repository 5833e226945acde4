"""Validation of components: `syntax.Component` to `model.ValidatedComponent`."""

from component_rt.validate.component import validate_component

__all__ = ["validate_component"]
