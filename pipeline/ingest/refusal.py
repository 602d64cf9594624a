"""How a source is refused: one message with file, row, column, value, rule and mend."""

from engine.dataset import DatasetError


def refusal(
    file: str, rule: str, mend: str, row: int | None = None, column: str | None = None, value: object | None = None
) -> DatasetError:
    """The error to raise; ``row`` counts rows of data from 1, a header not included.

    >>> print(refusal("bars.csv", "a price is positive", "correct or drop the row", 3, "close", -1.0))
    bars.csv row 3 column close: -1.0: a price is positive; correct or drop the row
    """
    place = file + (f" row {row}" if row is not None else "") + (f" column {column}" if column is not None else "")
    shown = f": {value}" if value is not None else ""
    text = " ".join(f"{place}{shown}: {rule}; {mend}".split())  # what a broken file holds must not break the line
    return DatasetError("".join(character if character.isprintable() else "?" for character in text))
