"""JavaScript modules become one script, or an error says what is wrong with them."""

import pytest

from dlgutils.javascript.bundle import bundle
from dlgutils.javascript.translate import STATIC


@pytest.fixture
def files(tmp_path):
    """files({"a.js": …}): the path of the first of these files, once all have been written."""

    def write(sources):
        for name, source in sources.items():
            (tmp_path / name).write_text(source, encoding="utf-8")
        return tmp_path / next(iter(sources))

    return write


def test_bundle_has_each_file_once_before_its_first_use(files):
    entry = files(
        {
            "a.js": 'import { b } from "./b.js";\nimport { c } from "./c.js";\nb(c);\n',
            "b.js": 'import { c } from "./c.js";\nexport const b = () => c;\n',
            "c.js": "export const c = 1;\n",
        }
    )
    assert bundle(entry) == "const c = 1;\n\nconst b = () => c;\n\nb(c);\n"


def test_bundle_strips_exports_but_the_default_one(files):
    source = "export async function f() {}\nexport class C {}\nexport default { f };\n"
    assert bundle(files({"a.js": source})) == (
        "async function f() {}\nclass C {}\nexport default { f };\n"
    )


def test_bundle_follows_an_import_of_several_lines(files):
    entry = files(
        {
            "a.js": 'import {\n  b,\n  $c,\n} from "./b.js";\nb($c);\n',
            "b.js": "export const b = 1;\nexport let $c = 2;\n",
        }
    )
    assert bundle(entry) == "const b = 1;\nlet $c = 2;\n\nb($c);\n"


def test_bundle_leaves_a_dynamic_import_alone(files):
    source = 'import("./later.js").then(run);\n'
    assert bundle(files({"a.js": source})) == source


def test_bundle_refuses_a_circle(files):
    entry = files(
        {
            "a.js": 'import { b } from "./b.js";\nexport const a = 1;\n',
            "b.js": 'import { c } from "./c.js";\nexport const b = 1;\n',
            "c.js": 'import { b } from "./b.js";\nexport const c = 1;\n',
        }
    )
    with pytest.raises(ValueError, match=r"circle: b\.js → c\.js → b\.js; move what they share"):
        bundle(entry)


def test_bundle_refuses_a_name_that_is_not_exported(files):
    entry = files(
        {
            "a.js": 'import { b, d } from "./b.js";\n',
            "b.js": "export const b = 1;\nexport const c = 1;\nconst d = 1;\n",
        }
    )
    message = r"a\.js imports d from b\.js, which exports b, c; correct the name or export it"
    with pytest.raises(ValueError, match=message):
        bundle(entry)


@pytest.mark.parametrize(
    "line",
    [
        'import b from "./b.js";',
        'import * as b from "./b.js";',
        "import { b } from './b.js';",
        'import "./b.js";',
        'import { b } from "b";',
    ],
)
def test_bundle_refuses_an_import_of_another_form(files, line):
    entry = files({"a.js": f"{line}\n", "b.js": "export const b = 1;\n"})
    with pytest.raises(ValueError, match=r"a\.js has the line .*write import \{ a, b \} from"):
        bundle(entry)


def test_bundle_refuses_a_renamed_import(files):
    entry = files({"a.js": 'import { b as c } from "./b.js";\n', "b.js": "export const b = 1;\n"})
    with pytest.raises(ValueError, match=r"imports b as c from b\.js, which exports b;"):
        bundle(entry)


def test_bundle_refuses_a_name_that_two_files_declare(files):
    entry = files(
        {
            "a.js": 'import { b } from "./b.js";\nconst help = b;\n',
            "b.js": "function help() {}\nexport const b = help;\n",
        }
    )
    with pytest.raises(ValueError, match=r"b\.js and a\.js both declare help.*rename one"):
        bundle(entry)


def test_bundle_names_a_file_that_does_not_exist_and_who_imports_it(files):
    entry = files({"a.js": 'import { b } from "./lost.js";\n'})
    with pytest.raises(FileNotFoundError, match=r"no file .*lost\.js, which a\.js imports"):
        bundle(entry)
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.js; correct the path"):
        bundle(entry.with_name("gone.js"))


def test_bundle_makes_one_script_of_the_worker():
    source = bundle(STATIC / "worker.js")
    assert source.index("function lbfgs") < source.index("const optimizers = { lbfgs, adam }")
    assert not [line for line in source.splitlines() if line.startswith(("import", "export"))]
