"""Finding plugins, keeping broken ones apart, and the catalogue of components."""

from xcompose.registry.component import Component as Component
from xcompose.registry.registry import Registry as Registry
from xcompose.registry.registry import built_in as built_in
from xcompose.registry.registry import load as load
from xcompose.registry.registry import third_party as third_party
