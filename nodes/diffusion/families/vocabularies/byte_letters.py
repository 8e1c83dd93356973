"""Letters for bytes, in which vocabularies of byte-pair encodings are written (Radford et al. 2019)."""


def byte_letters() -> dict[int, str]:
    """Return a visible letter for each byte: Latin-1's own first, then for the bytes that have none, from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(0x100 + number) for number, byte in enumerate(hidden)}
