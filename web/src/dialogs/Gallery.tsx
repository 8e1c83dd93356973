import { Trash2 } from "lucide-react";
import { useEffect, useState } from "react";
import { api } from "../api/client";
import type { WorkflowSummary } from "../api/types";
import { ago } from "../components/times";
import { attempt, openFiles, openTemplate, openWorkflow } from "../state/actions";
import { workflowSuffixes } from "../state/facts";
import { openDialog } from "../state/ui";
import { text } from "../text/en";
import { Frame } from "./Frame";

/** Workflows to start from, each with picture and words. */
export function Templates() {
  const templates = useList(api.templates);
  return (
    <Frame title={text.commands.templates} kind="gallery">
      <ul className="tiles">
        {templates?.map((template) => (
          <li key={template.path}>
            <button
              type="button"
              className="tile"
              onClick={() => {
                openDialog(null);
                void openTemplate(template.path);
              }}
            >
              {template.picture ? (
                <img src={`${template.picture}?thumbnail=640`} alt="" />
              ) : (
                <div className="no-picture" aria-hidden />
              )}
              <strong>{template.name}</strong>
              <span>{template.description}</span>
              <small>{text.nodeCount(template.nodes)}</small>
            </button>
          </li>
        ))}
      </ul>
    </Frame>
  );
}

/** Saved workflows of the workspace, and the way to open a file from elsewhere. */
export function Workflows() {
  const [version, setVersion] = useState(0);
  const workflows = useList(api.workflows, version);
  return (
    <Frame
      title={text.commands.open}
      kind="list"
      tools={
        <label className="button">
          {text.openFromDisk}
          <input
            type="file"
            className="hidden"
            accept={workflowSuffixes().join(",")}
            onChange={(event) => {
              const file = event.target.files?.[0];
              openDialog(null);
              if (file) void openFiles([file]);
            }}
          />
        </label>
      }
    >
      {workflows?.length === 0 && <p className="hint">{text.noWorkflows}</p>}
      <ul className="rows">
        {workflows?.map((workflow) => (
          <li key={workflow.path}>
            <button
              type="button"
              className="row"
              onClick={() => {
                openDialog(null);
                void openWorkflow(workflow.path);
              }}
            >
              <strong>{workflow.path.replace(/\.json$/, "")}</strong>
              <span>{workflow.description}</span>
              <small>{ago(workflow.modified)}</small>
            </button>
            <button
              type="button"
              className="icon"
              aria-label={text.removeFile(workflow.path)}
              onClick={() => void removeFile(workflow.path).then(() => setVersion(version + 1))}
            >
              <Trash2 size={14} aria-hidden />
            </button>
          </li>
        ))}
      </ul>
    </Frame>
  );
}

async function removeFile(path: string): Promise<void> {
  if (confirm(text.removeFileQuestion(path))) await attempt(api.removeWorkflow(path));
}

function useList(load: () => Promise<{ workflows: WorkflowSummary[] }>, version = 0): WorkflowSummary[] | undefined {
  const [list, setList] = useState<WorkflowSummary[]>();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new version means that the list has changed
  useEffect(() => {
    void attempt(load()).then((reply) => setList(reply?.workflows ?? []));
  }, [load, version]);
  return list;
}
