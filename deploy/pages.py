"""Pages with computed tables: each stands between `<!-- table: NAME -->` and `<!-- end -->`, and NAME is a function."""

import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rows(head, lines):
    body = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in body)


def main(page, tables, usage):
    """Without arguments writes the page anew; with --check says whether it is what the functions make."""
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(usage)
    file = ROOT / page
    text = file.read_text(encoding="utf-8")
    made = _TABLE.sub(lambda found: found[1] + tables[found[2]]() + found[3], text)
    if not sys.argv[1:]:
        file.write_text(made, encoding="utf-8")
    elif made != text:
        at = next(n for n, (is_, should) in enumerate(zip(text.splitlines(), made.splitlines()), 1) if is_ != should)
        sys.exit(f"{page} is stale from line {at}: {os.path.relpath(sys.argv[0], ROOT)} writes it anew")
