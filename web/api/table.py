"""The table of all routes, for serving and for the OpenAPI document."""

from importlib.metadata import version

from aiohttp import web

from web.api import (
    artifacts,
    comparing,
    datasets,
    device,
    drafts,
    files,
    models,
    palette,
    planning,
    runs,
    session,
    uploads,
    widgets,
    workflows,
)
from web.api.events import open_socket
from web.api.modelfiles import list_models
from web.api.openapi import openapi
from web.api.route import Route
from web.api.sending import Thumbnail
from web.api.services import Services


async def show_openapi(services: Services, request: web.Request) -> web.Response:
    """Return this table as an OpenAPI document."""
    return web.json_response(openapi(ROUTES, version("latentloom")))


ROUTES = (
    Route("GET", "/api/session", session.show_session, "Token, version and devices.", reply=models.Session),
    Route("GET", "/api/nodes", palette.show_palette, "The palette.", reply=models.PaletteReply),
    Route("GET", "/api/widgets/{name}", widgets.show_widget, "A widget of a node package.", sends_file=True),
    Route("GET", "/api/workflows", workflows.list_workflows, "Saved workflows.", reply=models.WorkflowList),
    Route("GET", "/api/workflows/{path:.+}", workflows.read_workflow, "A saved workflow.", reply=models.SavedWorkflow),
    Route(
        "PUT",
        "/api/workflows/{path:.+}",
        workflows.save_workflow,
        "Save one.",
        body=models.SaveRequest,
        reply=models.Saved,
    ),
    Route("DELETE", "/api/workflows/{path:.+}", workflows.remove_workflow, "Remove a saved workflow."),
    Route("GET", "/api/templates", workflows.list_templates, "Workflows to start from.", reply=models.WorkflowList),
    Route("GET", "/api/templates/{name}", workflows.read_template, "A template.", reply=models.SavedWorkflow),
    Route(
        "GET",
        "/api/templates/{name}/picture",
        workflows.template_picture,
        "A template's picture.",
        query=Thumbnail,
        sends_file=True,
    ),
    Route("GET", "/api/drafts", drafts.list_drafts, "Editor tabs as they were left.", reply=models.DraftList),
    Route("PUT", "/api/drafts/{id}", drafts.save_draft, "Keep a draft.", body=models.DraftRequest, reply=models.Saved),
    Route("DELETE", "/api/drafts/{id}", drafts.remove_draft, "Remove a draft.", query=drafts.Seen),
    Route(
        "POST",
        "/api/validate",
        planning.validate_workflow,
        "Name every problem of a document.",
        body=models.ValidateRequest,
        reply=models.ValidationReply,
    ),
    Route(
        "POST",
        "/api/open",
        planning.open_workflow,
        "A document of any release, as this one writes it.",
        body=models.ValidateRequest,
        reply=models.OpenReply,
    ),
    Route(
        "POST",
        "/api/plan",
        planning.plan_workflow,
        "Say what would run and what is cached.",
        body=models.PlanRequest,
        reply=models.PlanReply,
    ),
    Route("POST", "/api/runs", runs.start_run, "Queue a run.", body=models.RunRequest, reply=models.Run),
    Route("GET", "/api/runs", runs.list_runs, "Queue and history.", query=runs.Page, reply=models.RunList),
    Route("GET", "/api/runs/{id}", runs.read_run, "A run and its document.", reply=models.RunDetails),
    Route("GET", "/api/runs/{id}/events", runs.read_events, "What happened.", query=runs.After, reply=models.EventList),
    Route(
        "GET",
        "/api/runs/{id}/comparable",
        comparing.list_comparable,
        "Runs with curves to compare.",
        reply=models.ComparableRuns,
    ),
    Route("POST", "/api/runs/{id}/cancel", runs.cancel_run, "Ask a run to stop.", reply=models.Run),
    Route("POST", "/api/runs/{id}/retry", runs.retry_run, "Queue the same again.", reply=models.Run),
    Route("POST", "/api/runs/{id}/move", runs.move_run, "Change the order.", body=models.MoveRequest, reply=models.RunList),
    Route("DELETE", "/api/runs/{id}", runs.remove_run, "Forget a run."),
    Route("GET", "/api/runs/{id}/files/{path:.+}", runs.send_run_file, "A file of a run.", query=Thumbnail, sends_file=True),
    Route("GET", "/api/artifacts", artifacts.list_artifacts, "Finished files.", query=artifacts.Most, reply=models.ArtifactList),
    Route(
        "GET",
        "/api/artifacts/{run}/{name}",
        artifacts.send_artifact,
        "A finished file.",
        query=Thumbnail,
        sends_file=True,
    ),
    Route("GET", "/api/files", files.list_files, "What a folder holds.", query=files.Where, reply=models.FileList),
    Route("GET", "/api/files/content", files.send_content, "A file of the workspace.", query=files.Which, sends_file=True),
    Route(
        "POST",
        "/api/files",
        uploads.upload_file,
        "Put a file into the workspace.",
        query=uploads.Target,
        takes_file=True,
        reply=models.Uploaded,
    ),
    Route("GET", "/api/models", list_models, "Models that LoadModel can open.", reply=models.ModelList),
    Route("GET", "/api/dataset", datasets.show_dataset, "A folder's pictures.", query=datasets.Wanted, reply=models.Dataset),
    Route("PUT", "/api/dataset/captions", datasets.save_captions, "Write captions.", body=models.CaptionsRequest),
    Route("GET", "/api/device", device.show_device, "How busy the machine is.", reply=models.DeviceStatus),
    Route("GET", "/api/events", open_socket, "A WebSocket: takes Follow, sends ServerMessage.", sends_file=True),
    Route("GET", "/api/openapi.json", show_openapi, "This document.", sends_file=True),
)
