"""Numbers and odd characters as people write and read them."""

import math

NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"


def percent(share: float | None) -> str:
    """0.142 → "14.2 %"; nothing measured → a dash."""
    return "\N{EN DASH}" if share is None else f"{100 * share:.1f}{NARROW_SPACE}%"


def points(before: float, after: float) -> str:
    """The difference of two shares in percentage points, with its sign."""
    difference = round(100 * (after - before), 1)
    sign = "+" if difference > 0 else "\N{MINUS SIGN}" if difference < 0 else "±"
    return f"{sign}{abs(difference):.1f}"


def duration(seconds: float) -> str:
    """Seconds as a person would say them: "48 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def chance(p_value: float) -> str:
    """A p-value to three places."""
    return "p < 0.001" if p_value < 0.001 else f"p = {math.floor(p_value * 1000 + 0.5) / 1000:g}"


def readable(text: str) -> str:
    """Control characters as the pictures Unicode has for them: a model may write any, and a browser shows none."""
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 0x20 and c not in "\n\t" else c for c in text)
