"""What may be said: the spec's schema, its loader, the rules, and the model that all rooms share."""

from schema.loader import load, parse
from schema.problem import Problem, SpecError
from schema.spec import Spec

__all__ = ["Problem", "Spec", "SpecError", "load", "parse"]
