"""Composition of experiments: pure functions from trees and contents to a tree and its decisions."""

from dagstore.adopt.compose import Composition, compose
from dagstore.adopt.wishes import Donor

__all__ = ["Composition", "Donor", "compose"]
