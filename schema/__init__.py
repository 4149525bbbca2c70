"""What may be said: the keys of a spec, the loader, the rules, and the model that all rooms share.

May import nothing of the other three packages; they all import this one. In itself, from the ground up: `system`,
the files of this folder, `rules`, `loading`, `wire`.
Open `model.py` first: what can be wanted, what can be live, and what an action is.
"""

from schema.loading.compose import Text, Tree, compose
from schema.loading.loader import load, parse, requested_relay
from schema.nodes import Problem, SpecError
from schema.spec import Spec

__all__ = ["Problem", "Spec", "SpecError", "Text", "Tree", "compose", "load", "parse", "requested_relay"]
