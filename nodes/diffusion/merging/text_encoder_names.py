"""Consistent names of text encoders for all sources of a merge, since programs name them differently."""

from collections.abc import Mapping

from nodes.diffusion.families.registry import one_spelling
from nodes.diffusion.formats.checkpoint_headers import Entry, Header
from nodes.diffusion.handles.recipes import Permuted, Source, sources_of


def spelled_alike(
    headers: Mapping[Source, Header], orders: Mapping[Permuted, Header]
) -> tuple[dict[Source, Header], dict[Permuted, Header]]:
    """Return the headers of sources and of orders, with the names of the first source that has each tensor."""
    first: dict[str, str] = {}
    for header in headers.values():
        for name in header:
            first.setdefault(one_spelling(name), name)
    alike: dict[Source, Header] = {
        source: {_spelled(name, header, first): entry for name, entry in header.items()} for source, header in headers.items()
    }
    return alike, {permuted: _orders(order, headers[next(sources_of(permuted))], first) for permuted, order in orders.items()}


def _orders(order: Header, header: Header, first: Mapping[str, str]) -> dict[str, Entry]:
    """Return the renamed orders of one source's rows and columns, `rows.NAME` and `columns.NAME`."""
    parts = {key: key.partition(".") for key in order}
    return {f"{axis}.{_spelled(name, header, first)}": order[key] for key, (axis, _, name) in parts.items()}


def _spelled(name: str, header: Header, first: Mapping[str, str]) -> str:
    """Return a tensor's name in the first source; unchanged in a file with both spellings, which has two encoders."""
    spelled = first.get(one_spelling(name), name)
    return name if spelled in header else spelled
