"""Sources: what is loaded, what is cached, and what a mistake is told."""

import io
import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from normjax.data import __main__, room, sources
from normjax.data import cache as decoded
from normjax.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]
WRITE = "write it with np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"
KNOWN = f"{', '.join(sources.SOURCES)}, or the path of an .npz, or a set of TFDS"
PREPARE = "pip install -c constraints.txt -e '.[prepare]'"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of decoded arrays."""
    monkeypatch.setenv("NORMJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def tiny(tmp_path):
    """A TFDS folder with an MNIST of 12 + 5 images, and what it holds."""
    x = np.arange(17 * 28 * 28).reshape(17, 28, 28, 1) * 37 % 256
    x, y = x.astype(np.uint8), np.arange(17, dtype=np.int32) % 10
    folder = tmp_path / "tfds" / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    write_records(folder, "train", x[:12], y[:12])
    write_records(folder, "test", x[12:], y[12:])
    write_description(folder, {"train": 12, "test": 5})
    return folder, sources.DataSet(x[:12], y[:12], x[12:], y[12:], 10)


def write_records(folder, split, x, y):
    """One array_record shard of PNG images and labels, as TFDS writes it."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from PIL import Image
    from tensorflow_datasets.proto import tf_example_pb2

    name = folder.parent.name
    path = folder / f"{name}-{split}.array_record-00000-of-00001"
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for image, label in zip(x, y):
        png = io.BytesIO()
        Image.fromarray(image[..., 0]).save(png, "PNG")
        example = tf_example_pb2.Example()
        features = example.features.feature
        features["image"].bytes_list.value.append(png.getvalue())
        features["label"].int64_list.value.append(label)
        writer.write(example.SerializeToString())
    writer.close()


def write_description(folder, sizes, *, side="28", label="label"):
    """The two JSON files by which TFDS knows a prepared set."""
    core = "tensorflow_datasets.core.features"
    image = {"dtype": "uint8", "shape": {"dimensions": [side, "28", "1"]}}
    features = {
        "image": {"image": image, "pythonClassName": f"{core}.image_feature.Image"},
        label: {
            "classLabel": {"numClasses": "10"},
            "pythonClassName": f"{core}.class_label_feature.ClassLabel",
        },
    }
    described = {
        "featuresDict": {"features": features},
        "pythonClassName": f"{core}.features_dict.FeaturesDict",
    }
    (folder / "features.json").write_text(json.dumps(described))
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    splits = [
        {"name": name, "shardLengths": [str(n)], "filepathTemplate": template}
        for name, n in sizes.items()
    ]
    info = {"name": folder.parent.name, "version": folder.name}
    info["fileFormat"] = "array_record"
    (folder / "dataset_info.json").write_text(json.dumps({**info, "splits": splits}))


def assert_same(one, other):
    for field, a, b in zip(sources.DataSet._fields, one, other):
        np.testing.assert_array_equal(
            a, b, err_msg=field, strict=field != "num_classes"
        )


def refuse(*_):
    raise AssertionError("decoded again")


def told(name, **keywords) -> str:
    """The one line of the InputError that loading a set raises."""
    with pytest.raises(InputError) as caught:
        sources.data_set(name, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_python(statement, environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", statement],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_digits(cache):
    """The 1,797 digits in the file's order; 0 to 16, all ten classes on both sides."""
    source = sources.data_set("digits")
    assert source.x_train.shape == (1437, 8, 8, 1)
    assert source.x_test.shape == (360, 8, 8, 1)
    assert source.x_train.dtype == np.uint8
    assert source.y_train.dtype == np.int32
    assert (source.x_train.min(), source.x_train.max()) == (0, 16)
    assert list(source.y_train[:12]) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert np.unique(source.y_train).tolist() == list(range(10))
    assert np.unique(source.y_test).tolist() == list(range(10))
    assert source.num_classes == 10


def test_the_order_of_the_digits_is_not_random(cache):
    """The docstring's numbers: neighbours lie 85 rows apart, 541 if shuffled.

    Also pins the test split: 344 of its 360 digits are right by one neighbour.
    """
    source = sources.data_set("digits")
    x = np.concatenate([source.x_train, source.x_test]).reshape(1797, 64).astype(int)
    squares = np.sum(x * x, axis=1)
    distance = squares[:, None] + squares[None, :] - 2 * x @ x.T
    nearest_train = np.argmin(distance[1437:, :1437], axis=1)
    right = np.sum(source.y_train[nearest_train] == source.y_test)
    np.fill_diagonal(distance, distance.max() + 1)
    gap = np.median(np.abs(np.argmin(distance, axis=1) - np.arange(1797)))
    assert gap == 85
    assert right == 344


def test_records_are_decoded(cache, tiny):
    folder, expected = tiny
    assert_same(sources.data_set("mnist", directory=str(folder.parents[1])), expected)


def test_the_folder_comes_from_the_environment(cache, tiny, monkeypatch):
    folder, expected = tiny
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder.parents[1]))
    assert_same(sources.data_set("mnist"), expected)


