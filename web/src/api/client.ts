/** Requests to the server; every refusal becomes a Refused that carries the server's problems. */

import { said } from "../graph/sentences";
import type {
  ComparableRuns,
  Dataset,
  Draft,
  DraftList,
  FileList,
  ModelList,
  OpenReply,
  PaletteReply,
  PlanReply,
  Problem,
  Problems,
  Run,
  RunDetails,
  RunList,
  Saved,
  SavedWorkflow,
  Session,
  Uploaded,
  ValidationReply,
  Workflow,
  WorkflowList,
} from "./types";

export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly problems: Problem[],
  ) {
    super(problems.map(said).join("\n"));
  }
}

let token = "";

export async function openSession(): Promise<Session> {
  const session = await get<Session>("/api/session");
  token = session.token;
  return session;
}

async function request(method: string, path: string, body?: BodyInit, type?: string, keepalive = false): Promise<Response> {
  const send = () => {
    const headers: Record<string, string> = method === "GET" ? {} : { "X-Latentloom-Token": token };
    if (type) headers["Content-Type"] = type;
    return fetch(path, { method, headers, body, keepalive });
  };
  let response = await send();
  if (response.status === 403 && method !== "GET") {
    await openSession(); // the server has started anew, with another token
    response = await send();
  }
  if (response.ok || response.status === 304) return response;
  const reply = (await response.json().catch(() => null)) as Problems | null;
  const fallback = { message: `${response.status} ${response.statusText}`, node: "", field: "", remedy: "" };
  throw new Refused(response.status, reply?.problems ?? [fallback]);
}

async function get<T>(path: string): Promise<T> {
  return (await (await request("GET", path)).json()) as T;
}

async function send<T>(method: string, path: string, body: unknown, keepalive = false): Promise<T> {
  const response = await request(method, path, JSON.stringify(body), "application/json", keepalive);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

const part = (text: string) => text.split("/").map(encodeURIComponent).join("/");
const query = (values: Record<string, unknown>) =>
  new URLSearchParams(Object.entries(values).map(([name, value]) => [name, String(value)])).toString();

/** How much of the history comes with one request. */
export const RUNS_AT_ONCE = 100;

export const api = {
  palette: () => get<PaletteReply>("/api/nodes"),
  workflows: () => get<WorkflowList>("/api/workflows"),
  readWorkflow: (path: string) => get<SavedWorkflow>(`/api/workflows/${part(path)}`),
  saveWorkflow: (path: string, document: Workflow, revision: string | null) =>
    send<Saved>("PUT", `/api/workflows/${part(path)}`, { document, revision }),
  removeWorkflow: (path: string) => send<void>("DELETE", `/api/workflows/${part(path)}`, {}),
  templates: () => get<WorkflowList>("/api/templates"),
  readTemplate: (name: string) => get<SavedWorkflow>(`/api/templates/${part(name)}`),
  drafts: () => get<DraftList>("/api/drafts"),
  saveDraft: (id: string, draft: Draft, revision: string | null, outlivesPage: boolean) =>
    send<Saved>("PUT", `/api/drafts/${id}`, { draft, revision }, outlivesPage),
  removeDraft: (id: string, revision: string) => send<void>("DELETE", `/api/drafts/${id}?${query({ revision })}`, {}),
  validate: (document: unknown) => send<ValidationReply>("POST", "/api/validate", { document }),
  open: (document: unknown) => send<OpenReply>("POST", "/api/open", { document }),
  plan: (document: Workflow, targets: string[]) => send<PlanReply>("POST", "/api/plan", { document, targets }),
  runs: (before?: number) => get<RunList>(`/api/runs?${query({ limit: RUNS_AT_ONCE, ...(before ? { before } : {}) })}`),
  readRun: (id: string) => get<RunDetails>(`/api/runs/${id}`),
  startRun: (document: Workflow, targets: string[]) => send<Run>("POST", "/api/runs", { document, targets, device: "auto" }),
  comparable: (id: string) => get<ComparableRuns>(`/api/runs/${id}/comparable`),
  cancelRun: (id: string) => send<Run>("POST", `/api/runs/${id}/cancel`, {}),
  retryRun: (id: string) => send<Run>("POST", `/api/runs/${id}/retry`, {}),
  moveRun: (id: string, position: number) => send<RunList>("POST", `/api/runs/${id}/move`, { position }),
  removeRun: (id: string) => send<void>("DELETE", `/api/runs/${id}`, {}),
  files: (path: string) => get<FileList>(`/api/files?${query({ path })}`),
  upload: async (folder: string, file: File) => {
    const response = await request("POST", `/api/files?${query({ folder, name: file.name })}`, file, "application/octet-stream");
    return (await response.json()) as Uploaded;
  },
  models: () => get<ModelList>("/api/models"),
  dataset: (folder: string, resolution: number, buckets: boolean, bucketStep: number, maxRepeats: number) =>
    get<Dataset>(`/api/dataset?${query({ folder, resolution, buckets, bucket_step: bucketStep, max_repeats: maxRepeats })}`),
  saveCaptions: (folder: string, captions: Record<string, string>, seen: Record<string, string | null>) =>
    send<void>("PUT", "/api/dataset/captions", { folder, captions, seen }),
};

/** Addresses of pictures and files, for `src` and `href`. */
export const address = {
  widget: (name: string) => `/api/widgets/${part(name)}`,
  runFile: (run: string, path: string, thumbnail = 0) =>
    `/api/runs/${run}/files/${part(path)}${thumbnail ? `?thumbnail=${thumbnail}` : ""}`,
  artifact: (run: string, name: string, thumbnail = 0) =>
    `/api/artifacts/${run}/${part(name)}${thumbnail ? `?thumbnail=${thumbnail}` : ""}`,
  content: (path: string, thumbnail = 0) => `/api/files/content?${query({ path, ...(thumbnail ? { thumbnail } : {}) })}`,
};
