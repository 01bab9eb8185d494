"""The scripts of docs/scale.md, as far as this machine can run them."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from normjax.errors import install

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "scale.md").read_text()
SHARE = """
import pathlib, sys
from normjax.study.claims import claim
folder = pathlib.Path(sys.argv[1])
for name in map(str, range(20)):
    with claim(folder / "locks", name) as ours:
        if ours and not (folder / name).exists():
            (folder / name).touch(exist_ok=False)
"""


def test_the_jobs_of_submitit_share_the_work(tmp_path):
    """Two of its local executor; what was done twice would make one of them fail."""
    reason = f"needs submitit: {install('cluster')}"
    pytest.importorskip("submitit", reason=reason)
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
        if "import submitit" in block
    )
    (tmp_path / "submit.py").write_text(code)
    (tmp_path / "share.py").write_text(SHARE)
    done = tmp_path / "done"
    done.mkdir()
    ran = subprocess.run(
        [sys.executable, "submit.py", "2", "share.py", done],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"CLUSTER": "local", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert sorted(os.listdir(done)) == sorted([*map(str, range(20)), "locks"])
