/** Every word on the screen, in one place, so that it can be translated; words about nodes come from their Python docstrings. */

import type { FieldFault } from "../graph/palette";
import { oneOf } from "../graph/socketStyle";
import type { Refusal } from "../graph/verdicts";

/** The first of them, and how many more there are. */
const some = (all: string[], between: string) =>
  all.slice(0, 5).join(between) + (all.length > 5 ? `${between}and ${all.length - 5} more` : "");

const count = (number: number, one: string, many: string) => `${number} ${number === 1 ? one : many}`;

export const text = {
  // canvas
  emptyTitle: "Wire a training",
  emptyTemplate: "Start from a template",
  emptyTemplateHelp: "A graph that runs as it is, on the model that comes with the program.",
  emptyNode: "Add a node",
  emptyNodeHelp: "Double-click the canvas, or press Space, and type what you want to do.",
  emptyDrop: "Drop files here",
  emptyDropHelp:
    "Your own pictures, or a folder of them, become a data set. From a workflow, or a picture or LoRA made here, you get the graph.",
  minimap: "Map of the graph",
  note: "Note",
  noteKind: "beside the graph",
  noteText: "Text of the note, in Markdown",
  newNote: "**Note**\n\nDouble-click to write.",
  editNote: "Edit",
  newGroup: "Group",
  groupTitle: "Title of the group",
  groupColor: "Color of the group",
  newSubgraph: "Subgraph",
  bend: "Bend of the wire; arrow keys move it, Delete removes it",
  progress: "Progress",
  unknown: "unknown",
  unknownType: (type: string) => `There is no node type ${type}. Install the package that brings it.`,
  optional: "optional",
  boundary: { in: "Comes from outside the subgraph", out: "Goes out of the subgraph" },
  oneOfThese: (number: number) => `one of ${number}`,
  oneOf: (names: string[]) => `one of ${names.join(" and ")} is needed`,
  many: "several",
  fromWire: "from a wire",
  widgetFailed: (name: string) =>
    `The widget ${name} of this node's package does not load. Type the value, or update the package.`,
  moreFields: "More",
  loss: "loss",
  sameSide: "A wire goes from an output to an input.",
  inputLabel: (name: string, type: string, isWired: boolean) =>
    `Input ${name}, ${type}, ${isWired ? "wired" : "not wired"}. Enter: choose what to wire.`,
  outputLabel: (name: string, type: string, isWired: boolean) =>
    `Output ${name}, ${type}, ${isWired ? "wired" : "not wired"}. Enter: choose what to wire.`,
  states: {
    running: "Running",
    executed: "Done",
    cached: "In the cache: nothing to compute",
    failed: "Failed",
    skipped: "Not run",
    waiting: "Waiting",
    muted: "Muted: does not run, nor does what needs it",
    bypassed: "Bypassed: hands its inputs on",
    dropped: "does not run",
  },
  sentence: (words: string) => words.charAt(0).toUpperCase() + words.slice(1),
  seconds: (seconds: number) => (seconds < 10 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`),
  step: (step: number) => `step ${step}`,
  previewAt: (step: number) => `Preview at step ${step}`,
  previewSlider: "Step of the preview",
  enlarge: (name: string) => `Enlarge ${name}`,
  bytes: (bytes: number) =>
    bytes < 1e6
      ? `${Math.max(1, Math.round(bytes / 1e3))} kB`
      : bytes < 1e9
        ? `${(bytes / 1e6).toFixed(1)} MB`
        : `${(bytes / 1e9).toFixed(1)} GB`,
  flow: {
    "node.a11yDescription.default": "Enter or Space selects the node, the arrow keys move it, Delete removes it, Escape lets go.",
    "node.a11yDescription.keyboardDisabled": "Enter or Space selects the node.",
    "edge.a11yDescription.default": "Enter or Space selects the wire, R bends it, Delete removes it.",
    "minimap.ariaLabel": "Map of the graph",
  },

  // verdicts and faults
  refusal: (refusal: Refusal): string => {
    switch (refusal.code) {
      case "unknown":
        return "There is no such socket.";
      case "sameNode":
        return "A node cannot be wired to itself.";
      case "circle":
        return "This wire would close a circle.";
      case "there":
        return "This wire is there already.";
      case "fieldRefuses":
        return refusal.reason;
      case "type":
        return `This carries ${oneOf(refusal.offered)}; ${oneOf(refusal.needed)} is needed.`;
    }
  },
  fault: (fault: FieldFault): string => {
    switch (fault.code) {
      case "missing":
        return "A value is needed.";
      case "notNumber":
        return "This is not a number.";
      case "notInteger":
        return "A whole number is needed.";
      case "tooSmall":
        return `At least ${fault.limit}.`;
      case "tooLarge":
        return `At most ${fault.limit}.`;
      case "notMultiple":
        return `A multiple of ${fault.limit}.`;
      case "tooLong":
        return `At most ${fault.limit} characters.`;
      case "notChoice":
        return "Choose from the list.";
      case "pattern":
        return "This does not have the right form.";
    }
  },
  problems: (number: number) => count(number, "problem", "problems"),
  noProblems: "No problems",
  notRunning: "What does not run",
  notRun: (nodes: string, reason: string) => `Did not run: ${nodes} (${reason}).`,
  noBypass: (titles: string) => `${titles}: nothing that arrives can stand for what comes out. Mute instead.`,

  // top bar and rail
  tabs: "Open workflows",
  unsaved: "not saved",
  newTab: "New workflow",
  closeTab: (name: string) => `Close ${name}`,
  run: "Run",
  runTo: "Run to the selected nodes",
  stop: "Stop",
  queued: (number: number) => `${number} waiting`,
  tools: "Tools",
  panels: "Panels",
  theme: { system: "Theme of the system", dark: "Dark theme", light: "Light theme" },
  offline: "The server does not answer. What you do is kept here, and saved when it is back.",
  device: (memory: string, cpu: number) => `Memory in use: ${memory}. Processor: ${Math.round(cpu)} %.`,
  memoryOf: (used: number, total: number) => `${(used / 1e9).toFixed(1)} of ${Math.round(total / 1e9)} GB`,
  breadcrumbs: "Subgraphs",
  top: "Whole workflow",

  // panels
  side: { node: "Node", run: "Run", queue: "Queue" },
  closePanel: "Close the panel",
  workflow: "Workflow",
  name: "Name",
  description: "Description",
  nodeTitle: "Title",
  nodeId: "Id",
  badId: (id: string) => `"${id}" cannot be an id: it takes letters, digits, _ and -, and each once.`,
  mode: "Mode",
  modes: { active: "active", muted: "muted", bypassed: "bypassed" },
  color: "Color",
  noColor: "None",
  settings: "Settings",
  sockets: "Sockets",
  log: "Log",
  selectHint: "Select a node to see all its settings and what they do.",
  manySelected: (number: number) => `${number} nodes are selected.`,
  reset: (name: string) => `Reset ${name}`,
  resetTo: (value: unknown) => `Back to ${JSON.stringify(value ?? "")}`,
  randomise: "New random seed",
  browse: "Browse",
  showPictures: "Show pictures and captions",
  noRun: "Nothing has run here yet. Press Run: curves, pictures and files will appear here and in their nodes.",
  startedAt: "Started",
  took: "Time",
  now: "Now",
  stepsOf: (step: number, total: number) => `${step} of ${total}`,
  pace: (pace: number) => `${pace >= 10 ? Math.round(pace) : pace.toFixed(1)} steps/s`,
  left: (time: string) => `${time} left`,
  wholeRun: "Whole run",
  leftOfRun: (time: string, isAll: boolean) => (isAll ? `about ${time} left` : `at least ${time} left`),
  cancel: "Cancel",
  retry: "Run again",
  runStates: {
    queued: "waiting",
    running: "running",
    succeeded: "done",
    failed: "failed",
    cancelled: "cancelled",
    interrupted: "interrupted",
  },
  metrics: { loss: "loss", learning_rate: "learning rate", validation_loss: "validation loss" },
  raw: "as measured",
  stepLabel: "step",
  comparedRun: (name: string, when: string, differs: string[]) =>
    [`${name}, ${when}`, differs.length > 0 ? some(differs, ", ") : "same settings"].join(": "),
  noLongerCompare: (run: string) => `Leave out ${run}`,
  nothingToCompare: (run: string, metric: string) => `No ${metric} was measured in ${run}.`,
  noComparable: "no other run has curves",
  allCompared: "all are shown",
  chooseRun: "choose a run",
  curve: "Curve",
  smoothing: "Smoothing",
  logScale: "Logarithmic",
  compare: "Compare with",
  chartSummary: (label: string, step: number, first: number, last: number) =>
    `${label}: ${first.toPrecision(3)} at first, ${last.toPrecision(3)} at step ${step}`,
  files: "Files",
  sample: "Sample",
  cannotSample: "No node draws with this file.",
  outsideWorkspace: (path: string) => `${path} lies outside the workspace. Upload it, then choose it in a node that loads it.`,
  otherBase:
    "The file was trained on a model that its graph had trained too. Choose that one's file in Load Model to draw as the graph did.",
  openGraph: "Open its graph",
  queue: "Queue",
  queueEmpty: "Nothing is waiting.",
  history: "History",
  historyEmpty: "No run has ended yet.",
  moveUp: "Earlier",
  moveDown: "Later",
  forget: "Remove from the history; its files stay",
  earlierRuns: "Show earlier runs",
  allRuns: "These are all",
  reopen: "Open its graph, curves and files",

  // dialogs
  close: "Close",
  nothingFound: "Nothing found.",
  addTitle: "Add a node",
  wireTitle: (name: string, isOutput: boolean) => (isOutput ? `Wire ${name} to` : `Wire into ${name}`),
  replaceTitle: (id: string) => `Put in the place of ${id}`,
  isThere: "is there",
  commandPlaceholder: "Type a command",
  findPlaceholder: "Find a node by id, title, class or text",
  shortcutsHint: "Click a shortcut and press other keys to change it. A key that is taken moves here.",
  resetShortcuts: "Reset all",
  changeKeys: (command: string) => `Change the keys of ${command}`,
  pressKeys: "press keys",
  keyNames: { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Delete: "Del", Escape: "Esc" },
  nodeCount: (number: number) => count(number, "node", "nodes"),
  openFromDisk: "Open a file",
  noWorkflows: "Nothing has been saved in this workspace yet.",
  removeFile: (name: string) => `Remove ${name}`,
  removeFileQuestion: (name: string) => `Remove ${name} from the disk?`,
  fileName: "Name",
  saveHelp: "Saved as JSON in the folder `workflows` of the workspace; the same file runs headlessly.",
  badFileName: "Letters, digits, spaces and . _ - ( ) make a name.",
  conflictTitle: "The file has changed",
  conflict: (path: string) => `${path} has been saved or removed by another page or program since it was opened here.`,
  saveOther: "Save under another name",
  seeTheirs: "Open the other version beside this one",
  saveOver: "Write over it",
  chooseModel: "Choose a model",
  chooseFolder: "Choose a folder",
  chooseFile: "Choose a file",
  chooseFileOrFolder: "Choose a file or a folder",
  uploadHere: "Upload here",
  uploadPictures: "Upload pictures",
  uploadFolder: "Upload a folder",
  uploading: (done: number, all: number) => `Uploading: ${done} of ${count(all, "file", "files")} ...`,
  tooLarge: "Larger than 2 GB; copy it into the workspace yourself.",
  fileReason: (paths: string[], reason: string) => `${some(paths, ", ")}: ${reason}`,
  uploaded: (number: number, folder: string) => `${count(number, "file", "files")} uploaded to ${folder || "the workspace"}.`,
  notUploaded: (number: number, reasons: string[]) =>
    `${count(number, "file was", "files were")} not taken. ${some(reasons, "\n")}`,
  leftBehind: (names: string[]) =>
    `${count(names.length, "file is", "files are")} neither picture nor text and ${names.length === 1 ? "was" : "were"} left out: ${some(names, ", ")}`,
  newDataSet: (pictures: number) =>
    pictures > 0 ? `Make a data set of ${count(pictures, "picture", "pictures")}` : "No pictures",
  dataSetName: "Name of the data set",
  dataSetHelp: (folder: string, texts: number, left: number) =>
    [
      `Copied to ${folder}`,
      texts > 0 ? ` with ${count(texts, "text file", "text files")}` : "",
      left > 0 ? `; ${count(left, "other file stays", "other files stay")} behind` : "",
      ".",
    ].join(""),
  dataSetTaken: (name: string) => `There is a data set ${name} already. Choose another name.`,
  dataSetNode: "Read by",
  newNode: "a new Load Images node",
  makeDataSet: "Make the data set",
  parentFolder: "Folder above",
  emptyFolder: "This folder is empty. Drop files here to upload them.",
  useFolder: "Use this folder",
  pictureCount: (number: number) => count(number, "picture", "pictures"),
  zoom: "Zoom",
  compareWith: (caption: string) => `Compare with ${caption}`,
  previous: "Previous",
  next: "Next",
  filter: "Filter by name or caption",
  bulk: (number: number) => `Change ${count(number, "caption", "captions")}`,
  tag: "Tag or text",
  replacement: "Replacement",
  addTag: "Add",
  removeTag: "Remove",
  replaceTag: "Replace",
  saveCaptions: (number: number) => (number > 0 ? `Save ${count(number, "caption", "captions")}` : "Saved"),
  captionsSaved: (number: number) => `${count(number, "caption", "captions")} written beside the pictures.`,
  loseCaptions: (number: number) => `Close without saving ${count(number, "caption", "captions")}?`,
  withRepeats: (number: number) => `${number} in an epoch, with repeats`,
  repeated: (number: number) => `${number} times`,
  datasetNotes: "What to know of this folder",
  withoutCaption: (number: number) => `${number} without a caption file`,
  choosePicture: (name: string) => `Choose ${name}`,
  captionOf: (name: string) => `Caption of ${name}`,
  noCaption: "no caption",

  // messages
  show: "Show",
  serverAway: "The server does not answer.",
  nothingToRun: "There is nothing to run yet.",
  nothingSelected: "Select the nodes that are to run first.",
  pasteByKeys: "The browser shows the clipboard to this page only when you paste with the keyboard.",
  saved: (path: string) => `Saved as ${path}.`,
  rounded: (places: string[]) =>
    `The page cannot hold whole numbers above ${Number.MAX_SAFE_INTEGER}: ${places.join(", ")} is not exactly what the file says. ` +
    "Saving or running the graph from here would use the rounded number.",
  opened: (name: string) => `Opened the graph of ${name}.`,
  carriesNothing: (names: string[]) =>
    `${some(names, ", ")} ${names.length === 1 ? "carries" : "carry"} no workflow. Workflows, and pictures and safetensors made here, do.`,
  notAWorkflow: (name: string, reason: string) => `${name} is not a workflow of this program. ${reason}`,
  tabClosed: (name: string) => `${name} was not saved.`,
  bringBack: "Bring it back",
  draftCopied: "Another page has changed the same draft; this is a copy now.",
  wiresLost: (number: number) => `${count(number, "wire does", "wires do")} not fit the new node.`,
  runEnded: (name: string, state: string, reason: string) =>
    state === "succeeded"
      ? `${name} is done.`
      : state === "failed"
        ? `${name} has failed. ${reason}`.trim()
        : `${name} was stopped.`,
  crashed: "The page has met an error. Your work is kept in a draft; reload to go on.",
  partCrashed: "This part of the page has met an error. The rest goes on, and your work is kept.",
  tryAgain: "Try again",
  reload: "Reload",

  commands: {
    addNode: "Add a node",
    commandPalette: "Commands",
    run: "Run",
    runToSelected: "Run to the selected nodes",
    cancelRun: "Stop the run",
    save: "Save",
    saveAs: "Save as",
    download: "Download as JSON",
    newTab: "New workflow",
    closeTab: "Close workflow",
    templates: "Templates",
    open: "Open a workflow",
    undo: "Undo",
    redo: "Redo",
    cut: "Cut",
    copy: "Copy",
    paste: "Paste",
    duplicate: "Duplicate",
    duplicateWired: "Duplicate with incoming wires",
    remove: "Delete",
    selectAll: "Select all",
    selectNone: "Select nothing",
    mute: "Mute",
    bypass: "Bypass",
    collapse: "Collapse",
    replace: "Replace node",
    reroute: "Bend the selected wire",
    group: "Group",
    note: "Add a note",
    subgraph: "Make a subgraph",
    ungroupSubgraph: "Unpack the subgraph",
    enterSubgraph: "Enter the subgraph",
    leaveSubgraph: "Leave the subgraph",
    arrange: "Arrange automatically",
    alignLeft: "Align left",
    alignRight: "Align right",
    alignTop: "Align top",
    alignBottom: "Align bottom",
    alignCenter: "Align centers",
    alignMiddle: "Align middles",
    distributeHorizontally: "Distribute horizontally",
    distributeVertically: "Distribute vertically",
    fit: "Show everything",
    zoomIn: "Zoom in",
    zoomOut: "Zoom out",
    find: "Find in the graph",
    minimap: "Map on or off",
    nodePanel: "Node panel",
    runPanel: "Run panel",
    queuePanel: "Queue panel",
    theme: "Change the theme",
    shortcuts: "Keyboard shortcuts",
  },
};
