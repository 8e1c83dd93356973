/* Written by `npm run types`; edit the Python models instead. */

/**
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "JsonValue".
 */
export type JsonValue = unknown;
/**
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "AnyEvent".
 */
export type AnyEvent =
  | RunStarted
  | NodeStarted
  | NodeProgress
  | NodeMetric
  | NodePreview
  | NodeMessage
  | NodeFinished
  | NodeFailed
  | RunFinished;
/**
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ServerMessage".
 */
export type ServerMessage = RunEvent | RunChanged | RunRemoved | DeviceChanged | FileChanged;

export interface Messages {
  [k: string]: unknown;
}
/**
 * A finished file of a run.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ArtifactEntry".
 */
export interface ArtifactEntry {
  run: string;
  workflow: string;
  node: string;
  name: string;
  url: string;
  bytes: number;
  sha256: string;
  made: number;
}
/**
 * Finished files, newest first.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ArtifactList".
 */
export interface ArtifactList {
  artifacts: ArtifactEntry[];
}
/**
 * New captions by picture name, each written to the file beside its picture, `.txt` where there is none.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "CaptionsRequest".
 */
export interface CaptionsRequest {
  folder: string;
  captions: {
    [k: string]: string;
  };
  /**
   * The captions that the page has read, by picture name; one that has changed since is not overwritten.
   */
  seen: {
    [k: string]: string | null;
  };
}
/**
 * A run whose curves can be compared with another's.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ComparableRun".
 */
export interface ComparableRun {
  run: string;
  workflow: string;
  created: number;
  /**
   * Fields with another value, as `learning_rate 0.001`.
   */
  differs: string[];
}
/**
 * Runs with curves, newest first.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ComparableRuns".
 */
export interface ComparableRuns {
  runs: ComparableRun[];
}
/**
 * The pictures of a folder.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Dataset".
 */
export interface Dataset {
  folder: string;
  items: DatasetItem[];
  /**
   * Notes on reading: pictures left out or repeated, guessed encodings.
   */
  notes: string[];
}
/**
 * A picture of a dataset with its caption.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "DatasetItem".
 */
export interface DatasetItem {
  /**
   * The path below the dataset's folder.
   */
  name: string;
  /**
   * The path in the workspace, for /api/files/content.
   */
  path: string;
  width: number;
  height: number;
  /**
   * Null when the picture has none.
   */
  caption: string | null;
  /**
   * The size for training, as `WIDTHxHEIGHT`; empty when the picture cannot be read.
   */
  bucket: string;
  /**
   * The number of repeats, from its folder's name.
   */
  repeats: number;
  /**
   * The fault of the picture or its caption; empty without one.
   */
  problem: string;
}
/**
 * On the socket: the load of the machine, every few seconds.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "DeviceChanged".
 */
export interface DeviceChanged {
  type: "device";
  device: DeviceStatus;
}
/**
 * The load of the machine.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "DeviceStatus".
 */
export interface DeviceStatus {
  device: string;
  cpu_percent: number;
  /**
   * Bytes, as all sizes here.
   */
  memory_used: number;
  memory_total: number;
  worker_memory: number;
  gpu_used: number;
  /**
   * 0 without a GPU.
   */
  gpu_total: number;
}
/**
 * The state of an editor tab.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Draft".
 */
export interface Draft {
  document: Workflow;
  /**
   * The path of the tab's saved workflow; empty when it was never saved.
   */
  path: string;
  saved_revision: string;
  dirty: boolean;
  /**
   * The run that the tab shows; empty before its first.
   */
  run: string;
}
/**
 * A graph of nodes as it is saved, shared and run.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Workflow".
 */
export interface Workflow {
  format?: "latentloom/1";
  name?: string;
  description?: string;
  nodes?: {
    [k: string]: NodeEntry;
  };
  wires?: Wire[];
  groups?: Group[];
  notes?: Note[];
  subgraphs?: {
    [k: string]: Subgraph;
  };
}
/**
 * One node of a graph.
 *
 * This interface was referenced by `undefined`'s JSON-Schema definition
 * via the `patternProperty` "^[\w-]{1,64}$".
 *
 * This interface was referenced by `undefined`'s JSON-Schema definition
 * via the `patternProperty` "^[\w-]{1,64}$".
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodeEntry".
 */
