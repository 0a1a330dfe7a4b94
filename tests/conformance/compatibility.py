"""Write the list of intended differences into the documentation.

Run as `python -m tests.conformance.compatibility` from the project's root after a change of differences.toml.
"""

from __future__ import annotations

from pathlib import Path

from .differences import Difference, load_differences

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "compatibility.md"
BEGIN = "<!-- differences: written from tests/conformance/differences.toml, do not edit -->"
END = "<!-- end of differences -->"


def section(difference: Difference) -> str:
    """What the reader learns of one difference; a sentence a line."""
    sentences = difference.why.replace("; ", ";\n").replace(". ", ".\n")
    line = (difference.detail or difference.says).strip("| ")
    return f"### {difference.title}\n\n{sentences}\n\nSpecification: “{line}”\n"


def generated(differences: list[Difference]) -> str:
    """The generated part of the document."""
    return "\n".join([BEGIN, "", *(section(difference) for difference in differences), END])


def expected(text: str) -> str:
    """The document with its generated part as it has to be.

    Raises:
        ValueError: The document has no generated part.
    """
    start, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:start] + generated(load_differences()) + text[end:]


def outdated() -> bool:
    """Whether the document has to be written anew."""
    text = DOCUMENT.read_text("utf-8")
    return text != expected(text)


if __name__ == "__main__":
    DOCUMENT.write_text(expected(DOCUMENT.read_text("utf-8")), "utf-8")
