"""From the name of a distribution to every name in its package, and what may not be a name."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import re
import sys
import unicodedata

import attrs

from xcompose.registry.discovery import namespace_of, normal

LONGEST = 40
"""Letters of a name, so that every line of a template fits."""
SHAPE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""A name as PEP 503 writes it, without digits in front, which no module may have."""
OURS = ("xcompose", "xcompose_plugins", "torch")


class NameProblem(ValueError):
    """A name that cannot be one, with the mend."""

    def __init__(self, message: str, fix: str):
        super().__init__(message)
        self.message, self.fix = message, fix


@attrs.frozen
class Names:
    """What one package is called, in every place."""

    distribution: str
    """`acme-token-shift`: what pip installs."""
    package: str
    """`acme_token_shift`: what Python imports."""
    namespace: str
    """`acme`: what stands before the stroke in a spec."""
    component: str
    """`token-shift`: what stands behind it."""
    module: str
    """`token_shift`: the file of the mechanism."""
    cls: str
    """`TokenShift`: its class."""

    @property
    def full(self) -> str:
        """`acme/token-shift`: what a spec writes."""
        return f"{self.namespace}/{self.component}"

    @property
    def test(self) -> str:
        """`TestTokenShift`: the class of its contract tests."""
        return f"Test{self.cls}"


def names_of(name: str) -> Names:
    """All names of the package that is to be called `name`; nothing is looked up.

    Raises:
        NameProblem: the name has no part for the component, or is not one that pip, Python and the spec language take.
    """
    _refuse_shape(name)
    namespace = namespace_of(name)
    words = name.split("-")
    own = words[1:] if words[0] == "xcompose" else words
    if not own or (len(own) == 1 and words[0] != "xcompose"):
        package = name.replace("-", "_")
        if package in OURS or package in sys.stdlib_module_names:
            raise _shadow(name, package)
        raise NameProblem(
            f"'{name}' is a namespace without a component: `{name}-mean` would be `{name}/mean` in a spec",
            f"two words or more, joined by a dash: acme-{name}",
        )
    component = "-".join(own[1:] or own)
    if not component[0].isalpha():
        raise NameProblem(
            f"the component of '{name}' would be called '{component}', and a name begins with a letter",
            _spelled(name[: -len(component)], component),
        )
    module = component.replace("-", "_")
    return Names(
        distribution=name,
        package=name.replace("-", "_"),
        namespace=namespace,
        component=component,
        module=f"{module}_" if keyword.iskeyword(module) or module in ("test", "tests", "specs") else module,
        cls="".join(word.capitalize() for word in component.split("-")),
    )


def refuse_taken(names: Names) -> None:
    """Look the names up among what is installed.

    Raises:
        NameProblem: a module or a distribution of this name is there already.
    """
    if names.package in OURS or names.package in sys.stdlib_module_names:
        raise _shadow(names.distribution, names.package)
    installed = {normal(d.metadata["Name"]): d for d in importlib.metadata.distributions() if d.metadata["Name"]}
    if names.distribution in installed:
        version = installed[names.distribution].version
        raise NameProblem(
            f"a distribution '{names.distribution}' is installed already, version {version}",
            f"another name, or first: pip uninstall {names.distribution}",
        )
    if importlib.util.find_spec(names.package) is not None:
        raise _shadow(names.distribution, names.package)


def _refuse_shape(name: str) -> None:
    if SHAPE.fullmatch(name) and len(name) <= LONGEST:
        return
    if len(name) > LONGEST:
        raise NameProblem(f"'{name}' has {len(name)} letters, {LONGEST} are the most", "a shorter name: acme-mean")
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    mended = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    fix = next(one for one in (mended, mended.lstrip("0123456789-"), "acme-mean") if _is_name(one))
    raise NameProblem(
        f"'{name}' is no name of a package: lower-case words of letters and digits, joined by dashes", f"write {fix}"
    )


def _is_name(name: str) -> bool:
    if not SHAPE.fullmatch(name):
        return False
    try:
        names_of(name)
    except NameProblem:
        return False
    return True


def _shadow(name: str, package: str) -> NameProblem:
    whose = "Python" if package in sys.stdlib_module_names else "what is installed here"
    return NameProblem(
        f"'{name}' would be imported as `{package}`, and {whose} has a module of that name",
        f"another name: acme-{name}",
    )


def _spelled(before: str, component: str) -> str:
    """A name whose component begins with a letter: its number last, or a letter before it."""
    first, _, rest = component.partition("-")
    proposals = [f"{before}{rest}-{first}"] if rest else []
    letters = component.lstrip("0123456789")
    proposals += [f"{before}m{component}", f"{before}{letters}"]
    return next((one for one in proposals if _is_name(one) and len(one) <= LONGEST), "acme-mean")