export interface NodeEntry {
  /**
   * The class name of the node.
   */
  type: string;
  /**
   * The version of the class's names that its fields and wires use; raised with each of the class's migrations.
   */
  schema_version?: number;
  fields?: {
    [k: string]: JsonValue;
  };
  /**
   * `muted` does not run, nor do nodes that need it; `bypassed` returns its inputs unchanged.
   */
  mode?: "active" | "muted" | "bypassed";
  title?: string;
  position?: [number, number] | null;
  size?: [number, number] | null;
  color?: string;
  collapsed?: boolean;
}
/**
 * A connection from `ID.output` to `ID.input`.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Wire".
 */
export interface Wire {
  from: string;
  to: string;
  /**
   * Points at which it bends.
   */
  via?: [number, number][];
}
/**
 * A titled frame around nodes.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Group".
 */
export interface Group {
  title?: string;
  nodes?: string[];
  position?: [number, number] | null;
  size?: [number, number] | null;
  color?: string;
}
/**
 * Markdown beside the graph.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Note".
 */
export interface Note {
  text: string;
  position?: [number, number] | null;
  size?: [number, number] | null;
  color?: string;
}
/**
 * A graph that is used as one node, of type `Subgraph` with the id in its field `subgraph`; stored in the document.
 *
 * This interface was referenced by `undefined`'s JSON-Schema definition
 * via the `patternProperty` "^[\w-]{1,64}$".
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Subgraph".
 */
export interface Subgraph {
  name?: string;
  nodes?: {
    [k: string]: NodeEntry;
  };
  wires?: Wire[];
  /**
   * The inner `ID.input` by outer input name.
   */
  inputs?: {
    /**
     * This interface was referenced by `undefined`'s JSON-Schema definition
     * via the `patternProperty` "^\w{1,64}$".
     */
    [k: string]: string;
  };
  /**
   * The inner `ID.output` by outer output name.
   */
  outputs?: {
    /**
     * This interface was referenced by `undefined`'s JSON-Schema definition
     * via the `patternProperty` "^\w{1,64}$".
     */
    [k: string]: string;
  };
  groups?: Group[];
  notes?: Note[];
}
/**
 * All drafts, oldest first.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "DraftList".
 */
export interface DraftList {
  drafts: SavedDraft[];
}
/**
 * A draft with its revision.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "SavedDraft".
 */
export interface SavedDraft {
  id: string;
  draft: Draft;
  revision: string;
  modified: number;
}
/**
 * A draft to write if the stored one still has this revision; null: only if there is none.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "DraftRequest".
 */
export interface DraftRequest {
  draft: Draft;
  revision: string | null;
}
/**
 * Events of a run, in order.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "EventList".
 */
export interface EventList {
  events: (
    | RunStarted
    | NodeStarted
    | NodeProgress
    | NodeMetric
    | NodePreview
    | NodeMessage
    | NodeFinished
    | NodeFailed
    | RunFinished
  )[];
}
/**
 * The run begins; `nodes` are all that its targets need, in order.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "RunStarted".
 */
export interface RunStarted {
  seq: number;
  type: "run_started";
  run: string;
  workflow: string;
  targets: string[];
  nodes: string[];
}
/**
 * A node begins to execute.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodeStarted".
 */
export interface NodeStarted {
  seq: number;
  type: "node_started";
  node: string;
  node_type: string;
}
/**
 * `step` of `total` is done; only the newest of a burst is sent.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodeProgress".
 */
export interface NodeProgress {
  seq: number;
  type: "node_progress";
  node: string;
  step: number;
  total: number;
}
/**
 * Numbers that belong to a step, such as the loss.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodeMetric".
 */
export interface NodeMetric {
  seq: number;
  type: "node_metric";
  node: string;
  step: number;
  values: {
    [k: string]: number;
  };
  earlier: boolean;
}
/**
 * A picture that belongs to a step; `path` is relative to the run folder.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodePreview".
 */
export interface NodePreview {
  seq: number;
  type: "node_preview";
  node: string;
  step: number;
  path: string;
  earlier: boolean;
}
/**
 * A message of a node that goes on.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodeMessage".
 */
export interface NodeMessage {
  seq: number;
  type: "node_message";
  node: string;
  level: "info" | "warning";
  text: string;
}
/**
 * A node has its result, by executing or from the cache.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodeFinished".
 */
export interface NodeFinished {
  seq: number;
  type: "node_finished";
  node: string;
  state: "executed" | "cached";
  seconds: number;
}
/**
 * A node stopped with an error; what depends on it is skipped.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodeFailed".
 */
export interface NodeFailed {
  seq: number;
  type: "node_failed";
  node: string;
  field: string;
  message: string;
  remedy: string;
}
/**
 * The run is over; always the last event.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "RunFinished".
 */
