"""Hundreds of archives that are damaged or meant to harm: each is an error of one line or harmless.

All mutations come from fixed seeds. Whatever is in them, nothing but the library's own errors is
raised, nothing is written outside the folder, and little memory is taken.
"""

from __future__ import annotations

import copy
import io
import json
import math
import random
import resource
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aihwjax.cloud import archive, document
from aihwjax.cloud.check import check
from aihwjax.errors import AihwjaxError, ArchiveError
from tests.cloud import networks

GIB = 1 << 30
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    """Return a valid archive with parameters."""
    path = tmp_path_factory.mktemp("good") / "a.tar"
    experiment = networks.experiment()
    archive.pack(path, document.to_document(experiment, key=1), experiment.model)
    return path.read_bytes()


def members(content: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}


def packed(files: Members) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def with_member(content: bytes, member: tarfile.TarInfo, data: bytes = b"", form: int = tarfile.GNU_FORMAT) -> bytes:
    """Return the archive with one more member in front, whatever it is."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        if data and member.isreg():
            member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
        for name, entry in members(content).items():
            other = tarfile.TarInfo(name)
            other.size = len(entry)
            tar.addfile(other, io.BytesIO(entry))
    return file.getvalue()


def survives(path: Path, content: bytes, outside: Path) -> str | None:
    """Read an archive and return the error, ``None`` if it was accepted.

    Anything but an error of the library fails the test, as does a file that appears outside.
    """
    path.write_bytes(content)
    before = sorted(outside.rglob("*"))
    said = None
    try:
        archive.read(path)
    except AihwjaxError as error:
        said = str(error)
        assert "\n" not in said and len(said) < 1000
    answer = check(str(path), GIB)
    assert answer["ok"] is (said is None), answer
    assert json.dumps(answer)
    assert sorted(outside.rglob("*")) == before
    return said


# ----------------------------------------------------------------- random damage
def flip(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8, 64))):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def zeroed(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    length = min(chance.choice((1, 16, 512, 5000)), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def shuffled(content: bytes, chance: random.Random) -> bytes:
    blocks = [content[i : i + 512] for i in range(0, len(content), 512)]
    i, j = chance.randrange(len(blocks)), chance.randrange(len(blocks))
    blocks[i], blocks[j] = blocks[j], blocks[i]
    return b"".join(blocks)


def in_a_member(content: bytes, chance: random.Random) -> bytes:
    """Damage the content of one member, with a valid tar around it."""
    files = members(content)
    name = chance.choice([name for name, entry in files.items() if entry])
    files[name] = chance.choice((flip, cut, zeroed))(files[name], chance)
    return packed(files)


def without_a_member(content: bytes, chance: random.Random) -> bytes:
    files = members(content)
    del files[chance.choice(list(files))]
    return packed(files)


def header_digits(content: bytes, chance: random.Random) -> bytes:
    """Put another size, type or name into a header, with a checksum that fits."""
    damaged = bytearray(content)
    starts = [i for i in range(0, len(content) - 512, 512) if content[i + 257 : i + 262] == b"ustar"]
    start = chance.choice(starts)
    header = damaged[start : start + 512]
    choice = chance.randrange(4)
    if choice == 0:
        header[124:136] = chance.choice(
            (b"77777777777\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"\0" * 12)
        )
    elif choice == 1:
        header[156:157] = bytes([chance.choice(b"01234567xgLKSDVMN\0\xff")])
    elif choice == 2:
        header[0:8] = chance.choice((b"../../x\0", b"/etc/x\0\0", b"a\\..\\b\0\0", b"\xff" * 8, b"\0" * 8))
    else:
        header[345:353] = chance.choice((b"../../..", b"/nowhere", b"paramete"))
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    damaged[start : start + 512] = header
    return bytes(damaged)


def document_entry(content: bytes, chance: random.Random) -> bytes:
    """Put something else in place of any value of the document."""
    files = members(content)
    value = json.loads(files["experiment.json"])
    inner, places = value, []
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            break
        key = chance.choice(keys)
        places.append((inner, key))
        inner = inner[key]
        if not isinstance(inner, dict | list):
            break
    holder, key = chance.choice(places)
    wrong = [None, True, -1, 0, 0.5, 10**9, 10**30, 1e308, "", "x" * 5000, "../..", [], {}, [[]], {"class": "Flatten"}]
    holder[key] = copy.deepcopy(chance.choice([*wrong, [0] * 100, {"class": "TileConfig"}, [10**9] * 3]))
    files["experiment.json"] = json.dumps(value).encode()
    return packed(files)


def description_entry(content: bytes, chance: random.Random) -> bytes:
    """Put something else into the description of the parameters."""
    files = members(content)
    name = "parameters/0/meta/metadata"
    meta = json.loads(files[name])
    array = chance.choice(list(meta["arrays"]))
    wrong = chance.choice(([10**9, 10**9], [-1], [], "x", None, [1.5], [True], {"a": 1}))
    if chance.random() < 0.5:
        meta["arrays"][array]["shape"] = wrong
    elif chance.random() < 0.5:
        meta["arrays"][array]["dtype"] = chance.choice(("object", "float64", "<U5", "os.system", "bfloat16", 3))
    else:
        meta[chance.choice(("arrays", "document", "digest"))] = wrong
    files[name] = json.dumps(meta).encode()
    return packed(files)


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    flip,
    cut,
    zeroed,
    shuffled,
    in_a_member,
    without_a_member,
    header_digits,
    document_entry,
    description_entry,
]


def some(good: bytes, tmp_path: Path, mutation: Callable[[bytes, random.Random], bytes], seeds: range) -> int:
    """Damage an archive and return how many of the results are refused; some damage does no harm."""
    refused = 0
    for seed in seeds:
        chance = random.Random(f"{mutation.__name__} {seed}")
        said = survives(tmp_path / "in" / "a.tar", mutation(good, chance), tmp_path)
        refused += said is not None
    return refused


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tar").touch()
    return tmp_path


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_few_damaged_archives(good, place, mutation):
    some(good, place, mutation, range(4))


@pytest.mark.exhaustive
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_many_damaged_archives(good, place, mutation):
    assert some(good, place, mutation, range(4, 64)) >= 15


# ------------------------------------------------------------------ meant to harm
def special(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


NAMES = [
    "../x",
    "../../../../tmp/aihwjax-escaped",
    "/tmp/aihwjax-escaped",
    "parameters/../../x",
    "parameters/./x",
    "parameters//x",
    "parameters/a\\..\\..\\x",
    "C:x",
    "parameters/\u202ex",
    "parameters/a b",
    "parameters/" + "x" * 101,
    "parameters/" + "a/" * 20 + "x",
    "other/x",
    ".",
    "..",
    "./experiment.json",
    "experiment.json/x",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_a_name_that_leads_elsewhere_is_refused(good, place, name, form):
    said = survives(place / "in" / "a.tar", with_member(good, tarfile.TarInfo(name), b"x", form), place)
    assert said is not None and not Path("/tmp/aihwjax-escaped").exists()


KINDS = {
    "symbolic link": (tarfile.SYMTYPE, "/etc"),
    "relative link": (tarfile.SYMTYPE, "../.."),
    "hard link": (tarfile.LNKTYPE, "experiment.json"),
    "hard link outside": (tarfile.LNKTYPE, "/etc/passwd"),
    "pipe": (tarfile.FIFOTYPE, ""),
    "device": (tarfile.CHRTYPE, ""),
    "block device": (tarfile.BLKTYPE, ""),
    "contiguous": (tarfile.CONTTYPE, ""),
    "unknown": (b"Z", ""),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["parameters", "parameters/0", "parameters/link"])
def test_what_is_no_file_is_refused(good, place, kind, name):
    said = survives(place / "in" / "a.tar", with_member(good, special(name, *KINDS[kind])), place)
    assert said is not None and ("regular files and folders only" in said or "damaged" in said)


def test_a_sparse_file_is_refused(good, place):
    header = bytearray(special("parameters/x", b"S").tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\x0000000000000\x00"
    header[483:495] = b"77777777777\0"  # the size it pretends to have: 8 GiB
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    assert "regular files" in str(survives(place / "in" / "a.tar", bytes(header) + good, place))
    pax = special("parameters/x", tarfile.REGTYPE)
    pax.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999999"}
    assert survives(place / "in" / "a.tar", with_member(good, pax, b"0\n", tarfile.PAX_FORMAT), place) is not None


def test_sizes_beyond_the_file_are_refused_before_anything_is_written(good, place):
    for size in (len(good), 10 * GIB, 8**11 - 1, 2**62):
        member = special("parameters/x", tarfile.REGTYPE, size=size)
        content = member.tobuf(tarfile.GNU_FORMAT) + good
        said = survives(place / "in" / "a.tar", content, place)
        assert said is not None
        with pytest.raises(ArchiveError):
            archive.unpack(place / "in" / "a.tar", place / "in")
        assert [entry.name for entry in (place / "in").iterdir()] == ["a.tar"]


def test_a_million_members_are_refused_at_once(good, place):
    one = tarfile.TarInfo("parameters/x").tobuf(tarfile.USTAR_FORMAT)
    many = b"".join(tarfile.TarInfo(f"parameters/{number}").tobuf(tarfile.USTAR_FORMAT) for number in range(1500))
    start = time.process_time()  # not the clock's: other processes may keep this one waiting
    assert "too many members" in str(survives(place / "in" / "a.tar", many + good, place))
    assert "twice" in str(survives(place / "in" / "a.tar", one * 1_000_000, place))
    assert time.process_time() - start < 20


def test_limits_hold(good, place):
    path = place / "in" / "a.tar"
    path.write_bytes(good)
    for limits in (archive.Limits(members=3), archive.Limits(size=len(good) - 1), archive.Limits(document=100)):
        with pytest.raises(ArchiveError):
            archive.read(path, limits)
    archive.read(path, archive.Limits(size=len(good)))


def test_headers_that_refer_to_headers_end(good, place):
    chain = b"".join(special("x", kind, size=0).tobuf(tarfile.GNU_FORMAT) for kind in (b"x", b"L", b"K", b"g") * 3000)
    assert survives(place / "in" / "a.tar", chain + good, place) is not None


@pytest.mark.parametrize("first", ["parameters", "parameters/0", "experiment.json"])
def test_a_member_that_is_there_twice_or_a_file_and_a_folder_is_refused(good, place, first):
    said = survives(place / "in" / "a.tar", with_member(good, tarfile.TarInfo(first), b"x"), place)
    assert said is not None and ("twice" in said or "a file and a folder" in said)


def test_compressed_archives_are_refused(good, place):
    import bz2
    import gzip
    import lzma

    for content in (gzip.compress(good), bz2.compress(good), lzma.compress(good), gzip.compress(bytes(10**8))):
        assert survives(place / "in" / "a.tar", content, place) is not None


# ----------------------------------------------------------- stored arrays that lie
def stored_as(good: bytes, tmp_path: Path, change: Callable[[dict], None]) -> bytes:
    """Return the archive with the layout of one stored array changed, in a valid database around it."""
    import tensorstore

    (tmp_path / "lie").mkdir()
    (tmp_path / "lie.tar").write_bytes(good)
    archive.unpack(tmp_path / "lie.tar", tmp_path / "lie")
    base = {"driver": "ocdbt", "base": f"file://{tmp_path}/lie/parameters/0/arrays/"}
    store = tensorstore.KvStore.open(base).result()
    name = next(key for key in store.list().result() if key.endswith(b"['kernel'].value/.zarray"))
    layout = json.loads(store.read(name).result().value)
    change(layout)
    store.write(name, json.dumps(layout)).result()
    files = {
        path.relative_to(tmp_path / "lie").as_posix(): path.read_bytes()
        for path in sorted((tmp_path / "lie").rglob("*"))
        if path.is_file() and not path.name.endswith(".__lock")
    }
    return packed(files)


LIES = {
    "shape": {"shape": [10**6, 10**6], "chunks": [10**6, 10**6]},
    "pieces": {"chunks": [10**9, 10**9]},
    "type": {"dtype": "<f8"},
    "object": {"dtype": "|O"},
    "codec": {"compressor": {"id": "bz2", "level": 1}},
    "filter": {"filters": [{"id": "delta", "dtype": "<f4"}]},
    "nothing": {"shape": None},
    "text": {"chunks": "many"},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_stored_array_that_is_not_what_it_says_is_refused_before_it_is_read(good, place, lie):
    content = stored_as(good, place / "in", lambda layout: layout.update(LIES[lie]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = survives(place / "in" / "a.tar", content, place)
    assert said is not None and "parameters" in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_the_same_change_that_changes_nothing_is_accepted(good, place):
    assert survives(place / "in" / "a.tar", stored_as(good, place / "in", lambda layout: None), place) is None


def crc32c(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


@pytest.mark.parametrize("target", ["aa/outside/", "../outside/"])
def test_a_database_that_points_out_of_its_folder_is_not_followed(good, place, target):
    """The numbers are in other files of the database; the way to them is changed, checksums included."""
    import tensorstore

    folder = place / "in" / "lie"
    folder.mkdir()
    (place / "in" / "a.tar").write_bytes(good)
    archive.unpack(place / "in" / "a.tar", folder)
    arrays = folder / "parameters" / "0" / "arrays"
    base = {"driver": "ocdbt", "base": f"file://{arrays}/"}
    values = {key: tensorstore.KvStore.open(base).result().read(key).result().value for key in _keys(base)}
    for path in sorted(arrays.rglob("*")):
        if path.is_file() and not path.name.startswith(("_", "commit")):
            path.unlink()
    config = {"max_inline_value_bytes": 0, "compression": None}
    store = tensorstore.KvStore.open({**base, "value_data_prefix": "aa/outside/", "config": config}).result()
    with tensorstore.Transaction() as transaction:
        for key, value in values.items():
            store.with_transaction(transaction).write(key, value).result()
    node = next(path for path in (arrays / "d").iterdir() if b"aa/outside/" in path.read_bytes())
    content = node.read_bytes().replace(b"aa/outside/", target.encode())[:-4]
    node.write_bytes(content + crc32c(content))
    (arrays / target).resolve().mkdir(exist_ok=True)
    for path in (arrays / "aa" / "outside").iterdir():
        (arrays / target).resolve().joinpath(path.name).write_bytes(path.read_bytes())
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".__lock")
    }
    said = survives(place / "in" / "a.tar", packed(files), place)
    if target == "aa/outside/":
        assert said is None  # a way inside the folder is as good as any
    else:
        assert said is not None and "parameters are damaged" in said


def _keys(base: dict) -> list[bytes]:
    import tensorstore

    return tensorstore.KvStore.open(base).result().list().result()


def test_numbers_that_are_not_those_of_the_digest_are_refused(good, place):
    files = members(good)
    value = json.loads(files["experiment.json"])
    value["parameters"]["digest"] = "0" * 32
    files["experiment.json"] = json.dumps(value).encode()
    assert "digest" in str(survives(place / "in" / "a.tar", packed(files), place))
    meta = json.loads(files["parameters/0/meta/metadata"])
    meta["digest"] = "0" * 32
    files["parameters/0/meta/metadata"] = json.dumps(meta).encode()
    assert "differ from what was written" in str(survives(place / "in" / "a.tar", packed(files), place))


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_of_the_document_must_be_finite(good, place, name):
    files = members(good)
    text = files["experiment.json"].decode().replace('"learning_rate":0.1', f'"learning_rate":{name}')
    files["experiment.json"] = text.encode()
    refused = survives(place / "in" / "a.tar", packed(files), place)
    assert "experiment.learning_rate is NaN, infinite or too large" in str(refused)
    assert check(str(place / "in" / "a.tar"), GIB)["field"] == "experiment.learning_rate"
    assert math.isfinite(json.loads(members(good)["experiment.json"])["experiment"]["learning_rate"])


def test_an_empty_file_or_a_folder_is_refused(place):
    assert survives(place / "in" / "a.tar", b"", place) is not None
    assert survives(place / "in" / "a.tar", bytes(10240), place) is not None
    for path in (place, place / "missing"):
        with pytest.raises(ArchiveError):
            archive.read(path)
