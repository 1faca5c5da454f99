"""Specs: text to located, typed, complete data. No torch, no plugin is imported here."""

from xcompose.spec.catalogue import Absence as Absence
from xcompose.spec.catalogue import Catalogue as Catalogue
from xcompose.spec.files import SpecName as SpecName
from xcompose.spec.files import variants_of as variants_of
from xcompose.spec.folders import find_specs as find_specs
from xcompose.spec.freeze import fingerprint as fingerprint
from xcompose.spec.freeze import freeze as freeze
from xcompose.spec.freeze import to_omegaconf as to_omegaconf
from xcompose.spec.model import Expectation as Expectation
from xcompose.spec.model import Layer as Layer
from xcompose.spec.model import Node as Node
from xcompose.spec.model import Origin as Origin
from xcompose.spec.model import Section as Section
from xcompose.spec.model import Spec as Spec
from xcompose.spec.origins import why as why
from xcompose.spec.resolve import check as check
from xcompose.spec.resolve import check_text as check_text
from xcompose.spec.resolve import load as load
from xcompose.spec.resolve import load_text as load_text
from xcompose.spec.resolve import train_settings as train_settings