export interface RunFinished {
  seq: number;
  type: "run_finished";
  status: "succeeded" | "failed" | "interrupted";
  nodes: {
    [k: string]: NodeOutcome;
  };
  artifacts: PublishedArtifact[];
}
/**
 * A node's final state, its duration in seconds, and the reason why it was skipped, such as `latents is muted`.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodeOutcome".
 */
export interface NodeOutcome {
  state: "executed" | "cached" | "failed" | "skipped";
  seconds: number;
  reason: string;
}
/**
 * A finished file in the output folder.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "PublishedArtifact".
 */
export interface PublishedArtifact {
  path: string;
  sha256: string;
  bytes: number;
  node: string;
  caption: string;
  group: string;
}
/**
 * A field as an input for a wire.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "FieldSocket".
 */
export interface FieldSocket {
  name: string;
  type: string;
  accepts: string[];
  /**
   * The reason why it takes no wire; empty when it does.
   */
  refuses: string;
}
/**
 * On the socket: a saved workflow or a draft has a new revision.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "FileChanged".
 */
export interface FileChanged {
  type: "workflow" | "draft";
  path: string;
  revision: string;
}
/**
 * A file or folder of the workspace.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "FileEntry".
 */
export interface FileEntry {
  name: string;
  path: string;
  kind: "folder" | "image" | "model" | "workflow" | "file";
  bytes: number;
  modified: number;
}
/**
 * The entries of a folder of the workspace.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "FileList".
 */
export interface FileList {
  path: string;
  /**
   * The parent folder; null at the workspace's root.
   */
  parent: string | null;
  entries: FileEntry[];
  /**
   * The number of pictures directly in it.
   */
  images: number;
}
/**
 * From the page, on the socket: request this run's events after `seq` (-1: all), and all new ones.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Follow".
 */
export interface Follow {
  follow: string;
  after: number;
}
/**
 * An input for wires.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "InputSocket".
 */
export interface InputSocket {
  name: string;
  type: string;
  /**
   * The names of all output types that it accepts.
   */
  accepts: string[];
  many: boolean;
  required: boolean;
}
/**
 * A model that LoadModel can open.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ModelEntry".
 */
export interface ModelEntry {
  reference: string;
  title: string;
  family: string;
}
/**
 * The bundled model, then those found in the workspace.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ModelList".
 */
export interface ModelList {
  models: ModelEntry[];
}
/**
 * The wanted place in the queue, counted from 0.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "MoveRequest".
 */
export interface MoveRequest {
  position: number;
}
/**
 * A node class in the palette.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "NodeDescription".
 */
export interface NodeDescription {
  name: string;
  title: string;
  category: string;
  package: string;
  version: number;
  /**
   * The version of the class's names, stored with its nodes in documents.
   */
  schema_version: number;
  description: string;
  synonyms: string[];
  side_effects: boolean;
  /**
   * Groups of optional inputs; at least one of each must be wired.
   */
  one_of: string[][];
  inputs: InputSocket[];
  field_sockets: FieldSocket[];
  outputs: OutputSocket[];
  /**
   * The JSON Schema of the fields; `group` folds a field under that heading, `widget` names an editor.
   */
  fields: {
    [k: string]: unknown;
  };
}
/**
 * An output for wires.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "OutputSocket".
 */
export interface OutputSocket {
  name: string;
  type: string;
}
/**
 * A document migrated to this release, or the problems that prevent this.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "OpenReply".
 */
export interface OpenReply {
  document: Workflow | null;
  problems: ProblemReport[];
}
/**
 * One thing that is wrong, where it is, and what to do about it.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ProblemReport".
 */
export interface ProblemReport {
  message: string;
  node: string;
  field: string;
  remedy: string;
}
/**
 * All nodes, and the packages that did not load.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "PaletteReply".
 */
export interface PaletteReply {
  nodes: NodeDescription[];
  problems: ProblemReport[];
  /**
   * The names of packages' widgets; each is a module at `/api/widgets/NAME`.
   */
  widgets: string[];
}
/**
 * For each node, whether a run would execute it or use the cache; with problems, `nodes` is empty.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "PlanReply".
 */
export interface PlanReply {
  targets: string[];
  nodes: {
    [k: string]: "run" | "cached" | "skipped";
  };
  problems: ProblemReport[];
  /**
   * Nodes that do not run, or run without one of their wires, because others are muted or bypassed.
   */
  warnings: ProblemReport[];
}
/**
 * A document and the target nodes; without any, those that save something.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "PlanRequest".
 */
