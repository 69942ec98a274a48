"""What the sources cite exists: "hyperseg-spec 6.8" is a heading of docs/hyperseg-spec.md."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCES = ("benchmarks", "export", "kernels", "runtime", "tests", "triton_repo")
SUFFIXES = {".py", ".md", ".cpp", ".cu", ".h"}
SECTION = r"\d+(?:\.\d+)*"
CITATION = re.compile(rf"\b(\w+-spec) ({SECTION}(?:(?:, | and ){SECTION})*)")
HEADING = re.compile(rf"^#+ ({SECTION})\.? ", re.MULTILINE)
BARE = re.compile(rf"(?<![-\w])spec {SECTION}")


def citations(text: str) -> set[tuple[str, str]]:
    """(document, section); "unilseg-spec 3.2, 3.3" and "unilseg-spec 3.2 and 3.3" cite two."""
    return {(name, section) for name, found in CITATION.findall(text) for section in re.findall(SECTION, found)}


def headings(text: str) -> set[str]:
    return set(HEADING.findall(text))


TEXTS = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8")
    for folder in SOURCES
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in SUFFIXES and path != Path(__file__)
}
CITED = sorted({(*citation, str(path)) for path, text in TEXTS.items() for citation in citations(text)})


@pytest.mark.parametrize(("document", "section", "path"), CITED)
def test_every_cited_section_exists(document: str, section: str, path: str) -> None:
    file = DOCS / f"{document}.md"
    assert file.is_file(), f"{path} cites {document}, which is not in docs/"
    assert section in headings(file.read_text(encoding="utf-8")), f"{path} cites {document} {section}"


def test_every_spec_is_cited_and_listed() -> None:
    present = {path.stem for path in DOCS.glob("*-spec.md")}
    assert present == {document for document, _, _ in CITED}
    listed = set(re.findall(r"\(([\w-]+)\.md\)", (DOCS / "README.md").read_text(encoding="utf-8")))
    assert present <= listed


def test_citations_name_their_document() -> None:
    assert [str(path) for path, text in TEXTS.items() if BARE.search(text)] == []


def test_reading() -> None:
    assert citations('"""A (a-spec 3.2, 4), b-spec 5 and 6.1; spec 7. c-spec 8."""') == {
        ("a-spec", "3.2"),
        ("a-spec", "4"),
        ("b-spec", "5"),
        ("b-spec", "6.1"),
        ("c-spec", "8"),
    }
    assert headings("# Title\n## 3. Warp [C]\n### 3.2 Border\ntext 4.1 x\n") == {"3", "3.2"}
    assert BARE.search("(spec 6.4)") and not BARE.search("a-spec 6.4")
