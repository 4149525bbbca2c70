"""What may be said: the spec's schema, its loader, the rules, and the model that all rooms share."""

from schema.document.problem import Problem, SpecError
from schema.loading.compose import Text, Tree, compose
from schema.loading.loader import load, parse
from schema.spec import Spec

__all__ = ["Problem", "Spec", "SpecError", "Text", "Tree", "compose", "load", "parse"]