export interface PlanRequest {
  document: Workflow;
  targets: string[];
}
/**
 * Every problem; the body of every refusal, and of a validation.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Problems".
 */
export interface Problems {
  problems: ProblemReport[];
}
/**
 * On the socket: a run was queued, moved, started, ended, or changed in another way.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "RunChanged".
 */
export interface RunChanged {
  type: "run";
  run: RunSummary;
}
/**
 * A run in the queue or in the history.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "RunSummary".
 */
export interface RunSummary {
  id: string;
  /**
   * The name of the workflow.
   */
  workflow: string;
  targets: string[];
  device: string;
  state: "queued" | "running" | "succeeded" | "failed" | "cancelled";
  /**
   * The place in the queue, counted from 0; null when it is not queued.
   */
  position: number | null;
  /**
   * Seconds since 1970, as all times here.
   */
  created: number;
  started: number | null;
  finished: number | null;
  /**
   * The reasons of a failure, with the failed nodes.
   */
  problems: ProblemReport[];
  artifacts: PublishedArtifact[];
  /**
   * Requested nodes that did not run, each with the reason.
   */
  not_run: {
    [k: string]: string;
  };
}
/**
 * A run with its document.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "RunDetails".
 */
export interface RunDetails {
  run: RunSummary;
  document: Workflow;
}
/**
 * On the socket: an event of a run.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "RunEvent".
 */
export interface RunEvent {
  type: "event";
  run: string;
  event:
    | RunStarted
    | NodeStarted
    | NodeProgress
    | NodeMetric
    | NodePreview
    | NodeMessage
    | NodeFinished
    | NodeFailed
    | RunFinished;
}
/**
 * Runs: the running, then the queue in order, then the history, newest first.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "RunList".
 */
export interface RunList {
  runs: RunSummary[];
}
/**
 * On the socket: a run left the history.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "RunRemoved".
 */
export interface RunRemoved {
  type: "removed";
  run: string;
}
/**
 * A run to queue.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "RunRequest".
 */
export interface RunRequest {
  document: Workflow;
  targets: string[];
  device: string;
}
/**
 * A document to write if the file still has this revision; null: only if there is no file yet.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "SaveRequest".
 */
export interface SaveRequest {
  document: Workflow;
  revision: string | null;
}
/**
 * The revision after writing.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Saved".
 */
export interface Saved {
  path: string;
  revision: string;
}
/**
 * A document with the revision it was read at.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "SavedWorkflow".
 */
export interface SavedWorkflow {
  document: Workflow;
  revision: string;
}
/**
 * The session, which a page requests first.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Session".
 */
export interface Session {
  /**
   * Sent with every request that changes something, as the header X-Latentloom-Token.
   */
  token: string;
  version: string;
  /**
   * The name of the workspace folder.
   */
  workspace: string;
  devices: string[];
  /**
   * Suffixes of pictures, such as `.png`, that can be uploaded and trained on.
   */
  picture_suffixes: string[];
  /**
   * Suffixes of text files that can be uploaded beside them.
   */
  text_suffixes: string[];
  /**
   * Suffixes of files in which the page can find a workflow: its own, and what artifacts carry.
   */
  workflow_suffixes: string[];
  /**
   * The folder of finished files, as in their paths.
   */
  output_folder: string;
  /**
   * The same as a path in the workspace; null when it is outside.
   */
  output: string | null;
}
/**
 * The path of an uploaded file.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "Uploaded".
 */
export interface Uploaded {
  path: string;
}
/**
 * A document to be checked.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ValidateRequest".
 */
export interface ValidateRequest {
  document: unknown;
}
/**
 * Every problem of a document, and the warnings of a valid one.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "ValidationReply".
 */
export interface ValidationReply {
  problems: ProblemReport[];
  warnings: ProblemReport[];
}
/**
 * Saved workflows, or templates.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "WorkflowList".
 */
export interface WorkflowList {
  workflows: WorkflowSummary[];
}
/**
 * A saved workflow or a template in a list.
 *
 * This interface was referenced by `Messages`'s JSON-Schema
 * via the `definition` "WorkflowSummary".
 */
export interface WorkflowSummary {
  /**
   * The name of the file below `workflows/` in the workspace, or of the template.
   */
  path: string;
  name: string;
  description: string;
  modified: number;
  nodes: number;
  /**
   * The address of a picture; empty without one.
   */
  picture: string;
}
