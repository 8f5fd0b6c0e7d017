"""The shipped ACL files: their rules, and the same with one right taken away."""

from collections.abc import Iterator

from tests.support import ROOT

DEPLOY = ROOT / "deploy" / "redis"


CONVENIENCE = {
    *("+client|getname", "+client|id", "+client|setinfo", "+client|setname", "+command", "+echo", "+hello"),
    *("+ping", "+punsubscribe", "+quit", "+reset", "+select", "+unsubscribe", "+psubscribe"),
    *("+xinfo|consumers", "+xinfo|groups", "+xinfo|stream", "+xlen", "+xpending"),
}
"""Rights that clients of any language need for their health checks, or people to look around."""


def rules_of(name: str, user: str | None = None) -> list[str]:
    """The arguments of ACL SETUSER."""
    lines = [
        line.split()[1:] for line in (DEPLOY / name).read_text().splitlines() if line.startswith("user ")
    ]
    (rules,) = [rules for rules in lines if user is None or rules[0] == user]
    return rules


def each_right_removed(rules: list[str], but: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Each right that is not among `but`, with all the other rules."""
    for index, rule in enumerate(rules):
        right = rule.strip("()")
        if right[0] not in "~&+" or right in but:
            continue
        rest = "(" * rule.startswith("(") + ")" * rule.endswith(")")
        yield right, [*rules[:index], *([rest] if rest else []), *rules[index + 1 :]]
