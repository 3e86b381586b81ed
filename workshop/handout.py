#!/usr/bin/env python
"""Print handout.html to handout.pdf, one page of A4: `make handout`."""

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).resolve().parent


def main():
    with sync_playwright() as play:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")  # else that of playwright install
        browser = play.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        page = browser.new_page()
        page.goto((FOLDER / "handout.html").as_uri())
        content = page.pdf(prefer_css_page_size=True, print_background=True, tagged=True)
        browser.close()
    if (pages := len(re.findall(rb"/Type\s*/Page\b", content))) != 1:
        raise SystemExit(f"handout.html takes {pages} pages where one is meant: shorten it.")
    (FOLDER / "handout.pdf").write_bytes(content)
    print(f"handout.pdf: {len(content) / 1e3:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
