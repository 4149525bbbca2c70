"""What may be said: the spec's schema, its loader, the rules, and the model that all rooms share."""

from schema.compose import Text, Tree, compose
from schema.loader import load, parse
from schema.problem import Problem, SpecError
from schema.spec import Spec

__all__ = ["Problem", "Spec", "SpecError", "Text", "Tree", "compose", "load", "parse"]
