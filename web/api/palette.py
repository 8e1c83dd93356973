"""The palette for the editor, with the accepted types of each socket, computed once."""

import hashlib
from typing import Any

from aiohttp import web

from graph_runtime.discovery import Palette
from graph_runtime.node import NodeType, accepts, type_name
from graph_runtime.validation import refuses_wires
from web.api.models import FieldSocket, InputSocket, NodeDescription, OutputSocket, PaletteReply
from web.api.services import Services


async def show_palette(services: Services, request: web.Request) -> web.Response:
    """Return all nodes, or 304 when the page has them already."""
    text = palette_reply(services.palette).model_dump_json()
    etag = hashlib.sha256(text.encode()).hexdigest()[:32]
    headers = {"ETag": f'"{etag}"', "Cache-Control": "no-cache"}
    if any(known.value in (etag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    response = web.Response(text=text, content_type="application/json", headers=headers)
    response.enable_compression()
    return response


def palette_reply(palette: Palette) -> PaletteReply:
    """Return the description of every node, with the output types that each socket accepts."""
    offered = {type_name(kind): kind for node_type in palette.types.values() for kind in node_type.outputs.values()}
    nodes = [_described(node_type, offered) for node_type in palette.types.values()]
    nodes.sort(key=lambda node: (node.category, node.name))
    problems = list(palette.problems)
    return PaletteReply(nodes=nodes, problems=problems, widgets=sorted(palette.widgets))


def _described(node_type: NodeType, offered: dict[str, Any]) -> NodeDescription:
    shown = node_type.to_json()
    fields = [socket for socket in node_type.inputs.values() if socket.is_field]
    refuses = refuses_wires(node_type)
    shown["inputs"] = [InputSocket(**socket, accepts=_fitting(node_type, socket["name"], offered)) for socket in shown["inputs"]]
    shown["outputs"] = [OutputSocket(**output) for output in shown["outputs"]]
    shown["field_sockets"] = [
        FieldSocket(
            name=field.name,
            type=field.type_name,
            accepts=[] if refuses else _fitting(node_type, field.name, offered),
            refuses=refuses,
        )
        for field in fields
    ]
    return NodeDescription(**shown)


def _fitting(node_type: NodeType, name: str, offered: dict[str, Any]) -> list[str]:
    return sorted(kind for kind, offer in offered.items() if accepts(node_type.inputs[name].type, offer))
