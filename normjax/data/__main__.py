"""Downloads and decodes a data set: `python -m normjax.data fashion_mnist`."""

import argparse
import sys

from normjax.data import sources
from normjax.errors import InputError
from normjax.files import cache_folder


def main(argv: list[str] | None = None) -> int:
    """Prepares the set named on the command line; 0, or 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="python -m normjax.data", description=__doc__)
    parser.add_argument("name", help="a set of images of TFDS: mnist, eurosat, ...")
    parser.add_argument("--directory", default="", help="TFDS data folder")
    flags = parser.parse_args(argv)
    try:
        data_set = sources.prepare(flags.name, directory=flags.directory)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    sizes = f"{len(data_set.y_train)} + {len(data_set.y_test)} examples"
    print(f"{flags.name}: {sizes}, decoded in {cache_folder() / 'data'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