def test_any_set_of_images_and_labels_is_decoded(cache, tmp_path):
    """By its name, with its own validation split, which the cache keeps."""
    folder = tmp_path / "shapes" / "plain" / "1.0.0"
    folder.mkdir(parents=True)
    x = np.arange(9 * 28 * 28).reshape(9, 28, 28, 1) * 41 % 256
    x, y = x.astype(np.uint8), np.arange(9, dtype=np.int32)
    rows = {"train": slice(0, 4), "test": slice(4, 7), "validation": slice(7, 9)}
    sizes = {name: len(y[x]) for name, x in rows.items()}
    for name, part in rows.items():
        write_records(folder, name, x[part], y[part])
    write_description(folder, sizes)
    parts = [z[rows[name]] for name in ("train", "test") for z in (x, y)]
    held_out = x[rows["validation"]], y[rows["validation"]]
    for _ in range(2):
        found = sources.data_set("shapes/plain", directory=str(tmp_path))
        assert_same(found, sources.DataSet(*parts, 10, *held_out))
    assert isinstance(found.x_validation, np.memmap)


NPZ = "write an .npz with x_train, y_train, x_test and y_test"
MEMORY = (
    "must fit into memory: to decode its 17 images of (28, 28, 1) takes 26.0 KiB, of"
    f" which the host has 20.0 KiB free; use a larger machine, or {NPZ}."
)
UNFIT = {
    "sizes": (
        {"sizes": {"train": 12, "test": 5}, "side": "-1"},
        "must have images of one size, and its images have the shape (None, 28, 1),"
        f" None where they differ; resize them and {NPZ}.",
    ),
    "label": (
        {"sizes": {"train": 12, "test": 5}, "label": "kind"},
        "must have a feature 'label' of the kind ClassLabel, and has image (Image),"
        f" kind (ClassLabel); {NPZ}.",
    ),
    "test": (
        {"sizes": {"train": 12}},
        f"must have a split 'test', and has train; divide it and {NPZ}.",
    ),
    "memory": ({"sizes": {"train": 12, "test": 5}}, MEMORY),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_set_that_cannot_be_used_is_refused_before_it_is_decoded(
    cache, tiny, monkeypatch, case
):
    description, message = UNFIT[case]
    folder, _ = tiny
    write_description(folder, **description)
    monkeypatch.setattr(sources, "_decode_split", refuse)
    if case == "memory":
        monkeypatch.setattr(room, "host_bytes", lambda: 20 * 2**10)
    directory = str(folder.parents[1])
    assert told("mnist", directory=directory) == f"name='mnist': {message}"


def test_the_second_start_does_not_decode(cache, tiny, monkeypatch):
    folder, expected = tiny
    directory = str(folder.parents[1])
    sources.data_set("mnist", directory=directory)
    monkeypatch.setattr(sources, "_decode_split", refuse)
    source = sources.data_set("mnist", directory=directory)
    assert_same(source, expected)
    assert isinstance(source.x_train, np.memmap)
    assert not source.x_train.flags.writeable


@pytest.mark.parametrize("field", [*decoded.ALWAYS, "crc32"])
@pytest.mark.parametrize("damage", ["removed", "empty", "cut", "altered"])
def test_a_damaged_cache_is_decoded_anew(cache, field, damage, monkeypatch):
    """Also when only the last byte differs, which the .npy format cannot notice."""
    expected = sources._decode_digits()
    sources.data_set("digits")
    (path,) = cache.glob(f"*/{field}.*")
    content = path.read_bytes()
    damaged = {
        "empty": b"",
        "cut": content[:-2],
        "altered": content[:-1] + bytes([content[-1] ^ 1]),
    }
    path.unlink()
    if damage != "removed":
        path.write_bytes(damaged[damage])
    assert_same(sources.data_set("digits"), expected)
    assert path.read_bytes() == content
    assert [folder.name for folder in cache.iterdir()] == [path.parent.name]


def test_a_writer_that_dies_leaves_nothing_to_read(cache, monkeypatch):
    """The checksums come last: arrays without them are decoded again."""
    write = decoded.files.write_json

    def die(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(decoded.files, "write_json", die)
    with pytest.raises(KeyboardInterrupt):
        sources.data_set("digits")
    (folder,) = cache.iterdir()
    assert {path.stem for path in folder.iterdir()} == set(decoded.ALWAYS)
    edition = sources._find_digits("digits", "")[0]
    assert decoded._read(edition) is None
    monkeypatch.setattr(decoded.files, "write_json", write)
    source = sources.data_set("digits")
    assert_same(source, sources._decode_digits())
    assert isinstance(source.x_train, np.memmap)


def test_another_process_may_write_the_same_set_at_the_same_time(cache, monkeypatch):
    """Each file is replaced whole by the same bytes, so both read what they wrote."""
    write, expected = decoded._write, sources._decode_digits()

    def twice(edition, source):
        write(edition, source)
        first.append(decoded._read(edition))
        write(edition, source)

    first = []
    monkeypatch.setattr(decoded, "_write", twice)
    second = sources.data_set("digits")
    for source in (*first, second):
        assert_same(source, expected)
        assert isinstance(source.x_train, np.memmap)


def test_a_set_prepared_anew_is_decoded_anew(cache, tiny):
    folder, expected = tiny
    directory = str(folder.parents[1])
    sources.data_set("mnist", directory=directory)
    write_records(folder, "test", 255 - expected.x_test, expected.y_test)
    source = sources.data_set("mnist", directory=directory)
    assert_same(source, expected._replace(x_test=255 - expected.x_test))


def test_the_highest_version_is_taken(tmp_path):
    """By number: 3.0.10 is above 3.0.9; a version of another format does not count."""
    for version in ("3.0.9", "3.0.10", "3.0.2"):
        folder = tmp_path / "mnist" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").touch()
        (folder / "mnist-train.array_record-00000-of-00001").touch()
    other = tmp_path / "mnist" / "3.1.0"
    other.mkdir()
    (other / "dataset_info.json").touch()
    (other / "mnist-train.tfrecord-00000-of-00001").touch()
    assert sources._newest_version("mnist", tmp_path).name == "3.0.10"


def test_an_unwritable_cache_does_not_stop_the_run(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NORMJAX_CACHE", str(tmp_path / "file"))
    assert_same(sources.data_set("digits"), sources._decode_digits())
    (record,) = caplog.records
    edition = sources._find_digits("digits", "")[0]
    assert record.getMessage() == (
        f"{edition} cannot be cached in {tmp_path}/file/data (Not a directory) and"
        " will be decoded again; set NORMJAX_CACHE to a folder that can be written."
    )


def test_no_tensorflow_and_no_jax(tmp_path, tiny):
    """TensorFlow is installed here as a module that ends the process on import."""
    folder, _ = tiny
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('tensorflow imported')")
    statement = (
        "import sys; from normjax.data import sources; sources.data_set('mnist');"
        "print([m for m in ('jax', 'tensorflow_datasets') if m in sys.modules])"
    )
    environment = {
        "PYTHONPATH": str(tmp_path),
        "NORMJAX_CACHE": str(tmp_path / "cache"),
        "TFDS_DATA_DIR": str(folder.parents[1]),
    }
    first, second = (in_python(statement, environment) for _ in range(2))
    assert (first.returncode, first.stdout) == (0, "['tensorflow_datasets']\n")
    assert (second.returncode, second.stdout) == (0, "[]\n")
    assert first.stderr == second.stderr == ""
    caught = in_python("import tensorflow", environment)
    assert caught.stderr == "tensorflow imported\n"


@pytest.mark.parametrize(
    ("name", "accuracy"),
    [
        ("fashion_mnist", 0.677),
        ("mnist", 0.820),
        ("cifar10", 0.277),
    ],
)
def test_nearest_centroids_on_real_data(name, accuracy, tfds_folder):
    """To the three digits known: one swapped split, label or channel order shows."""
    source = sources.data_set(name, directory=tfds_folder)
    classes = np.arange(source.num_classes)
    x = source.x_train.reshape(len(source.x_train), -1)
    centroids = np.stack([x[source.y_train == c].mean(axis=0) for c in classes])
    x = source.x_test.reshape(len(source.x_test), -1).astype(np.float64)
    distance = np.sum(centroids**2, axis=1)[None, :] - 2 * x @ centroids.T
    right = np.mean(np.argmin(distance, axis=1) == source.y_test)
    assert round(right, 3) == accuracy


def test_an_unknown_name(tmp_path):
    run = f"{PREPARE} && python -m normjax.data {{}} --directory"
    assert told("fashion_mnits", directory=str(tmp_path)) == (
        f"name='fashion_mnits': must be one of {KNOWN} that is prepared in {tmp_path};"
        " did you mean 'fashion_mnist'? If TFDS has such a set, run"
        f" {run.format('fashion_mnits')} {tmp_path}."
    )
    assert told("eurosat/rgb", directory=str(tmp_path)) == (
        f"name='eurosat/rgb': must be one of {KNOWN} that is prepared in {tmp_path};"
        f" if TFDS has such a set, run {run.format('eurosat/rgb')} {tmp_path}."
    )


def test_a_set_that_is_not_prepared(tmp_path):
    assert told("cifar10", directory=str(tmp_path)) == (
        f"name='cifar10': must be prepared (as array_record) in {tmp_path}; run"
        f" {PREPARE} && python -m normjax.data cifar10"
        f" --directory {tmp_path}, or set TFDS_DATA_DIR to the folder it is in."
    )


def test_records_that_cannot_be_read(cache, tiny):
    folder, _ = tiny
    path = folder / "mnist-test.array_record-00000-of-00001"
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(200) + content[300:])
    message = told("mnist", directory=str(folder.parents[1]))
    start = f"name='mnist': must have records that can be read in {folder}"
    why = "(RuntimeError: Corrupted Riegeli/records file: "
    assert message.startswith(f"{start} {why}")
    assert message.endswith(
        f"); delete that folder, then run {PREPARE} && python -m"
        f" normjax.data mnist --directory {folder.parents[1]}."
    )
    assert not cache.exists()


def prepare(monkeypatch, tfds) -> str:
    """What `prepare` tells when TensorFlow is there and TFDS is the one given."""
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", tfds)
    with pytest.raises(InputError) as caught:
        sources.prepare("mnist", directory="nowhere")
    return str(caught.value)


def test_preparing_without_tensorflow(monkeypatch):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        sources.prepare("mnist", directory="nowhere")
    assert str(caught.value) == (
        "name='mnist': must be prepared with TensorFlow, which is not installed;"
        f" run {PREPARE}."
    )


def test_a_download_that_fails(monkeypatch):
    def builder(name, data_dir):
        raise ConnectionError("Max retries\nexceeded")

    tfds = types.SimpleNamespace(builder=builder)
    assert prepare(monkeypatch, tfds) == (
        "name='mnist': must be prepared in nowhere, which failed (ConnectionError:"
        " Max retries exceeded); check the network and the folder, or copy a prepared"
        " set to nowhere/mnist."
    )


def test_another_format_lies_in_the_folder(monkeypatch):
    asked = []
    prepared = types.SimpleNamespace(download_and_prepare=lambda **k: asked.append(k))
    tfds = types.SimpleNamespace(builder=lambda name, data_dir: prepared)
    assert prepare(monkeypatch, tfds) == (
        "name='mnist': must be stored as array_record, and nowhere/mnist holds"
        " another format; give another directory."
    )
    assert asked == [{"file_format": "array_record"}]


def test_the_command_decodes_what_is_there(cache, tiny, capsys):
    folder, _ = tiny
    assert __main__.main(["mnist", "--directory", str(folder.parents[1])]) == 0
    assert capsys.readouterr().out == f"mnist: 12 + 5 examples, decoded in {cache}\n"
    assert __main__.main(["minst"]) == 2
    names = ", ".join(sources.SOURCES)
    assert capsys.readouterr().err == (
        f"name='minst': must be one of {names}, or a data set of TFDS; did you mean"
        " 'mnist'?\n"
    )


def own(**changed) -> dict:
    """Arrays of a valid .npz with some of them changed; None removes one."""
    arrays = {
        "x_train": np.linspace(-1.0, 1.0, 18).reshape(6, 3),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": np.linspace(0.0, 1.0, 6).reshape(2, 3),
        "y_test": np.array([2, 0]),
    }
    return {k: v for k, v in (arrays | changed).items() if v is not None}


def test_an_npz_of_features(tmp_path):
    """float64 becomes float32, int64 int32; there are max(y_train) + 1 classes."""
    arrays = own()
    np.savez(tmp_path / "own.npz", **arrays)
    floats = {k: v.astype(np.float32) for k, v in arrays.items() if k[0] == "x"}
    ints = {k: v.astype(np.int32) for k, v in arrays.items() if k[0] == "y"}
    expected = sources.DataSet(**floats, **ints, num_classes=3)
    assert_same(sources.data_set(str(tmp_path / "own.npz")), expected)


def test_an_npz_of_images_stays_uint8(tmp_path):
    x = np.arange(96, dtype=np.uint8).reshape(8, 2, 2, 3)
    np.savez_compressed(tmp_path / "own.npz", **own(x_train=x[:6], x_test=x[6:]))
    source = sources.data_set(str(tmp_path / "own.npz"))
    np.testing.assert_array_equal(source.x_train, x[:6], strict=True)


HUGE = np.full((6, 3), 1e300)
GAPS = np.full((6, 3), np.nan)
SHAPES = "[examples, features] or [examples, height, width, channels] and not empty"
BROKEN_RULES = {
    "missing": (
        {"y_test": None, "y_tset": np.array([0, 0])},
        "must hold an array 'y_test', not only x_train, y_train, x_test, y_tset;"
        " rename 'y_tset' to 'y_test'.",
    ),
    "objects": (
        {"y_train": np.array([None] * 6)},
        "must be readable (ValueError: Object arrays cannot be loaded when"
        f" allow_pickle=False); {WRITE}.",
    ),
    "axes": (
        {"x_test": np.zeros(2)},
        f"x_test must be {SHAPES}, but its shape is (2,); reshape it (numbers: x[:,"
        " None]).",
    ),
    "empty": (
        {"x_test": np.zeros((0, 3))},
        f"x_test must be {SHAPES}, but its shape is (0, 3); fill it.",
    ),
    "words": (
        {"x_train": np.full((6, 3), "a")},
        "x_train must hold real numbers, not <U1; store uint8 or float32.",
    ),
    "nan": (
        {"x_train": GAPS},
        "x_train must be finite as float32, but 18 values are not; remove those"
        " examples or fill the gaps.",
    ),
    "overflow": (
        {"x_train": HUGE},
        "x_train must be finite as float32, but 18 values are not; remove those"
        " examples or fill the gaps.",
    ),
    "shapes": (
        {"x_test": np.zeros((2, 4))},
        "x_test must have examples of shape (3,) as x_train has, not (4,); give both"
        " the same shape.",
    ),
    "count": (
        {"y_train": np.array([0, 1, 2])},
        "y_train must have shape (6,), one label for each row of the inputs, not (3,);"
        " store as many labels as examples.",
    ),
    "column": (
        {"y_test": np.array([[0], [1]])},
        "y_test must have shape (2,), one label for each row of the inputs, not (2, 1);"
        " store the classes themselves, y[:, 0].",
    ),
    "one-hot": (
        {"y_test": np.eye(3)[:2]},
        "y_test must have shape (2,), one label for each row of the inputs, not (2, 3);"
        " store the classes themselves, y.argmax(axis=1) if it is one-hot.",
    ),
    "targets": (
        {"y_test": np.array([0.5, 1.0])},
        "y_test must hold integers, not float64; number the classes from 0 on; there is"
        " no regression.",
    ),
    "names": (
        {"y_test": np.array(["cat", "dog"])},
        "y_test must hold integers, not <U3; store np.unique(y,"
        " return_inverse=True)[1].",
    ),
    "half a validation split": (
        {"x_validation": np.zeros((2, 3))},
        "must hold an array 'y_validation', not only x_train, y_train, x_test, y_test,"
        f" x_validation; {WRITE}.",
    ),
    "floats": (
        {"y_test": np.array([0.0, 1.0])},
        "y_test must hold integers, not float64; store y.astype(np.int32).",
    ),
    "negative": (
        {"y_train": np.array([-1, 0, 1, -1, 0, 1])},
        "y_train must hold labels from 0 to 99999, not -1 to 1; number the classes from"
        " 0 on.",
    ),
    "large": (
        {"y_train": np.array([0, 1, 2, 3, 4, 100_000])},
        "y_train must hold labels from 0 to 99999, not 0 to 100000; number the classes"
        " from 0 on.",
    ),
    "unseen": (
        {"y_test": np.array([0, 3])},
        "y_test must hold labels up to 2, the largest in y_train, not 3; remove such"
        " rows of y_test or add some to y_train.",
    ),
}


@pytest.mark.parametrize("case", BROKEN_RULES)
def test_an_npz_that_breaks_a_rule(tmp_path, case):
    changed, message = BROKEN_RULES[case]
    path = tmp_path / "own.npz"
    np.savez(path, **own(**changed))
    assert told(str(path)) == f"name='{path}': {message}"


def test_an_npz_that_is_no_archive(tmp_path):
    path = tmp_path / "own.npz"
    assert told(str(path)) == (
        f"name='{path}': must be a file that exists; check the path."
    )
    np.savez(path, **own())
    content = path.read_bytes()
    for broken in (b"", b"words", content[: len(content) // 2]):
        path.write_bytes(broken)
        assert told(str(path)) == (f"name='{path}': must be a whole .npz; {WRITE}.")
    at = content.index(b"\x93NUMPY") + 140  # within the numbers of x_train
    path.write_bytes(content[:at] + b"????" + content[at + 4 :])
    assert told(str(path)) == (
        f"name='{path}': must be readable (BadZipFile: Bad CRC-32 for file"
        f" 'x_train.npy'); {WRITE}."
    )


def test_files_that_were_read_leave_a_container_its_memory(tmp_path, monkeypatch):
    """The limit counts their pages as used, and they are given back when needed."""
    monkeypatch.setattr(room, "HOST", tmp_path / "meminfo")
    monkeypatch.setattr(room, "GROUP", tmp_path)
    assert room.host_bytes() == room.UNKNOWN
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\nMemAvailable: 9 kB\n")
    assert room.host_bytes() == 9 * 1024
    (tmp_path / "memory.max").write_text("8000\n")
    (tmp_path / "memory.current").write_text("7500\n")
    assert room.host_bytes() == 500
    stat = "anon 500\nfile 7000\nactive_file 2000\ninactive_file 4000\n"
    (tmp_path / "memory.stat").write_text(stat)
    assert room.host_bytes() == 6500
    (tmp_path / "memory.max").write_text("max\n")
    assert room.host_bytes() == 9 * 1024


def test_an_npz_that_does_not_fit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """By the sizes of the arrays that are used, as they are without compression."""
    path = tmp_path / "own.npz"
    x = np.zeros((6, 1024), np.uint8)
    np.savez_compressed(path, **own(x_train=x, x_test=x[:2]), notes=np.zeros(2**20))
    assert path.stat().st_size < 12 * 1024
    monkeypatch.setattr(room, "host_bytes", lambda: 8 * 1024)
    assert told(str(path)) == (
        f"name='{path}': must fit into memory: to read it takes 8.6 KiB, of which the"
        " host has 8.0 KiB free; give fewer examples, or use a larger machine."
    )
    monkeypatch.setattr(room, "host_bytes", lambda: 9 * 1024)
    assert sources.data_set(str(path)).x_train.shape == (6, 1024)
