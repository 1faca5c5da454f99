"""Findings: one immutable record, and the ways to show it."""

from xcompose.diagnostics.model import Diagnostic as Diagnostic
from xcompose.diagnostics.model import Edit as Edit
from xcompose.diagnostics.model import Note as Note
from xcompose.diagnostics.model import PartError as PartError
from xcompose.diagnostics.model import Severity as Severity
from xcompose.diagnostics.model import Span as Span
from xcompose.diagnostics.model import SpecError as SpecError
from xcompose.diagnostics.model import TooLong as TooLong
