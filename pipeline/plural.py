"""How many there are of something, for people."""


def plural(number: int, one: str, more: str = "") -> str:
    """A number and what it counts.

    >>> plural(1, "gap"), plural(1200, "gap"), plural(2, "strategy", "strategies")
    ('1 gap', '1,200 gaps', '2 strategies')
    """
    return f"{number:,} {one if number == 1 else more or one + 's'}"
