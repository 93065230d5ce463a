"""The table of `make book` has the seconds that the cache wrote down."""

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.cache.main import CacheBundleIn

from tools.book import chapter_times


def test_chapter_times_are_those_of_the_cache(tmp_path, capsys):
    cache = get_cache(tmp_path / "cache")
    for name, seconds in (("02_more", 3.2), ("01_less", 1.4), ("03_never_run", None)):
        path = tmp_path / f"{name}.ipynb"
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(name)])
        nbformat.write(book, path)
        cache.add_nb_to_project(str(path))
        if seconds is not None:
            bundle = CacheBundleIn(book, str(path), data={"execution_seconds": seconds})
            cache.cache_notebook_bundle(bundle, check_validity=False)
    chapter_times.main(str(tmp_path / "cache"))
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert rows == ["| 01 less | 1 |", "| 02 more | 3 |", "| together | 5 |"]
