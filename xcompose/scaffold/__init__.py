"""Complete packages for plugins, from templates: what `xcompose plugin new` writes."""

from xcompose.scaffold.kinds import Slot as Slot
from xcompose.scaffold.kinds import slot as slot
from xcompose.scaffold.names import NameProblem as NameProblem
from xcompose.scaffold.names import Names as Names
from xcompose.scaffold.names import names_of as names_of
from xcompose.scaffold.package import File as File
from xcompose.scaffold.package import files_of as files_of
from xcompose.scaffold.package import write as write
