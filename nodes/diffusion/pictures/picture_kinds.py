"""Kinds of picture files: which are read, which an extra package reads, and which are known and not read."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePath

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff"})
HEIF, JXL = ("pillow_heif", "pillow-heif"), ("pillow_jxl", "pillow-jxl-plugin")
EXTRAS = {".heic": HEIF, ".heif": HEIF, ".hif": HEIF, ".jxl": JXL}
"""Kinds that a package adds to Pillow, by its module and its name: the extra `pictures` installs them."""
# fmt: off
UNREAD = frozenset({
    ".apng", ".arw", ".cr2", ".cr3", ".dds", ".dng", ".exr", ".hdr", ".icns", ".ico", ".j2k",
    ".jp2", ".jpx", ".jxr", ".kra", ".nef", ".orf", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm",
    ".psb", ".psd", ".qoi", ".raf", ".raw", ".rw2", ".svg", ".tga", ".xcf",
})
# fmt: on
"""Kinds that nothing here reads."""
STARTS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"\xff\x0a": "image/jxl",
    b"\0\0\0\x0cJXL \r\n\x87\n": "image/jxl",
}
BRANDS = {b"avif": "image/avif", b"avis": "image/avif"} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "image/heic"
)
"""Media types by the brand after `ftyp` in a file of the ISO base media format."""


def picture_type(start: bytes) -> str:
    """Return the media type of a raster picture by its first 16 bytes, empty for anything else."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:8] == b"ftyp":
        return BRANDS.get(start[8:12], "")
    return next((kind for magic, kind in STARTS.items() if start.startswith(magic)), "")


@cache
def readable_suffixes() -> frozenset[str]:
    """Return the ends of names of all pictures that are read here."""
    return SUFFIXES | {suffix for suffix, (module, _) in EXTRAS.items() if find_spec(module)}


def unread_because(name: str) -> str:
    """Return why a picture of this name is not read; empty when it is, or is none by its name."""
    suffix = PurePath(name).suffix.lower()
    if suffix in EXTRAS and suffix not in readable_suffixes():
        return f"{suffix} needs the package {EXTRAS[suffix][1]} (pip install 'latentloom[pictures]'), or convert to PNG"
    return f"{suffix} is not read, so convert to PNG" if suffix in UNREAD else ""


@cache
def extra_formats() -> tuple[str, ...]:
    """Teach Pillow the kinds of the packages that are installed; return their names in Pillow."""
    found: list[str] = []
    if find_spec(HEIF[0]):
        import_module(HEIF[0]).register_heif_opener()
        found.append("HEIF")
    if find_spec(JXL[0]):
        import_module(JXL[0])  # registers itself
        found.append("JXL")
    return tuple(found)
