"""Makes the vocabularies of Qwen and T5 from two published packages: `python -m tests.vocabularies WHEEL SDIST`.

WHEEL is dashscope 2.0.2 from PyPI (`pip download --no-deps dashscope==2.0.2`), SDIST is stable-diffusion-cpp-python 0.4.7.
"""

import base64
import hashlib
import json
import lzma
import re
import sys
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path

from nodes.diffusion.families.vocabularies import qwen, t5
from nodes.diffusion.families.vocabularies.byte_letters import byte_letters

WHEEL = "0602d1800f7433bdb7953560986eaf5146454ed3988636c0a91963ba24e74258"
"""The sha256 of `dashscope-2.0.2-py3-none-any.whl`."""
RANKS = "dashscope/resources/qwen.tiktoken"
SDIST = "998d1957260dd5ae4e18a8acc0c14b0a8757aaa9f96515197b6d5bbf46df9282"
"""The sha256 of `stable_diffusion_cpp_python-0.4.7.tar.gz`."""
HEADER = "stable_diffusion_cpp_python-0.4.7/vendor/stable-diffusion.cpp/src/tokenizers/vocab/clip_t5.hpp"


def merged_from(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Return the two tokens that a token is merged from: what encoding by ranks makes of it last."""
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(one + other, len(ranks)) for one, other in pairwise(parts)]
        first = pairs.index(min(pairs))
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return parts


def qwen_merges(wheel: Path) -> bytes:
    """Return the merges, one a line in order, that the ranks of the tokens tell."""
    lines = zipfile.ZipFile(wheel).read(RANKS).splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    letters = byte_letters()
    tokens = sorted(ranks, key=ranks.__getitem__)
    assert tokens[:256] == [bytes([byte]) for byte in letters]
    pairs = [merged_from(token, ranks) for token in tokens[256:]]
    return "".join(" ".join("".join(letters[byte] for byte in part) for part in pair) + "\n" for pair in pairs).encode()


def t5_vocabulary(sdist: Path) -> bytes:
    """Return pieces, scores and the table of characters, from the `tokenizer.json` that a C++ header holds as bytes."""
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(HEADER)
        assert member
        _, _, numbers = member.read().decode().partition("t5_tokenizer_json_str[] = {")
    published = json.loads(bytes(int(number, 16) for number in re.findall(r"0x\w\w", numbers.partition("}")[0])))
    characters = published["normalizer"]["normalizers"][0]["precompiled_charsmap"]
    vocabulary = {"pieces": published["model"]["vocab"], "characters": characters}
    return json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")).encode()


def main(wheel: Path, sdist: Path) -> None:
    for file, published in ((wheel, WHEEL), (sdist, SDIST)):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == published, f"{file} is not the published file."
    for path, content in ((qwen.MERGES, qwen_merges(wheel)), (t5.VOCABULARY, t5_vocabulary(sdist))):
        path.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
