"""Patterns as sets: union, intersection, difference."""

from __future__ import annotations

import attrs

from xcompose.attention.pattern import Pattern


@attrs.frozen
class Union(Pattern):
    members: tuple[Pattern, ...]

    def allows(self, q, k):
        found = self.members[0].allows(q, k)
        for member in self.members[1:]:
            found = found | member.allows(q, k)
        return found


@attrs.frozen
class Intersection(Pattern):
    members: tuple[Pattern, ...]

    def allows(self, q, k):
        found = self.members[0].allows(q, k)
        for member in self.members[1:]:
            found = found & member.allows(q, k)
        return found


@attrs.frozen
class Difference(Pattern):
    members: tuple[Pattern, ...]

    def allows(self, q, k):
        found = self.members[0].allows(q, k)
        for member in self.members[1:]:
            found = found & (member.allows(q, k) == 0)
        return found
